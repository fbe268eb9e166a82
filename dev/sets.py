"""Writes docs/sets.md: where each set lies on the hub, what it looks like there, and how sure that is.

    python -m dev.sets

Ids, configurations and revisions come from the definitions in prune/data/sets; what those do not say, the files, the licence
and the source of each fact, stand in dev/set_facts.py. A test compares the file with `render()`, and the tests' hub lays out
its repositories by it.
"""

from collections.abc import Iterator
from pathlib import Path

from dev.set_facts import FACTS, MEANING, SHOWN, Facts
from prune.data.dataset import Companion, Hub, QuestionSet, TextSet
from prune.data.registry import DATASETS, LANGUAGE_SETS
from prune.data.sources.commits import COMMIT
from prune.data.sources.hub import STREAMED_ROWS

FILE = Path(__file__).resolve().parents[1] / "docs" / "sets.md"

HEAD = f"""# The sets on the hub

Made by `python -m dev.sets` from the code; a test fails when it is out of date.

**None of these repositories was reached where this program is built.** Ids and commits were taken from public code and
pages; the tests lay the repositories out by this table, on a small hub that speaks the hub's protocol to the real clients,
and every set is prepared and read there. What a set looks like on the hub itself is *not measured*, nor is a transfer
through Xet's storage: only its headers and the way round it by plain HTTP (`HF_HUB_DISABLE_XET=1`) are shown.

How sure a row is:

{chr(10).join(f"- **{sure.value}**: {meaning}." for sure, meaning in MEANING.items())}

The licence is the one that the repository's card names. Columns that a set reads are **bold**.

## Commits

Rows count by the commit that they were read at. A branch (esnli, oscar, cos_e, lambada; the repositories of most of
lm-eval's own tasks; `calib.path=hub:owner/name` without `calib.revision`) means the commit that it had when it was first
fetched: the hub's local cache remembers that, `launcher=prepare` and the manifest of a calibration set name it, and before
it is fetched `launcher=plan` says "after prepare". When somebody has written to the repository since, nothing changes here
until you ask for it: `calib.revision=COMMIT`, or for a branch

    hf download --repo-type dataset owner/name README.md

Rows of another commit are another calibration set, and scores on them other scores.

## Order

Rows keep their order, but those of imdb and rotten_tomatoes, which lie sorted by label (from memory: the negative reviews of
imdb first, of rotten_tomatoes the positive ones). They are read from both halves of a split in turn, so that exemplars and a
limited number of items hold both labels: row 2k is row k of the file, row 2k + 1 is row k of its second half.

## Languages

mc4 and wikipedia have a set for each language, called as in mc4_de; the table shows German. [languages.md](languages.md)
says how they are compared.

{chr(10).join(f"- {several.name}: {', '.join(several.languages)}" for several in LANGUAGE_SETS.values())}

## Table
"""


def render() -> str:
    """The whole file."""
    return "\n".join([HEAD, *_table(), "", "## Sources", "", *_sources()]) + "\n"


def repositories() -> dict[str, tuple[Hub, tuple[str, ...]]]:
    """Set, or companion -> its repository, and the columns that are read of it."""
    found: dict[str, tuple[Hub, tuple[str, ...]]] = {}
    by_language = [several.in_language(SHOWN) for several in LANGUAGE_SETS.values()]
    for dataset in [*DATASETS.values(), *by_language]:
        if not isinstance(dataset, TextSet | QuestionSet):
            continue
        if dataset.hub is not None:
            theirs = {ours: other for other, ours in dataset.aliases.items()}
            found[dataset.name] = dataset.hub, (*dataset.columns, *theirs.values())
        if isinstance(dataset, QuestionSet) and dataset.companion is not None:
            found[dataset.companion.name] = dataset.companion.hub, _companion_columns(dataset.companion)
    return found


def _companion_columns(companion: Companion) -> tuple[str, ...]:
    return (companion.key, *companion.columns)


def facts_of(hub: Hub) -> Facts:
    """What is known of a repository."""
    return FACTS[hub.path, hub.config]


def _table() -> Iterator[str]:
    yield "| set | repository | configuration | revision | splits | columns | read | licence | sure |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, (hub, read) in repositories().items():
        facts = facts_of(hub)
        columns = ", ".join(f"**{column}**" if column in read else column for column in facts.columns)
        splits = ", ".join(f"{ours} ({theirs})" for ours, theirs in hub.splits.items()) or ", ".join(facts.files)
        cells = (
            name,
            hub.path,
            hub.config or "",
            _revision(hub),
            splits,
            columns,
            _how(hub),
            facts.licence,
            facts.sure.value,
        )
        yield f"| {' | '.join(cells)} |"
    for dataset in DATASETS.values():
        if isinstance(dataset, TextSet) and dataset.hub is None:
            yield f"| {dataset.name} | none: {dataset.hub_note} | | | | | | | |"


def _revision(hub: Hub) -> str:
    return f"`{hub.revision}`" if COMMIT.fullmatch(hub.revision) else f"`{hub.revision}`, by its commit"


def _how(hub: Hub) -> str:
    """How much of it is fetched."""
    if hub.streaming:
        return f"first {STREAMED_ROWS:,} rows" + (" of a file" if hub.files else "")
    return "one file a split" if hub.files else "whole"


def _sources() -> Iterator[str]:
    for (path, config), facts in FACTS.items():
        yield f"- {path}{f' ({config})' if config else ''}, `{next(iter(facts.files.values()))}`: {facts.source}"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
