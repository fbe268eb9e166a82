"""A key typed at the value that it has anyway gives the ids of the line without it: of the cell, its set and its scores."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from prune.cell.cell import make_cell
from prune.cell.folder import CellFolder
from prune.config.config import Config
from prune.config.options import default_name
from prune.data.sources.sample import sample_rows
from prune.files import write_text
from prune.models.files import EMBEDDED_FOLDER
from prune.sweep.schemas import SCHEMAS
from tests.architectures import tiny_model
from tests.conftest import Compose
from tests.mixtures import mixture

GROUPS = ("model", "calib", "prompt", "select", "weight", "method", "sparsity", "reconstruct", "eval", "data", "merge")
"""What an id may depend on."""
SHORT = ("model.seq_len=48", "calib=svamp", "calib.num_samples=15", "method=wanda", "eval=quick", "tracker=none")
NM = "sparsity=2to4"
OWL = "sparsity.allocation=owl"
MIXTURE = "model.path=MIXTURE"
HESSIAN = ("sparsegpt", "alps", "admm", "swaps")
OWN = ("calib=file", "calib.path=ROWS/choices.jsonl", "calib.question=ask", "calib.answer=reply", "prompt=cot")
OWN += ("calib.rationale=ask", "calib.bad_rows=skip")
CHOICES = (*OWN, "calib.choices=options")
TEXT = ("calib=file", "calib.path=ROWS/texts.jsonl")
EVOLUTION = ("sparsity=blocks", "sparsity.search=evolution")
STUDY = "calib.compat=study"


@dataclass(frozen=True)
class Same:
    """What a key that is null stands for in a line."""

    typed: str
    base: tuple[str, ...] = ()
    differs: bool = False
    """Whether it is another question after all."""


def same(typed: str, *base: str) -> Same:
    return Same(typed, base)


def other(typed: str, *base: str) -> Same:
    return Same(typed, base, differs=True)


NULL: dict[str, list[Same] | str] = {
    "method.min_tokens": [
        *(same("method.min_tokens=32", f"method={method}", MIXTURE) for method in HESSIAN),
        *(same("method.min_tokens=1", f"method={method}", MIXTURE) for method in ("wanda", "dsnot", "ria", "nowag")),
        same("method.min_tokens=32", "method=dsnot", "method.start=sparsegpt", MIXTURE),
        same("method.min_tokens=32", "method=swaps", "method.start=magnitude", MIXTURE),
        same("method.min_tokens=1", "method.output_error=true", MIXTURE),
        same("method.min_tokens=32", "method=magnitude", "method.output_error=true", MIXTURE),
        same("method.min_tokens=32", "method=sparsegpt", "method.propagation=dense", MIXTURE),
        same("method.min_tokens=1", "method=magnitude", OWL, MIXTURE),
        same("method.min_tokens=1", OWL, MIXTURE),
        same("method.min_tokens=9", "method=magnitude", "reconstruct=block", MIXTURE),
        other("method.min_tokens=32", MIXTURE),
        other("method.min_tokens=1", "method=sparsegpt", MIXTURE),
        other("method.min_tokens=32", "method=sparsegpt", OWL, MIXTURE),  # of which OWL's scores take 1
        other("method.min_tokens=1", "method=sparsegpt", OWL, MIXTURE),
    ],
    "method.dsnot.same_sign": [
        same("method.same_sign=false", "method=dsnot"),
        same("method.same_sign=true", "method=dsnot", NM),
        same("method.same_sign=false", "method=dsnot", OWL),
        other("method.same_sign=true", "method=dsnot"),
        other("method.same_sign=false", "method=dsnot", NM),
    ],
    "select.most_similar.target": "null is the pool itself, which has no name",
    "sparsity.unstructured.ratios": [same("sparsity.ratios={}")],
    "sparsity.blocks.num": "which number a share makes depends on the model",
    "sparsity.experts.num": "which number a share makes depends on the model",
    "sparsity.blocks.keep_first": [
        same("sparsity.keep_first=1", "sparsity=blocks"),
        same("sparsity.keep_first=0", *EVOLUTION),
        other("sparsity.keep_first=0", "sparsity=blocks"),
    ],
    "sparsity.blocks.keep_last": [
        same("sparsity.keep_last=1", "sparsity=blocks"),
        same("sparsity.keep_last=0", *EVOLUTION),
        other("sparsity.keep_last=1", *EVOLUTION),
    ],
    "calib.language": "a set with languages needs one; the others ignore it",
    "calib.seq_len": [same("calib.seq_len=48"), same("calib.seq_len=48", "calib=c4")],
    "calib.real_tokens": [same("calib.real_tokens=48", STUDY), same("calib.real_tokens=48", STUDY, "prompt=single")],
    "calib.keep_share": [
        same("calib.keep_share=1", "calib=c4"),
        same("calib.keep_share=0.8", "calib=generated"),
        other("calib.keep_share=1", "calib=generated"),
    ],
    "calib.column": [same("calib.column=text", *TEXT), other("calib.column=more", *TEXT)],
    "calib.answer_kind": [
        same("calib.answer_kind=label", *CHOICES),
        same("calib.answer_kind=text", *OWN),
        other("calib.answer_kind=text", *CHOICES),
        other("calib.answer_kind=label", *OWN),
    ],
    **{
        f"calib.{key}": "null is none"
        for key in ("path", "question", "answer", "rationale", "choices", "messages", "eval_path", "eval_split", "held_out")
    },
    "calib.joined": [same("calib.joined=false", *TEXT), other("calib.joined=true", *TEXT)],
    **{f"calib.{key}": "of the hub: tests/data/test_hub.py" for key in ("config", "split", "revision")},
    "calib.label": "a name",
    "calib.parts": "a mixture needs them",
    "calib.weights": "with null every token counts the same, and so a part by its tokens",
    "prompt.num_shots": "as many as fill a sequence, which no number says",
    "prompt.num_cot_steps": "null is any number",
    "prompt.system": "null leaves it to the template",
    "model.path": [same(f"model.path={EMBEDDED_FOLDER}", "model.dtype=float32")],
    "model.revision": "of the hub: tests/sweep/test_hub_identity.py",
    "model.gguf_file": "null is none",
    "model.device_map": "where the weights lie",
    "eval.limit": "all, however many there are",
    "eval.num_chunks": "all, however many there are",
    "eval.seq_len": [same("eval.seq_len=48", "eval.perplexity=[c4]")],
    "eval.bos": [same("eval.bos=tokenizer", "eval.perplexity=[c4]"), same("eval.bos=chunk", "model.bos=chunk")],
    "eval.num_fewshot": [
        same("eval.num_fewshot=3", "eval.tasks=[gsm8k]", "eval.protocols=[acc]"),
        same("eval.num_fewshot=9", "eval.tasks=[rte]", "eval.protocols=[acc,acc_mc]"),
        same("eval.num_fewshot=0", "eval.tasks=[gsm8k,rte]", "eval.protocols=[bpb]"),
    ],
    "eval.logits_chunk": "of no id",
    "eval.speed_device": "null is any",
    "data.root": "null is none",
    "merge.weights": "equal shares: tests/cell/test_merge.py",
}
"""Key that is null by default -> what it stands for, or why no value says it."""


def leaves() -> Iterator[tuple[str, Any, Any]]:
    """(key, class of its group, its default) of all keys that an id may depend on; of an option's own with its name."""
    hints = get_type_hints(Config)
    for group in GROUPS:
        options = [cls for path, cls in SCHEMAS.items() if path.startswith(f"{group}/")]
        shared = {entry.name for entry in fields(hints[group])} if is_dataclass(hints[group]) else set()
        for cls in options or [hints[group]]:
            for entry in fields(cls):
                own = f"{default_name(cls)}." if options and (entry.name not in shared) else ""
                yield f"{group}.{own}{entry.name}", cls, entry.default


