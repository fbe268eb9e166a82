"""The rows that lm-eval's definitions ask for, from our sets, from local files, or from where lm-eval itself loads them.

Where prune/data has the set, its rows are given the columns of the repository that the definition names. Any other set is
read from `ROOT/<repository>/<configuration>/<split>` (`ROOT/piqa/validation.jsonl` for baber/piqa, `ROOT/mmlu/anatomy/test`
for cais/mmlu anatomy). With data=hub lm-eval's own repositories are loaded, at the
commit that the hub's local cache knows: its definitions pin few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import FolderSet, Hub, QuestionSet, Row, RowSet, TextSet
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import label_name
from prune.data.formatting.nli import NLI_LABELS
from prune.data.formatting.sentiment import SENTIMENTS
from prune.data.registry import DATASETS
from prune.data.sets import rte
from prune.data.sources.source import Source, examples
from prune.errors import UserError
from prune.eval.harness.index import Definition

Rows = list[dict[str, Any]]

_NEWLINE = "\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A split of one of our sets, or of a folder of local files."""

    dataset: RowSet
    split: str
    convert: Callable[[Sequence[Row]], Rows]
    """Our rows -> rows with the columns that the definition knows."""

    @property
    def is_ours(self) -> bool:
        """Whether prune/data has the set."""
        return not isinstance(self.dataset, FolderSet)


def find_place(definition: Definition, split: str) -> Place:
    """Where the rows of a split lie with data=sample and data=local."""
    path, config = definition.dataset
    if path == "facebook/anli" and (place := _anli_place(split)):
        return place
    name, convert = _OURS.get((path, config), (None, _as_they_are))
    if name is not None:
        return Place(_without_companion(name), split, convert)
    return Place(_folder_set(definition), split, _as_they_are)


def check_source(definition: Definition, data: DataConfig) -> None:
    """Check that the source can have the rows at all; none is read.

    Raises:
        UserError: data=sample, and the set is none that is generated.
    """
    place = find_place(definition, definition.split)
    if data.name is DataSource.sample and not place.is_ours:
        path, _ = definition.dataset
        raise UserError(
            f"lm_eval/{definition.task}: data=sample has no rows of {path}. Take data=hub, or data=local with "
            f"{place.dataset.name}/{place.split}.jsonl under data.root."
        )


def needed_places(definition: Definition, num_fewshot: int) -> list[Place]:
    """The splits that are read: the one that is scored, and the one of the exemplars if there are any."""
    splits = [definition.split]
    if num_fewshot and definition.exemplar_split is not None:
        splits.append(definition.exemplar_split)
    return [find_place(definition, split) for split in dict.fromkeys(splits)]


def count_rows(definition: Definition, split: str, source: Source) -> int:
    """The rows of a split, as lm-eval loads it from the hub, or as the source has it."""
    place = find_place(definition, split)
    return len(read_hub(definition)[split] if source.name == "hub" else source.rows(place.dataset, place.split))


def read_split(definition: Definition, split: str, source: Source) -> Rows:
    """All rows of a split with the columns that the definition knows.

    Raises:
        UserError: whatever the source says, or a row without a usable answer.
    """
    place = find_place(definition, split)
    try:
        rows = source.rows(place.dataset, place.split)
        if isinstance(place.dataset, QuestionSet) and split == definition.split:
            for _ in examples(source, place.dataset, place.split):
                pass  # a row without an answer would count as wrong
        return place.convert(rows)
    except UserError as error:
        raise UserError(f"lm_eval/{definition.task}: {error}") from error


def read_hub(definition: Definition) -> Any:
    """lm-eval's own rows of a definition, a `datasets.DatasetDict`.

    Raises:
        UserError: they cannot be loaded.
    """
    from prune.data.sources.hub import load_repository

    options = dict(definition.config.get("dataset_kwargs") or {})
    for settled in ("trust_remote_code", "revision"):
        options.pop(settled, None)
    place = find_place(definition, definition.split)
    try:
        return load_repository(definition_hub(definition), options, name=place.dataset.name, split=place.split)
    except UserError as error:
        raise UserError(f"lm_eval/{definition.task}: {error}") from error


