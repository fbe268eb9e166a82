"""Command lines against a small hub: all sets, the user's own repository, and a hub that refuses, breaks off or is gone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prune.data.dataset import QuestionSet, TextSet
from prune.data.registry import DATASETS
from prune.data.sources.sample import sample_rows

from ..hub_repos import MOVING, all_repos, data_repo
from ..hub_server import LETS_IN, Fault, Repo, serve
from .test_hub_identity import ids_of
from .test_prepare import COMMIT, NOWHERE, Prepared, gsm8k_repo, model_repo, run, things

SETS = [name for name, dataset in DATASETS.items() if isinstance(dataset, TextSet | QuestionSet) and dataset.hub is not None]
LANGUAGES = ["mc4", "wikipedia"]
"""Sets in many languages, of which the small hub has German."""
NAMES = [*SETS, *(f"{name}_de" for name in LANGUAGES)]
SMALL = (
    *("model=hf", "model.path=owner/tiny", "model.seq_len=64", "calib.num_samples=2", "calib.seq_len=64"),
    *("eval=perplexity", "eval.perplexity=[]", "tracker=none", "method=magnitude"),
)
OWN = ("calib=file", "calib.path=hub:me/notes", "calib.config=en", "calib.split=train", "method=wanda")
TINY = ("model=tiny", *SMALL[2:])
LATER = "beef" * 10


def without(line: tuple[str, ...], *keys: str) -> list[str]:
    return [word for word in line if word.partition("=")[0] not in keys]


def problems_of(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What could not be prepared -> why, up to the first bracket of its name."""
    assert "Traceback" not in said.stderr, said.stderr
    lines = said.stderr[said.stderr.index("prune: Not everything") :].splitlines()
    listed = [line[2:].split(": ", 1) for line in lines if line.startswith("- ")]
    return {name.partition(" (")[0]: why for name, why in listed}


def manifests(folder: Path) -> list[Mapping[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "outputs" / "calib").glob("*/manifest.json")]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A folder in which one line prepared every shipped set, for calibration and for scores; the hub is gone since."""
    folder = tmp_path_factory.mktemp("everything")
    line = [*without(SMALL, "method", "eval.perplexity"), "data=hub", "method=wanda"]
    line += [f"calib={','.join([*SETS, *LANGUAGES])}", "calib.language=de"]
    with serve(model_repo("owner/tiny"), *all_repos()) as endpoint:
        said = run(
            folder, *line, "eval.perplexity=[c4,pile,slimpajama,wikitext2,mc4_de]",
            "eval.tasks=[esnli,commonsense_qa,wmt14]",
            *("eval.num_fewshot=1", "eval.num_chunks=1", "eval.seq_len=64", "launcher=prepare"),
            HF_ENDPOINT=endpoint, HF_TOKEN=LETS_IN,
        )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return Prepared(folder, said)


@pytest.mark.slow
def test_every_shipped_set_is_prepared_in_one_line(everything: Prepared) -> None:
    found = things(everything.said)
    assert {f"rows {name}/train" for name in NAMES} <= set(found)
    brought = {found[f"rows {name}/train"].partition(", ")[2] for name in NAMES}
    assert brought == {"40 rows", f"40 rows, commit {MOVING[:8]}"}
    moving = {name for name in NAMES if "commit" in found[f"rows {name}/train"]}
    assert moving == {"commonsense_qa", "esnli", "oscar", "lambada"}
    assert len(manifests(everything.folder)) == len(NAMES)


@pytest.mark.slow
def test_sets_at_a_branch_are_named_by_their_commit_and_run_without_a_network(everything: Prepared) -> None:
    line = [*without(SMALL, "method"), "data=hub", "calib=esnli,oscar,commonsense_qa", "method=wanda"]
    plan = run(everything.folder, *line, "launcher=plan", HF_HUB_OFFLINE="1", HF_ENDPOINT=NOWHERE)
    assert plan.returncode == 0 and "after prepare" not in plan.stdout
    said = run(everything.folder, *line, HF_HUB_OFFLINE="1", HF_ENDPOINT=NOWHERE)
    assert said.returncode == 0, said.stderr
    configs = [path.read_text() for path in (everything.folder / "outputs" / "cells").glob("*/config.yaml")]
    assert sum(f"esnli/esnli@{MOVING}:" in text for text in configs) == 1
    assert sum(f"community-oscar@{MOVING}:" in text for text in configs) == 1
    assert sum(f"Salesforce/cos_e@{MOVING}:" in text for text in configs) == 1


def notes(commit: str, word: str, **more: object) -> Repo:
    """The user's own repository; each version has texts of its own."""
    rows = [{"text": f"{word} {row['text']}", "id": number} for number, row in enumerate(sample_rows("c4", "train")[:20])]
    return data_repo("me/notes", {"train": rows, "test": rows[:3]}, commit, config="en", **more)


