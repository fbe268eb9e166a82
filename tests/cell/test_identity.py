"""Results are filed under what was run: files count by content, the hub by its commit, whatever they are called."""

import importlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prune.cell.cell import Cell, make_cell
from prune.cell.folder import CellFolder
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config import content
from prune.config.content import one_look
from prune.data.dataset import ControlSet, TextSet
from prune.data.identity import code_identity
from prune.data.registry import DATASETS
from prune.errors import UserError
from prune.models.files import EMBEDDED_FOLDER
from tests.conftest import Compose

SMALL = [
    *("model=hf", "model.seq_len=64", "calib=gsm8k", "calib.num_samples=2", "eval.perplexity=[]", "eval.tasks=[gsm8k]"),
    *("eval.limit=2", "eval.num_fewshot=1", "data=local", "tracker=none", "device=cpu"),
]
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


class Quiet:
    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


@dataclass
class Place:
    """A model and rows in folders, and the cells of lines about them."""

    folder: Path
    compose: Compose

    def cell(self, *overrides: str, model: str = "model", rows: str = "rows") -> Cell:
        paths = (f"model.path={self.folder / model}", f"data.root={self.folder / rows}")
        return make_cell(self.compose(*SMALL, *paths, f"output_dir={self.folder}/outputs", *overrides))

    def ids(self, **places: str) -> dict[str, str]:
        """The ids of the dense model, of a cell without and one with calibration data, and of a score."""
        (score,) = (dense := self.cell("method=dense", **places)).scores
        pruned = {method: self.cell(f"method={method}", **places).id for method in ("magnitude", "wanda")}
        return {"dense": dense.id, **pruned, "score": CellFolder(Path()).score(score).name}


@pytest.fixture
def place(tmp_path: Path, compose_config: Compose) -> Place:
    (tmp_path / "model").mkdir()
    for name in FILES:
        shutil.copyfile(EMBEDDED_FOLDER / name, tmp_path / "model" / name)
    (tmp_path / "rows/gsm8k").mkdir(parents=True)
    for split in ("train", "test"):
        rows = [f'{{"question": "How much is {n} + 1?", "answer": "{n} + 1 = {n + 1}\\n#### {n + 1}"}}' for n in range(99)]
        (tmp_path / f"rows/gsm8k/{split}.jsonl").write_text("\n".join(rows))
    return Place(tmp_path, compose_config)


def flip(path: Path) -> None:
    """Change one bit near the end, and neither size nor time; rows stay JSON."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=times)


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        ("model/model.safetensors", {"dense", "magnitude", "wanda"}),
        ("model/config.json", {"dense", "magnitude", "wanda"}),
        ("model/generation_config.json", {"dense", "magnitude", "wanda"}),
        ("model/tokenizer.json", {"dense", "magnitude", "wanda"}),
        ("rows/gsm8k/train.jsonl", {"wanda", "score"}),
        ("rows/gsm8k/test.jsonl", {"score"}),
    ],
)
def test_an_edit_in_place_is_another_id(place: Place, changed: str, moves: set[str]) -> None:
    before = place.ids()
    flip(place.folder / changed)
    after = place.ids()
    assert {key for key in before if before[key] != after[key]} == moves


def test_files_that_are_not_read_do_not_count(place: Place) -> None:
    before = place.ids()
    for name in ("model/README.md", "model/training_args.bin", "model/old.safetensors", "rows/gsm8k/validation.jsonl"):
        (place.folder / name).write_text("x")
    (place.folder / "rows/svamp").mkdir()
    (place.folder / "rows/svamp/train.jsonl").write_text("x")
    assert place.ids() == before


def test_a_copy_a_link_and_another_spelling_are_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = place.ids()
    for name in ("model", "rows"):
        shutil.copytree(place.folder / name, place.folder / f"{name}-copy")
        (place.folder / f"{name}-link").symlink_to(name)
    for ending in ("-copy", "-link", "/../{}/."):
        named = {name: f"{name}{ending.format(name)}" for name in ("model", "rows")}
        assert place.ids(**named) == before, ending
    monkeypatch.setenv("HOME", str(place.folder))
    for name in ("model", "rows"):
        assert place.cell("model.path='~/model'", "data.root='~/rows'").id == before["wanda"], name


def test_the_embedded_model_is_its_files(place: Place) -> None:
    by_name = make_cell(place.compose("method=dense", "model.dtype=float16"))
    assert by_name.id == place.cell("method=dense").id == place.cell("method=dense", "model.name=other").id


def test_sharded_weights_count_with_all_their_parts(place: Place) -> None:
    from prune.config.model import ModelConfig
    from prune.models.load import load_model

    folder = place.folder / "model"
    model = load_model(ModelConfig(name="x", path=str(folder), seq_len=64), "cpu").model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="500KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    seen = {place.cell("method=dense").id}
    for part in parts:
        flip(part)
        seen.add(place.cell("method=dense").id)
    assert len(seen) == 1 + len(parts)


def test_a_second_look_reads_no_content(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a byte of weights, however many points a line has."""
    monkeypatch.setattr(content, "SETTLED_S", -1.0)
    read: list[str] = []
    hash_piece: Callable[[Path, int], bytes] = content._hash_piece

    def counted(real: Path, start: int) -> bytes:
        read.append(real.name)
        return hash_piece(real, start)

    monkeypatch.setattr(content, "_hash_piece", counted)
    before = place.ids()
    assert sorted(read) == sorted([*FILES, "train.jsonl", "test.jsonl"])
    assert place.ids() == before and len(read) == len(FILES) + 2


