"""The runs of a small grid through the real command line say what its result files say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune.track.content import AXES, PLAIN, block_history
from prune.track.wandb_state import read_mirrored

from ..conftest import Said
from .offline_log import Logged, read_run

Say = Callable[..., Said]

LINE = [
    *("-m", "calib=gsm8k,c4", "calib.num_samples=2", "calib.seq_len=64", "sweep.name=mine"),
    *("eval=perplexity", "eval.perplexity=[wikitext2]", "eval.num_chunks=2", "eval.seq_len=64"),
]


def run(say: Say, *more: str) -> str:
    said = say(*LINE, *more)
    assert said.code == 0 and said.err == "", said.err
    return said.out


def logged_cells(output_dir: Path) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]], Logged]]:
    """Cell name -> result.json, the lines of blocks.jsonl, what its one run holds."""
    found = {}
    for path in output_dir.glob("cells/*/result.json"):
        result, blocks = json.loads(path.read_text()), path.parent / "blocks.jsonl"
        linears = [json.loads(line) for line in blocks.read_text().splitlines()] if blocks.exists() else []
        kept = read_mirrored(path.parent)
        assert kept is not None and kept.attempt == 1
        found[result["name"]] = result, linears, read_run(Path(kept.folder))
    assert len(list(output_dir.glob("wandb/offline-run-*"))) == len(found), "one log a cell"
    return found


def value_at(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def test_the_runs_say_what_the_results_say(say: Say, tmp_path: Path) -> None:
    said = run(say)
    cells = logged_cells(tmp_path / "outputs")
    assert set(cells) == {"tiny/dense", "tiny/gsm8k-icl/wanda/50%/s0", "tiny/c4/wanda/50%/s0"}
    for name, (result, linears, logged) in cells.items():
        assert logged.run.run_id == f"{result['cell']}-1"
        assert (logged.run.display_name, logged.run.run_group, logged.exit_code) == (name, "mine", 0)
        assert logged.run.job_type == result["axes"]["method"]
        for axis, key in AXES.items():
            value = result["axes"][axis]
            plain = PLAIN[axis] if axis in PLAIN and result["axes"]["calib"] else "any"
            assert value_at(logged.config, key) == (value if value is not None or axis == "seed" else plain)
        for metric, entry in result["metrics"].items():
            assert logged.summary[metric] == entry["value"]
        assert logged.summary["sparsity/reached"] == result["sparsity"]["reached"]
        assert logged.summary["seconds/total"] == result["seconds"]["total"]
        assert logged.summary["peak_memory_mb/host"] == result["peak_memory_mb"]["host"]
        assert logged.config["provenance"] == result["provenance"]
        shown = [{key: value for key, value in line.items() if not key.startswith("_")} for line in logged.history]
        assert shown == block_history(linears) and len(shown) == (0 if "dense" in name else 4)
    check_differences(cells)
    assert f"W&B runs kept offline: 3. Send them with: wandb sync {tmp_path}/outputs/wandb/offline-run-*" in said


def check_differences(cells: dict[str, tuple[dict[str, Any], list[dict[str, Any]], Logged]]) -> None:
    """To dense and to C4, although the gsm8k cell was finished before the c4 cell."""
    values = {name: result["metrics"]["ppl/wikitext2"]["value"] for name, (result, _, _) in cells.items()}
    dense, c4 = values["tiny/dense"], values["tiny/c4/wanda/50%/s0"]
    for name, (_, _, logged) in cells.items():
        assert logged.summary["to_dense/ppl/wikitext2"] == values[name] - dense
        if name == "tiny/dense":
            assert "to_c4/ppl/wikitext2" not in logged.summary
        else:
            assert logged.summary["to_c4/ppl/wikitext2"] == values[name] - c4
    assert values["tiny/gsm8k-icl/wanda/50%/s0"] != c4


def test_tracker_none_and_disabled_leave_no_run_and_a_later_line_writes_them(say: Say, tmp_path: Path) -> None:
    for more in ("tracker=none", "tracker.mode=disabled"):
        assert "wandb" not in run(say, more, "method=magnitude")
    assert not (tmp_path / "outputs/wandb").exists()
    said = run(say, "method=magnitude")
    assert re.search("2 of 2 cells are finished already", said) and "W&B runs kept offline: 2." in said
    assert len(logged_cells(tmp_path / "outputs")) == 2