def definition_hub(definition: Definition) -> Hub:
    """The repository that lm-eval's definition names; few of them pin a revision."""
    path, config = definition.dataset
    revision = (definition.config.get("dataset_kwargs") or {}).get("revision")
    return Hub(path=path, config=config, revision=str(revision or "main"))


def to_pages(lines: Sequence[str]) -> list[str]:
    """WikiText's rows as the pages of its document-level copy: a page begins with a heading of the first rank.

    Like that copy's own script, this takes ` = 1 henry ... = ` in the middle of a page for a heading: the test split has 62.
    """
    pages: list[str] = []
    page: list[str] = []
    for line in "".join(f"{line.removesuffix(_NEWLINE) or ' '}\n" for line in lines).split("\n"):
        bare = line.replace("= = =", "===").replace("= =", "==").strip()
        if bare.startswith("= ") and bare.endswith(" ="):
            pages.append("\n".join(page))
            page = []
        page.append(line)
    return [page for page in pages if page.strip()] + ["\n".join(page)]


def _as_they_are(rows: Sequence[Row]) -> Rows:
    return [dict(row) for row in rows]


def _pages(rows: Sequence[Row]) -> Rows:
    return [{"page": page} for page in to_pages([column_text(row, "text") for row in rows])]


def _each(convert: Callable[[Row], dict[str, Any]]) -> Callable[[Sequence[Row]], Rows]:
    return lambda rows: [dict(row) | convert(row) for row in rows]


def _index_of(labels: tuple[str, ...]) -> Callable[[Row], dict[str, Any]]:
    return lambda row: {"label": labels.index(label_name(row["label"], labels))}


def _super_glue_rte(row: Row) -> dict[str, Any]:
    return {"premise": row["sentence1"], "hypothesis": row["sentence2"]} | _index_of(rte.LABELS)(row)


_OURS: dict[tuple[str, str | None], tuple[str, Callable[[Sequence[Row]], Rows]]] = {
    ("Rowan/hellaswag", None): ("hellaswag", _as_they_are),
    ("allenai/winogrande", "winogrande_xl"): ("winogrande", _as_they_are),
    ("allenai/ai2_arc", "ARC-Easy"): ("arc_easy", _as_they_are),
    ("allenai/ai2_arc", "ARC-Challenge"): ("arc_challenge", _as_they_are),
    ("allenai/openbookqa", "main"): ("openbookqa", _as_they_are),
    ("tau/commonsense_qa", None): ("commonsense_qa", _as_they_are),
    ("openai/gsm8k", "main"): ("gsm8k", _as_they_are),
    ("aps/super_glue", "boolq"): ("boolq", _each(lambda row: {"label": int(row["answer"])})),
    ("aps/super_glue", "rte"): ("rte", _each(_super_glue_rte)),
    ("nyu-mll/glue", "rte"): ("rte", _each(_index_of(rte.LABELS))),
    ("nyu-mll/glue", "sst2"): ("sst2", _each(_index_of(SENTIMENTS))),
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): ("wikitext2", _pages),
}
"""Repository and configuration that a definition names -> our set, and how its rows get their columns."""


def _anli_place(split: str) -> Place | None:
    """ANLI is one repository with a split for each round, and three sets of ours."""
    for number in (1, 2, 3):
        dataset = DATASETS[f"anli_r{number}"]
        assert isinstance(dataset, QuestionSet) and dataset.hub is not None
        for ours, theirs in dataset.hub.splits.items():
            if theirs == split:
                return Place(dataset, ours, _each(_index_of(NLI_LABELS)))
    return None


def _without_companion(name: str) -> TextSet | QuestionSet:
    """Our set; where its rationales come from a second set, without them, which lm-eval never asks for."""
    dataset = DATASETS[name]
    assert isinstance(dataset, TextSet | QuestionSet)
    if not isinstance(dataset, QuestionSet) or dataset.companion is None:
        return dataset
    example, lacking = dataset.example, dict.fromkeys(dataset.companion.columns)
    return replace(dataset, companion=None, example=lambda row: example({**lacking, **row}))


def _folder_set(definition: Definition) -> FolderSet:
    """The folder that a definition's rows lie in."""
    path, config = definition.dataset
    folder = path.rpartition("/")[2]
    return FolderSet(name=f"{folder}/{config}" if config else folder, hub_note="lm-eval loads this set itself")
