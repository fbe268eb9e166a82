"""The chat form through the real command line: calibration, scores, and models that have no template."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune.models.files import EMBEDDED_FOLDER
from tests.chat_templates import CHATML
from tests.conftest import Said

Say = Callable[..., Said]

BARE = ["eval.perplexity=[]", "eval.tasks=[]", "tracker=none", "calib.num_samples=2", "calib.seq_len=64", "device=cpu"]
TALKS = [
    {"talk": [{"role": "user", "content": f"What is {row} + 1?"}, {"role": "assistant", "content": f"It is {row + 1}."}]}
    for row in range(12)
]


@pytest.fixture
def talker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The embedded model with a chat template, as a line names it; the working folder is empty but for it."""
    shutil.copytree(EMBEDDED_FOLDER, tmp_path / "talker")
    (tmp_path / "talker/chat_template.jinja").write_text(CHATML)
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TALKS))
    monkeypatch.chdir(tmp_path)
    return f"model.path={tmp_path}/talker"


def results() -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in Path("outputs").glob("cells/*/result.json")]
    return {result["name"]: result for result in found}


def test_chat_beside_icl_and_a_text_that_has_no_prompt(talker: str, say: Say) -> None:
    done = say("-m", talker, "calib=svamp,c4", "prompt=icl,chat", *BARE)
    assert done.code == 0, done.err
    assert "4 grid points, 3 distinct pruned cells" in done.out
    names = {"tiny/dense", "tiny/svamp-icl/wanda/50%/s0", "tiny/svamp-chat/wanda/50%/s0", "tiny/c4/wanda/50%/s0"}
    assert set(results()) == names
    manifests = [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]
    assert sum("chat_template_sha256" in manifest for manifest in manifests) == 1
    assert not say("-m", talker, "calib=svamp,c4", "prompt=icl,chat", *BARE, "launcher=plan").code


def test_a_model_without_a_template_is_not_applicable(say: Say, talker: str) -> None:
    done = say("-m", "calib=svamp,c4", "prompt=icl,chat", *BARE, "launcher=plan")
    assert done.code == 0, done.err
    assert "not applicable 1" in done.out
    assert "prompt=chat: the tokenizer of model=tiny has no chat template" in done.out
    alone = say("calib=svamp", "prompt=chat", *BARE)
    assert alone.code == 2 and "has no chat template. Take a model that was trained on conversations" in alone.err
    scored = say("calib=svamp", *BARE[:1], "eval.tasks=[rte]", "eval.chat=true", *BARE[2:])
    assert scored.code == 2 and "eval.chat=true: the tokenizer of model=tiny has no chat template" in scored.err
    assert not Path("outputs/cells").exists()


def test_that_is_told_without_torch(tmp_path: Path) -> None:
    program = "import sys; from prune.main import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    line = ["calib=svamp", "prompt=chat", *BARE]
    command = [sys.executable, "-c", program, *line]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n"), done


def test_scores_of_both_forms_stand_beside_each_other(talker: str, say: Say) -> None:
    scores = ["eval.tasks=[rte]", "eval.protocols=[acc,acc_mc,acc_cf,bpb]", "eval.limit=4", "eval.num_fewshot=1"]
    line = [talker, "calib=svamp", "prompt=chat", *BARE[:1], *BARE[2:], *scores]
    assert say(*line).code == 0
    done = say(*line, "eval.chat=true")
    assert done.code == 0, done.err
    (result,) = [result for name, result in results().items() if "svamp-chat" in name]
    kinds = ["acc", "acc_mc", "acc_mc_norm", "acc_cf", "bpb"]
    assert set(result["metrics"]) == {f"{kind}{form}/rte" for kind in kinds for form in ("", "_chat")}
    assert result["earlier"] == []
    plain, chat = result["metrics"]["bpb/rte"], result["metrics"]["bpb_chat/rte"]
    assert plain["value"] != chat["value"] and chat["protocol"]["chat"] is True and "chat" not in plain["protocol"]
    assert result["overlap"]["bpb_chat/rte"] == result["overlap"]["bpb/rte"]


def test_own_conversations(talker: str, say: Say) -> None:
    own = ["calib=file", "calib.path=talks.jsonl", "calib.messages=talk"]
    plain = say(talker, *own, *BARE)
    assert plain.code == 2 and "prompt=chat renders and prompt=icl does not. Take prompt=chat" in plain.err
    done = say("-m", talker, *own, "prompt=chat,icl", *BARE, "eval.tasks=[svamp]", "eval.limit=2")
    assert done.code == 0, done.err
    assert "tiny/talks-chat/wanda/50%/s0" in results()
    (manifest,) = [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]
    assert manifest["name"] is None and manifest["prompt"]["name"] == "chat" and manifest["num_rows"] == 12


def test_a_mixture_has_the_chat_form_in_its_parts_of_questions(talker: str, say: Say) -> None:
    mixed = ["calib=mix", "calib.parts={c4:1,svamp:1}", "prompt=chat"]
    done = say(talker, *mixed, *BARE, "eval.tasks=[svamp]", "eval.protocols=[bpb]", "eval.limit=2", "eval.chat=true")
    assert done.code == 0, done.err
    manifests = [json.loads(path.read_text()) for path in Path("outputs").glob("calib/*/manifest.json")]
    (mix,) = [manifest for manifest in manifests if "made_of" in manifest]
    text, asked = mix["made_of"]
    assert (text["prompt"], asked["prompt"]["name"]) == (None, "chat") and "chat_template_sha256" in asked
    assert text["bos"]["id"] is not None and asked["bos"]["id"] is None, "a window has its BOS, a template its own"
    refused = say(*mixed, *BARE)
    assert refused.code == 2 and "prompt=chat: the tokenizer of model=tiny has no chat template" in refused.err


def test_the_studys_forms(talker: str, say: Say) -> None:
    study = ["calib.compat=study", "calib.real_tokens=24,48"]
    done = say("-m", "calib=c4", *study, *BARE)
    assert done.code == 0, done.err
    assert "2 grid points, 2 distinct pruned cells" in done.out
    refused = say("-m", "calib=c4", "calib.real_tokens=24", *BARE, "launcher=plan")
    assert refused.code == 2 and "calib.real_tokens=24 needs calib.compat=study" in refused.err
    prefixes = say("calib=svamp", "prompt=autoregressive", "calib.compat=study", *BARE)
    assert prefixes.code == 0 and "tiny/svamp-autoregressive/wanda/50%/s0" in results()