def test_one_look_asks_the_disk_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps: list[Path] = []
    stamp = content._stamp
    monkeypatch.setattr(content, "_stamp", lambda real: stamps.append(real) or stamp(real))
    with one_look():
        place.ids()
        once = len(stamps)
        place.ids()
        assert len(stamps) == once


def test_weights_that_change_cost_no_wrong_number(place: Place) -> None:
    """The same line is another cell then; a job that was submitted before stops instead of filing under the old id."""
    cell, submitted = (place.cell("eval.tasks=[]", f"method={method}") for method in ("magnitude", "wanda"))
    before = run_cell(cell, Resources(), Quiet())
    flip(place.folder / "model/model.safetensors")
    with pytest.raises(UserError, match=r"have changed since this line began.*Run the same line again"):
        run_cell(submitted, Resources(), Quiet())
    again = place.cell("eval.tasks=[]", "method=magnitude")
    assert again.id != cell.id and not again.folder().exists()
    assert run_cell(again, Resources(), Quiet())["weights_sha256"] != before["weights_sha256"]


def test_rows_that_change_during_a_cell_are_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = place.cell("method=dense")
    measure: Any = __import__("prune.eval.measure", fromlist=["measure"]).measure

    def edit_first(*arguments: Any, **options: Any) -> Any:
        flip(place.folder / "rows/gsm8k/test.jsonl")
        return measure(*arguments, **options)

    monkeypatch.setattr("prune.cell.run.measure", edit_first)
    with pytest.raises(UserError, match="have changed since this line began"):
        run_cell(cell, Resources(), Quiet())
    assert not cell.files.score(cell.scores[0]).exists()


def test_the_code_of_an_installed_set_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "some_set.py"
    module.write_text("def text(row): return row['text']\ndef noise(seed, num_chars): return 'a' * num_chars\n")
    monkeypatch.syspath_prepend(tmp_path)
    some_set: Any = importlib.import_module("some_set")
    c4 = DATASETS["c4"]
    assert isinstance(c4, TextSet) and code_identity(c4) == {}
    texts, control = replace(c4, text=some_set.text), ControlSet(name="noise", text=partial(some_set.noise))
    before = [code_identity(texts), code_identity(control)]
    assert before[0]["extension_module"] == "some_set" and before[0] == before[1]
    module.write_text(module.read_text().replace("'a'", "'b'"))
    assert [code_identity(texts), code_identity(control)] != before
