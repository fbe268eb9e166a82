"""Code that differs from its commit is told of in the same words wherever it is."""

from pathlib import Path

import pytest

from prune.cell import model_card, provenance
from prune.cell.provenance import CodeState, code_warning, describe_code

PAGE = Path(provenance.__file__).resolve().parents[1] / "report/output/page/running.js"
SHA = "0123456789abcdef0123"
CLEAN, CHANGED = CodeState(SHA, False, None), CodeState(SHA, True, "fedcba987654")
WORDS = "with uncommitted changes"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (provenance, model_card):
        monkeypatch.setattr(module, "code_state", lambda: CHANGED)


def test_a_commit_is_told_with_what_differs_from_it() -> None:
    assert describe_code(CLEAN) == "0123456789ab"
    assert describe_code(CHANGED) == f"0123456789ab {WORDS} (fedcba987654)"
    assert describe_code(CodeState(None, None, None)) == "no checkout"


def test_card_warning_and_page_have_the_same_words(changed: None) -> None:
    assert f"commit 0123456789ab {WORDS} (fedcba987654);" in model_card.code_facts()["made by"]
    warning = code_warning(CLEAN)
    assert warning is not None and f"submission (0123456789ab) and start (0123456789ab {WORDS} (fedcba987654)) of" in warning
    assert f'" {WORDS}"' in PAGE.read_text(encoding="utf-8")


def test_a_card_of_an_installed_package_names_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_card, "code_state", lambda: CodeState(None, None, None))
    assert "commit" not in model_card.code_facts()["made by"]
