"""The card of a saved model: what was pruned, with what, and where it comes from; the README.md of its folder."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prune.calib.manifest import describe_model_part
from prune.cell.cell import Cell
from prune.cell.provenance import code_state, describe_code, versions
from prune.config.model import ModelConfig
from prune.files import now
from prune.models.checks import is_multimodal
from prune.models.fetch import settings_here
from prune.models.files import local_folder

if TYPE_CHECKING:
    from prune.calib.calibration_set import CalibrationSet

CARD = """\
---
library_name: transformers
{base}tags:
- pruned
---

# {title}

{what}:

    from transformers import {auto}, AutoTokenizer

    model = {auto}.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)

{table}

The licence and the terms of the dense model hold for this one too.
"""


ZEROS = "The weights that were pruned are zeros in matrices of the usual shape"


def model_card(title: str, facts: Mapping[str, str], model: ModelConfig, what: str = ZEROS) -> str:
    """The card as Markdown, with the facts as a table; a dense `model` from the hub is named as the base model.

    `what` says what became of the pruned parts.
    """
    rows = ["| | |", "|---|---|", *(f"| {key} | {value.replace('|', '/')} |" for key, value in facts.items())]
    base = f"base_model: {model.path}\n" if local_folder(model) is None else ""
    auto = "AutoModelForImageTextToText" if is_multimodal(settings_here(model)) else "AutoModelForCausalLM"
    return CARD.format(auto=auto, base=base, title=title, what=what, table="\n".join(rows))


def cell_facts(
    cell: Cell, sparsity: Mapping[str, Any], linears: Mapping[str, Any], calibration: "CalibrationSet | None", sha256: str
) -> dict[str, str]:
    """What the card of a cell's model says; `sparsity` and `linears` are those of result.json."""
    skipped = f", {len(linears['skipped'])} left dense" if linears["skipped"] else ""
    return {
        "dense model": describe_model(cell.config.model),
        "method": _describe_knobs(cell.axes.method, cell.canonical.get("method", {})),
        **_describe_refit(cell.canonical.get("reconstruct")),
        "sparsity asked": _describe_knobs(cell.axes.sparsity or "", cell.canonical["sparsity"]),
        "sparsity reached": f"{sparsity['num_zero']:,} of {sparsity['num_weights']:,} weights are 0 in "
        f"{linears['num_pruned']} linear layers of the blocks{skipped}",
        "calibration": _describe_calibration(cell, calibration),
        "cell": f"{cell.id} ({cell.name})",
        "weights": f"sha256 {sha256}",
        **code_facts(),
    }


def describe_model(model: ModelConfig) -> str:
    """Its name, and where to get it when that is the hub."""
    parts = [model.name]
    if local_folder(model) is None:
        parts.append(f"{model.path}{f' at {model.revision}' if model.revision else ''}")
    if model.gguf_file is not None:
        parts.append(f"de-quantised from {model.gguf_file}")
    return ", ".join(parts)


def code_facts() -> dict[str, str]:
    """Which code made a folder, and when."""
    code = code_state()
    commit = f", commit {describe_code(code)}" if code.git else ""
    known = versions()
    others = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers", "python") if name in known)
    return {"made by": f"prune {known.get('prune', '')}{commit}; {others}", "made on": now()}


def _describe_knobs(name: str, form: Mapping[str, Any]) -> str:
    knobs = ", ".join(f"{key}={value}" for key, value in form.items() if key not in ("class", "seed"))
    return f"{name} ({knobs})" if knobs else name


def _describe_refit(form: Mapping[str, Any] | None) -> dict[str, str]:
    return {} if form is None else {"kept weights refitted": _describe_knobs("block by block", form)}


def _describe_calibration(cell: Cell, calibration: "CalibrationSet | None") -> str:
    if calibration is None:
        return "none"
    size = f"{calibration.manifest['num_samples']} x {calibration.manifest['seq_len']} tokens"
    axes = cell.axes
    named = {"prompt": axes.prompt, "selected by": axes.select, "tokens weighted by": axes.weight, "draw": axes.draw}
    knobs = "".join(f", {name} {value}" for name, value in named.items() if value)
    source, sha256 = cell.config.data.name.value, calibration.manifest["tokens_sha256"]
    made = describe_model_part(calibration.manifest)
    rows = "no rows" if "generated" in calibration.manifest and not cell.config.calib.prefix_tokens else f"{source} rows"
    parts = [f"{axes.calib}{knobs}", made, size, f"seed {axes.seed}", rows, f"sha256 {sha256}"]
    return ", ".join(part for part in parts if part)