@pytest.mark.slow
def test_the_users_own_repository_counts_by_its_commit(tmp_path: Path) -> None:
    line = [*without(TINY, "method"), *OWN]
    with serve(notes(COMMIT, "first")) as endpoint:
        plan = run(tmp_path, *line, "launcher=plan", HF_ENDPOINT=endpoint)
        assert "after prepare" in plan.stdout and "Not in the hub's local cache: me/notes." in plan.stdout
        said = run(tmp_path, *line, "launcher=prepare", HF_ENDPOINT=endpoint)
    assert said.returncode == 0, said.stderr
    assert things(said)["rows file/train"] == "fetched, 20 rows, commit c0ffee00"
    with serve(notes(LATER, "second"), notes(COMMIT, "first")) as endpoint:
        plan = run(tmp_path, *line, "launcher=plan", HF_ENDPOINT=endpoint)
        both = [*line, f"calib.revision={COMMIT},{LATER}"]
        edited = run(tmp_path, *both, "launcher=prepare", HF_ENDPOINT=endpoint)
        assert edited.returncode == 0, edited.stderr
    assert sorted(manifest["data"]["commit"] for manifest in manifests(tmp_path)) == [LATER, COMMIT]
    assert len({manifest["tokens_sha256"] for manifest in manifests(tmp_path)}) == 2
    said = run(tmp_path, *both, HF_HUB_OFFLINE="1", HF_ENDPOINT=NOWHERE)
    assert said.returncode == 0, said.stderr
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs/cells").glob("*/result.json")]
    assert len({result["weights_sha256"] for result in results}) == 3, "dense, and one for each commit"
    planned = ids_of(plan.stdout)
    assert len(planned) == 2 and set(planned) < {result["cell"] for result in results}, "the branch is not followed"


@pytest.mark.slow
def test_what_the_hub_refuses_is_told_with_what_to_do(tmp_path: Path) -> None:
    tiny, names = model_repo("owner/tiny"), ("closed", "limited", "broken", "busy", "cut", "old")
    repos = {name: model_repo(f"owner/{name}", gated=name == "closed") for name in names}
    moved = Repo(kind="models", id="owner/old", files={}, commit=COMMIT, renamed_to="owner/tiny")
    faults = [
        Fault("owner/limited", 429, {"Retry-After": "0"}, "HEAD", times=float("inf")),
        Fault("owner/busy", 429, {"Retry-After": "0"}, "HEAD", times=2),
        Fault("store/models/owner/broken", cut_after=0, times=float("inf")),
        Fault("store/models/owner/cut", cut_after=1000),
        Fault("openai/gsm8k", 503, {"Retry-After": "0"}, "HEAD", times=float("inf")),
    ]
    asked: list[str] = []
    paths = ",".join(f"owner/{name}" for name in (*names, "gone"))
    line = [*without(SMALL, "model.path"), f"model.path={paths}", "data=hub", "eval.tasks=[gsm8k]"]
    with serve(tiny, moved, gsm8k_repo(), *(repos[name] for name in names[:-1]), faults=faults, asked=asked) as endpoint:
        said = run(tmp_path, *line, "launcher=prepare", HF_ENDPOINT=endpoint)
    assert said.returncode == 2
    told, found = problems_of(said), things(said)
    for name in ("busy", "cut", "old"):
        assert found[f"model owner/{name}"] == "fetched, 2.4 MB, commit c0ffee00"
    assert sum("store/models/owner/cut" in line for line in asked) == 3, "two files, of which one was cut once"
    gated = told["model owner/closed"]
    assert "gated. Accept its terms on https://huggingface.co/owner/closed, then log in with `hf auth login`" in gated
    assert "no such repository on the hub" in told["model owner/gone"]
    limited = told["model owner/limited"]
    assert "limits the rate of requests (429). Run the same line again in a few minutes" in limited and "hf auth" in limited
    assert "the transfer broke off" in told["model owner/broken"] and "Run the same line again" in told["model owner/broken"]
    assert "an error of its own (503). Run the same line again later" in told["rows gsm8k/train"]
    assert all("HF_HUB_OFFLINE" not in why for why in told.values())