def test_every_key_that_is_null_is_in_the_table() -> None:
    from_model = {"calib.seq_len", "eval.seq_len", "eval.bos"}
    assert {key for key, _, default in leaves() if default is None} | from_model == set(NULL), "say in NULL what null is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny mixture, and rows."""
    folder = tmp_path_factory.mktemp("typed")
    shutil.copytree(EMBEDDED_FOLDER, folder / "mixture")
    vocabulary = json.loads((EMBEDDED_FOLDER / "config.json").read_text())["vocab_size"]
    tiny_model(mixture("mixtral", vocab_size=vocabulary)).save_pretrained(folder / "mixture")
    texts = [{"text": row["text"], "more": row["text"]} for row in sample_rows("c4", "train")[:40]]
    asked = [{"ask": f"Is {n} even?", "reply": "yes", "options": ["yes", "no"]} for n in range(40)]
    for name, rows in (("texts", texts), ("choices", asked)):
        write_text(folder / f"rows/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return folder


def ids(config: Config) -> dict[str, str]:
    """Of the cell, of its calibration set, and of each score."""
    cell = make_cell(config)
    scores = {score.name: CellFolder(Path(cell.id)).score(score).name for score in cell.scores}
    return {"cell": cell.id, "dense": cell.dense_id, "set": cell.recipe.id() if cell.recipe else "", **scores}


CASES = [(key, case) for key, cases in NULL.items() if not isinstance(cases, str) for case in cases]


@pytest.mark.slow
@pytest.mark.parametrize(("key", "case"), CASES, ids=[f"{' '.join(case.base)} {case.typed}" for _, case in CASES])
def test_what_null_stands_for_is_the_same_when_typed(key: str, case: Same, folder: Path, compose_config: Compose) -> None:
    group, *_, name = key.split(".")
    assert case.typed.startswith(f"{group}.{name}=")
    base = placed((*SHORT, *case.base), folder)
    absent, typed = ids(compose_config(*base)), ids(compose_config(*base, case.typed))
    assert (absent != typed) == case.differs


def placed(words: tuple[str, ...], folder: Path) -> list[str]:
    return [re.sub("=(MIXTURE|ROWS)", lambda found: f"={folder}/{found[1].lower()}", word) for word in words]


def options(group: str) -> list[str]:
    return [default_name(cls) for path, cls in SCHEMAS.items() if path.startswith(f"{group}/")]


LINES: list[tuple[str, ...]] = [
    *((f"method={method}", *more) for method in options("method") for more in ((), (NM,), (MIXTURE,))),
    *((f"select={select}", f"calib={calib}") for select in options("select") for calib in ("svamp", "c4", "mix_all")),
    *((f"weight={weight}", *more) for weight in options("weight") for more in ((), ("calib=c4",), (OWL,))),
    *((f"reconstruct={how}", f"method={method}") for how in options("reconstruct") for method in ("wanda", "magnitude")),
    *((f"sparsity={kind}", MIXTURE) for kind in ("unstructured", "2to4", "blocks", "experts")),
    *((f"sparsity.allocation={how}",) for how in ("owl", "alphapruning")),
    *(EVOLUTION, ("sparsity=experts", "sparsity.criterion=router", MIXTURE), ("sparsity.ratios={0.*:0.2}",)),
    *((f"calib={name}",) for name in ("c4", "gsm8k", "esnli", "random", "generated", "wikitext2", "mc4 calib.language=es")),
    *((f"prompt={prompt}", "calib=gsm8k") for prompt in ("icl", "cot", "single", "zero_shot", "autoregressive")),
    *(("calib=mix", f"calib.parts={parts}") for parts in ("{svamp: 0.5, c4: 0.5}", "{svamp: 1, gsm8k: null}", "{c4: 15}")),
    *((STUDY,), TEXT, OWN, CHOICES, ("eval=study",), ("eval=zero_shot", "model.bos=chunk")),
]
"""Lines of which every key is typed at the value that it has."""


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_default_typed_is_the_line_without(line: tuple[str, ...], folder: Path, compose_config: Compose) -> None:
    base = placed((*SHORT, *" ".join(line).replace(": ", ":").replace(", ", ",").split()), folder)
    absent = compose_config(*base)
    typed = [word for group in GROUPS for word in words_of(group, getattr(absent, group))]
    assert len(typed) > 70
    assert ids(compose_config(*base, *typed)) == ids(absent)


def words_of(group: str, settings: Any) -> list[str]:
    return [f"{group}.{key.name}={written(getattr(settings, key.name))}" for key in fields(settings) if key.name != "sets"]


def written(value: Any) -> str:
    """A value as it is typed on a line."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, str):
        return '"' + value.replace("\n", "\\n") + '"'
    return json.dumps(value)
