import json
import subprocess
import sys
from pathlib import Path

import pytest

from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig, EvalProtocol
from prune.data.dataset import QuestionSet, TextSet
from prune.data.last_words import has_last_words
from prune.data.registry import DATASETS
from prune.errors import UserError
from prune.eval.plan import plan_metrics

SAMPLE = DataConfig(name=DataSource.sample)


def quick(**changes: object) -> EvalConfig:
    settings: dict[str, object] = {"name": "q", "perplexity": ["wikitext2", "c4"], "tasks": ["gsm8k", "esnli"]}
    return EvalConfig(**(settings | changes))  # type: ignore[arg-type]


def test_metrics_come_in_the_order_asked_perplexity_first() -> None:
    planned = plan_metrics(quick(), SAMPLE)
    assert [metric.name for metric in planned] == ["ppl/wikitext2", "ppl/c4", "acc/gsm8k", "acc/esnli"]
    assert [metric.dataset for metric in planned] == ["wikitext2", "c4", "gsm8k", "esnli"]


def test_what_is_asked_of_a_perplexity() -> None:
    (metric,) = plan_metrics(quick(perplexity=["c4"], tasks=[], seq_len=512, num_chunks=8, bos=Bos.chunk), SAMPLE)
    assert len(metric.data["rows"] or "") > 16, "a hash of what makes the rows"
    assert metric.asked == {
        "kind": "PerplexitySettings",
        "dataset": "c4",
        "split": "validation",
        "joiner": " ",
        "num_texts": 1100,
        "seq_len": 512,
        "bos": "chunk",
        "num_chunks": 8,
        "max_chunks": 256,
        "data": {"source": "sample", "rows": metric.data["rows"]},
    }


def test_wikitext_is_read_whole() -> None:
    (metric,) = plan_metrics(quick(perplexity=["wikitext2"], tasks=[]), SAMPLE)
    assert metric.asked["num_texts"] is None
    assert metric.asked["max_chunks"] is None
    assert metric.asked["joiner"] == "\n\n"


def test_what_is_asked_of_an_accuracy() -> None:
    (metric,) = plan_metrics(quick(perplexity=[], tasks=["esnli"], limit=100), SAMPLE)
    assert metric.asked == {
        "kind": "AccuracySettings",
        "dataset": "esnli",
        "split": "test",
        "exemplar_split": "train",
        "num_fewshot": 9,
        "limit": 100,
        "max_new_tokens": 20,
        "bos": "tokenizer",
        "scoring": 1,
        "data": {"source": "sample", "rows": metric.data["rows"]},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 3},
        {"num_chunks": 3},
        {"seq_len": 64},
        {"bos": Bos.chunk},
        {"num_fewshot": 0},
    ],
)
def test_what_changes_a_number_changes_what_is_asked(change: dict[str, object]) -> None:
    before = [metric.asked for metric in plan_metrics(quick(), SAMPLE)]
    assert [metric.asked for metric in plan_metrics(quick(**change), SAMPLE)] != before


def test_batch_size_and_name_change_nothing() -> None:
    before = [metric.asked for metric in plan_metrics(quick(), SAMPLE)]
    assert [metric.asked for metric in plan_metrics(quick(batch_size=1, name="other"), SAMPLE)] == before


def test_the_source_of_rows_is_part_of_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "wikitext2" / "test.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"text": "one"}\n')
    local = plan_metrics(quick(), DataConfig(name=DataSource.local, root=str(tmp_path)))[0].asked["data"]
    assert local["source"] == "local" and local["rows"] is not None
    monkeypatch.chdir(tmp_path.parent)
    assert plan_metrics(quick(), DataConfig(name=DataSource.local, root=tmp_path.name))[0].asked["data"] == local
    hub = plan_metrics(quick(), DataConfig(name=DataSource.hub))[0].asked["data"]
    assert hub["source"] == "hub"
    assert hub["hub"] == "Salesforce/wikitext@b08601e04326c79dfdd32d625aee71d232d685c3:wikitext-2-raw-v1:test"


