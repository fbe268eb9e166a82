"""The golden prompts: what a model is asked, set by set, from rows in the form of the hub's.

Rendered as an evaluation does it: rows from files, the dataset's definition, the settings of the plan, the exemplars.

A new set needs rows in golden_rows.py. Then, and after a change of prompts that is meant, `python tests/eval/golden.py`
writes tests/eval/golden/ again: read the diff before you keep it.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from golden_rows import ROWS

from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import QuestionSet
from prune.data.registry import DATASETS
from prune.data.sources.source import open_source
from prune.eval.plan import plan_metrics
from prune.eval.questions.settings import QuestionSettings

FOLDER = Path(__file__).with_name("golden")
SETS = [name for name, dataset in DATASETS.items() if isinstance(dataset, QuestionSet)]


def write_rows(folder: Path) -> None:
    """Put the rows where data=local finds them."""
    for name, splits in ROWS.items():
        (folder / name).mkdir(parents=True)
        for split, rows in splits.items():
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / name / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def render(name: str, root: Path) -> str:
    """The golden text of one set: without rationales, and with them where there are any."""
    return _render(name, root, EvalProtocol.acc)


def render_cloze(name: str, root: Path) -> str:
    """The same in cloze form, with one exemplar."""
    return _render(name, root, EvalProtocol.bpb, num_fewshot=1)


def _render(name: str, root: Path, protocol: EvalProtocol, **changes: Any) -> str:
    dataset = DATASETS[name]
    assert isinstance(dataset, QuestionSet)
    asked = [
        EvalConfig(name="golden", tasks=[name], rationale=rationale, protocols=[protocol], **changes)
        for rationale in (False, True)[: 1 + dataset.has_rationales]
    ]
    return "\n".join(_section(dataset, root, config) for config in asked)


def _section(dataset: QuestionSet, root: Path, config: EvalConfig) -> str:
    data, rationale = DataConfig(name=DataSource.local, root=str(root)), config.rationale
    (planned,) = plan_metrics(config, data)
    settings, source = planned.settings, open_source(data)
    assert isinstance(settings, QuestionSettings)
    questions = settings.questions(source)
    exemplars, items = questions.exemplars, questions.items
    parts = [
        f"==== {dataset.name}, {'with' if rationale else 'without'} rationales",
        f"==== exemplars: rows {', '.join(map(str, exemplars))} of {settings.exemplar_split}",
    ]
    for row, (prompt, item) in enumerate(zip(questions.prompts(), items, strict=True)):
        right = item.pair(rationale=rationale).removeprefix(item.question)
        parts += [f"==== prompt for row {row} of {settings.split}", prompt]
        parts += [f"==== right: {right!r}, target {item.target!r}, choices {list(item.choices)}"]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write all golden files."""
    with TemporaryDirectory() as folder:
        write_rows(Path(folder))
        for name in SETS:
            (FOLDER / f"{name}.txt").write_text(render(name, Path(folder)), encoding="utf-8")
            (FOLDER / "cloze" / f"{name}.txt").write_text(render_cloze(name, Path(folder)), encoding="utf-8")
    print(f"{2 * len(SETS)} files in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