def test_no_network_is_not_blamed_on_a_variable_that_nobody_set(tmp_path: Path) -> None:
    line = [*SMALL, "data=hub", "eval.tasks=[gsm8k]", "launcher=prepare"]
    said = run(tmp_path, *line, HF_ENDPOINT=NOWHERE)
    told = problems_of(said)
    assert "HF_HUB_OFFLINE" not in said.stderr + said.stdout
    assert "the hub cannot be reached (no network). Fetch it where there is a network" in told["model owner/tiny"]
    assert "no copy was fetched before (no network)" in told["rows gsm8k/train"]
    said = run(tmp_path, *line, HF_ENDPOINT=NOWHERE, HF_HUB_OFFLINE="1")
    assert "Only what is in the cache can be used: HF_HUB_OFFLINE is set." in said.stdout
    assert all("(HF_HUB_OFFLINE is set)" in why and "unset the" not in why for why in problems_of(said).values())


def start(folder: Path, *overrides: str, endpoint: str) -> subprocess.Popen[str]:
    """A line that goes on beside the test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    line = [sys.executable, "-m", "prune.main", "-m", *overrides]
    environment = clean | {"HF_HOME": str(folder / "hub"), "HF_ENDPOINT": endpoint}
    return subprocess.Popen(line, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_killed_in_the_middle_and_then_two_at_once(tmp_path: Path) -> None:
    line = [*SMALL, "data=hub", "eval.tasks=[gsm8k]", "launcher=prepare"]
    asked: list[str] = []
    slow = Fault("store/models/owner/tiny", delay_s=3600, times=1)
    with serve(model_repo("owner/tiny"), gsm8k_repo(), faults=[slow], asked=asked) as endpoint:
        killed = start(tmp_path, *line, endpoint=endpoint)
        while not slow.num_met and killed.poll() is None:
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert slow.num_met, "it ended before it asked for the weights"
        both = [start(tmp_path, *line, endpoint=endpoint) for _ in range(2)]
        said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("model owner/tiny: " in text and "commit c0ffee00" in text for text in said)
    offline = run(tmp_path, *line, HF_HUB_OFFLINE="1", HF_ENDPOINT=NOWHERE)
    assert offline.returncode == 0 and {what.partition(",")[0] for what in things(offline).values()} == {"there"}


def test_xet_is_passed_by_where_it_cannot_be_used(tmp_path: Path) -> None:
    repo = model_repo("owner/tiny")
    xet = Repo(kind="models", id=repo.id, files=repo.files, commit=repo.commit, xet=True)
    asked: list[str] = []
    with serve(xet, asked=asked) as endpoint:
        refused = run(tmp_path, *SMALL, "launcher=prepare", HF_ENDPOINT=endpoint)
        assert refused.returncode == 2 and "HF_HUB_DISABLE_XET=1" in problems_of(refused)["model owner/tiny"]
        assert any("xet-read-token" in line for line in asked)
        said = run(tmp_path, *SMALL, "launcher=prepare", HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1")
    assert said.returncode == 0, said.stderr
    assert things(said)["model owner/tiny"] == "fetched, 2.4 MB, commit c0ffee00"