def test_every_set_is_planned_or_refused_by_kind() -> None:
    for name, dataset in DATASETS.items():
        if isinstance(dataset, TextSet) and dataset.eval_split is not None:
            json.dumps(plan_metrics(quick(perplexity=[name], tasks=[]), SAMPLE)[0].asked)
        else:
            with pytest.raises(UserError, match=rf"eval.perplexity: .*{name}.*Sets with held-out text: .*wikitext2"):
                plan_metrics(quick(perplexity=[name], tasks=[]), SAMPLE)
        if isinstance(dataset, QuestionSet):
            json.dumps(plan_metrics(quick(perplexity=[], tasks=[name]), SAMPLE)[0].asked)
        elif has_last_words(dataset):
            json.dumps(plan_metrics(quick(perplexity=[], tasks=[name], protocols=[EvalProtocol.bpb]), SAMPLE)[0].asked)
        else:
            with pytest.raises(UserError, match=rf"eval.tasks: .*{name}.*Sets of questions: .*gsm8k"):
                plan_metrics(quick(perplexity=[], tasks=[name]), SAMPLE)


def test_each_protocol_has_a_name_of_its_own_and_passes_over_what_it_cannot_score() -> None:
    tasks = ["gsm8k", "rte", "wmt14"]

    def names(*protocols: EvalProtocol) -> list[str]:
        planned = plan_metrics(quick(perplexity=[], tasks=tasks, protocols=list(protocols)), SAMPLE)
        return [metric.name for metric in planned]

    assert names(EvalProtocol.acc) == ["acc/gsm8k", "acc/rte", "bleu/wmt14"]
    assert names(EvalProtocol.acc_mc) == ["acc_mc/rte"]
    assert names(EvalProtocol.acc, EvalProtocol.acc_mc) == ["acc/gsm8k", "acc/rte", "bleu/wmt14", "acc_mc/rte"]


def test_likelihood_and_generation_ask_for_different_things() -> None:
    both = quick(perplexity=[], tasks=["rte"], protocols=[EvalProtocol.acc, EvalProtocol.acc_mc])
    generated, compared = plan_metrics(both, SAMPLE)
    assert generated.asked["kind"] == "AccuracySettings" and compared.asked["kind"] == "ChoiceSettings"
    assert compared.asked["num_fewshot"] == 9 and "max_new_tokens" not in compared.asked


def test_rationales_change_what_is_generated_and_what_bits_are_of_only() -> None:
    plain = quick(tasks=["gsm8k", "esnli"], protocols=list(EvalProtocol))
    reasoned = quick(tasks=["gsm8k", "esnli"], protocols=list(EvalProtocol), rationale=True)
    before, after = ({one.name: one.asked for one in plan_metrics(config, SAMPLE)} for config in (plain, reasoned))
    assert list(after) == list(before)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"acc/gsm8k", "acc/esnli", "bpb/gsm8k", "bpb/esnli"}
    for name in changed:
        more = {"max_new_tokens": 256} if name.startswith("acc/") else {}
        assert after[name] == before[name] | more | {"rationale": True}


def test_sets_without_rationales_are_refused_in_one_message_with_a_way_out() -> None:
    tasks = ["gsm8k", "rte", "esnli", "wmt14", "gsmk8"]
    with pytest.raises(UserError) as caught:
        plan_metrics(quick(perplexity=[], tasks=tasks, rationale=True), SAMPLE)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "eval.rationale=true: rte, wmt14 have no rationales. Sets that have them: anli_r1, anli_r2, anli_r3, "
        "commonsense_qa, esnli, gsm8k, mawps, svamp. Leave the others out: eval.tasks=[gsm8k,esnli]"
    )
    assert len(lines) == 2 and "no dataset named 'gsmk8'" in lines[1]
    with pytest.raises(UserError, match=r"boolq has no rationales\. .*eval.tasks=\[anli_r1,anli_r2,"):
        plan_metrics(quick(tasks=["boolq"], rationale=True), SAMPLE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocols": [EvalProtocol.acc_mc, EvalProtocol.acc_cf]}, "concerns acc and bpb, and no set is scored by them"),
        ({"tasks": []}, "eval.rationale=true concerns acc and bpb, and no set is scored by them"),
        ({"num_fewshot": 0}, "eval.num_fewshot=0 leaves none"),
    ],
)
def test_rationales_that_nobody_would_see_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan_metrics(quick(rationale=True, **changes), SAMPLE)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        plan_metrics(quick(perplexity=["wikitext", "gsm8k"], tasks=["gsm8k", "gsm8k", "gsmk8"]), SAMPLE)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("eval.perplexity: There is no dataset named 'wikitext'. Did you mean wikitext2")
    assert lines[1].startswith("eval.perplexity: gsm8k is not a set of texts.")
    assert lines[2] == "eval.tasks: gsm8k is named 2 times; name it once."
    assert lines[3].startswith("eval.tasks: There is no dataset named 'gsmk8'. Did you mean gsm8k")


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, prune.eval.plan, prune.eval.metric, prune.eval.questions.answers\n"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'datasets', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
