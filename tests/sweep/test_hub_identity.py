"""A model of the hub counts by the commit in the local cache: known once it is there, and what is loaded is that commit."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load, save

from prune.config.model import ModelConfig
from prune.models.identity import hub_commit, is_known, model_identity

from ..hub_server import Repo, serve
from .test_prepare import COMMIT, LINE, model_repo, run

LATER = "decade" + "1" * 34
SHORT = (*LINE, "data=sample", "eval.perplexity=[]", "method=magnitude")


def line(*more: str) -> list[str]:
    """Each key once, the last of it."""
    return list({word.partition("=")[0]: word for word in (*SHORT, *more)}.values())


def moved(repo: Repo) -> Repo:
    """The repository after a commit that changed the weights."""
    files = dict(repo.files)
    for name in (name for name in files if name.endswith(".safetensors")):
        files[name] = save({key: -tensor for key, tensor in load(files[name]).items()}, {"format": "pt"})
    return replace(repo, files=files, commit=LATER)


def ids_of(plan: str) -> list[str]:
    return re.findall(r"^ *(?:│ *)?([0-9a-f]{12}|after prepare)\b", plan, flags=re.MULTILINE)


def results(folder: Path) -> dict[str, str]:
    found = [json.loads(path.read_text()) for path in (folder / "outputs/cells").glob("*/result.json")]
    return {result["cell"]: result["weights_sha256"] for result in found}


@pytest.mark.slow
def test_before_and_after_it_is_fetched_and_when_the_branch_moves(tmp_path: Path) -> None:
    repo = model_repo("owner/tiny")
    with serve(repo) as endpoint:
        plan = run(tmp_path, *line("launcher=plan"), HF_ENDPOINT=endpoint).stdout
        assert ids_of(plan) == ["after prepare"] * 2 and "owner/tiny. The ids of their cells will be known after" in plan
        assert not (tmp_path / "hub/hub/models--owner--tiny").exists(), "a plan fetches nothing"
        assert run(tmp_path, *line(), HF_ENDPOINT=endpoint).returncode == 0, "the ids of a run are those of the commit"
    first = results(tmp_path)
    with serve(moved(repo), repo) as endpoint:
        plan = run(tmp_path, *line("launcher=plan"), HF_ENDPOINT=endpoint).stdout
        assert sorted(ids_of(plan)) == sorted(first) and "after prepare" not in plan
        (tmp_path / "outputs").rename(tmp_path / "first")
        again = run(tmp_path, *line(), HF_ENDPOINT=endpoint)
        assert again.returncode == 0, again.stderr
        assert results(tmp_path) == first, "the branch is not followed: one sweep, one commit"
    elsewhere = tmp_path / "elsewhere"
    with serve(moved(repo)) as endpoint:
        assert run(elsewhere, *line(), HF_ENDPOINT=endpoint).returncode == 0
    other = results(elsewhere)
    assert not set(other) & set(first) and not set(other.values()) & set(first.values())


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local cache of the hub with one commit under a branch and a tag."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--owner--tiny"
    (repo / "refs").mkdir(parents=True)
    for name in ("main", "v1"):
        (repo / "refs" / name).write_text(COMMIT)
    (repo / "snapshots" / COMMIT).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "config.json").write_text('{"dtype": "bfloat16"}')
    return repo


def test_a_branch_a_tag_and_the_commit_itself_are_one(cached: Path) -> None:
    def identify(**fields: str) -> dict[str, object]:
        return model_identity(ModelConfig(**({"name": "x", "path": "owner/tiny"} | fields)))  # type: ignore[arg-type]

    known = identify()
    assert known == {"commit": COMMIT, "dtype": "bfloat16"}
    assert identify(revision="v1") == identify(revision=COMMIT) == identify(name="other", revision="main") == known
    assert "unknown" in identify(revision="v2") and "unknown" in identify(path="owner/other")
    assert identify(path="owner/other") != identify(path="owner/third") != identify(revision="v2")
    (cached / "snapshots" / COMMIT / "config.json").unlink()
    model = ModelConfig(name="x", path="owner/tiny")
    assert not is_known(model) and hub_commit(model) is None
