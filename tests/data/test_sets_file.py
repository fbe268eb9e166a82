"""docs/sets.md is what the code says, and says something of each repository."""

import re

import pytest

from dev.set_facts import FACTS, Sure
from dev.sets import FILE, facts_of, render, repositories
from prune.data.sources.commits import COMMIT


def test_the_file_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m dev.sets, and read the diff"


@pytest.mark.parametrize("name", list(repositories()))
def test_each_set_is_described_with_what_it_reads(name: str) -> None:
    hub, read = repositories()[name]
    facts = facts_of(hub)
    assert set(hub.files.items()) <= set(facts.files.items()) and set(hub.splits.values()) <= set(facts.files)
    needed = set(read) - {"text"} if name == "oscar" else set(read) & set(facts.columns)
    assert needed and needed <= set(facts.columns) and facts.licence and facts.source
    assert COMMIT.fullmatch(hub.revision) or facts.sure in (Sure.MEMORY, Sure.OTHER)


def test_nothing_is_described_that_no_set_reads() -> None:
    assert set(FACTS) == {(hub.path, hub.config) for hub, _ in repositories().values()}


def test_every_address_is_a_whole_one() -> None:
    for facts in FACTS.values():
        for commit in re.findall(r"/(?:tree|commit)/(\w+)", facts.source):
            assert commit in ("main", "master") or COMMIT.fullmatch(commit)
