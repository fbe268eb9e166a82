"""lm-eval's tasks by name: the same names as its own index has, groups and tags, what is refused, what is planned."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

import prune
from prune.cell.folder import CellFolder
from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig
from prune.errors import UserError
from prune.eval.harness.index import expand_task, harness_folder, read_definition, read_index
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics

SAMPLE = DataConfig(name=DataSource.sample)
HUB = DataConfig(name=DataSource.hub)


def plan(*tasks: str, data: DataConfig = HUB, **changes: object) -> list[PlannedMetric]:
    return plan_metrics(EvalConfig(name="q", lm_eval_tasks=list(tasks), **changes), data)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", ["arc", "glue", "bertaqa", "scrolls", "truthfulqa-multi", "mmlu", "hellaswag"])
def test_names_and_files_are_those_of_lm_evals_own_index(folder: str) -> None:
    manager = TaskManager(include_path=str(harness_folder() / folder), include_defaults=False)
    index = read_index()
    for name in manager.all_tasks:
        entry = manager.task_index[name]
        if entry.yaml_path is None:
            assert set(index.tags[name]) >= entry.tags
        else:
            assert index.files[name] == entry.yaml_path
    ours = {name for name, path in index.files.items() if path.is_relative_to(harness_folder() / folder)}
    assert ours == {name for name in manager.all_tasks if manager.task_index[name].yaml_path is not None}


def test_a_definition_says_what_it_measures_on_which_rows() -> None:
    gsm8k = read_definition("gsm8k")
    assert (gsm8k.metric, gsm8k.num_fewshot, gsm8k.version) == ("exact_match.strict-match", 5, "3.0")
    assert (gsm8k.dataset, gsm8k.split, gsm8k.exemplar_split) == (("openai/gsm8k", "main"), "test", "train")
    challenge = read_definition("arc_challenge")  # includes arc_easy.yaml
    assert (challenge.dataset, challenge.metric) == (("allenai/ai2_arc", "ARC-Challenge"), "acc")
    wikitext = read_definition("wikitext")
    assert (wikitext.metric, wikitext.output_type) == ("word_perplexity", "loglikelihood_rolling")
    assert read_definition("mmlu_anatomy").exemplar_split == "dev"
    hashes = {read_definition(task).sha256 for task in ("arc_easy", "arc_challenge", "hellaswag", "winogrande")}
    assert len(hashes) == 4


def test_groups_and_tags_stand_for_their_tasks() -> None:
    assert [definition.task for definition in expand_task("ai2_arc")] == ["arc_challenge", "arc_easy"]
    mmlu = [definition.task for definition in expand_task("mmlu")]
    assert len(mmlu) == len(set(mmlu)) == 57 and "mmlu_anatomy" in mmlu
    assert [definition.task for definition in expand_task("piqa")] == ["piqa"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("winogrand", r"no task, group or tag named 'winogrand'\. Did you mean winogrande"),
        ("arc_esay", r"Did you mean arc_easy"),
        ("", r"no task, group or tag named ''"),
        ("humaneval", r"lm_eval/humaneval: this task runs the code that a model writes"),
        ("squadv2", r"lm_eval/squadv2: this task is a program of its own"),
        ("mmmu_val_art", r"asks about images or sound"),
        ("openllm", r"openllm is a group .* one by one"),
    ],
)
def test_what_cannot_be_measured_is_told_with_the_reason(name: str, told: str) -> None:
    with pytest.raises(UserError, match=f"eval.lm_eval_tasks: .*{told}"):
        plan(name)


def test_metrics_are_planned_once_each_after_ours() -> None:
    planned = plan("ai2_arc", "arc_easy", "wikitext", perplexity=["c4"], tasks=["rte"])
    assert [metric.name for metric in planned] == [
        *("ppl/c4", "acc/rte", "lm_eval/arc_challenge/acc", "lm_eval/arc_easy/acc", "lm_eval/wikitext/word_perplexity"),
    ]
    assert [metric.dataset for metric in planned][2:] == ["lm_eval/arc_challenge", "lm_eval/arc_easy", "lm_eval/wikitext"]


def test_what_is_asked_of_a_task() -> None:
    (metric,) = plan("piqa", limit=7)
    assert metric.asked == {
        "kind": "HarnessSettings",
        "task": "piqa",
        "metric": "acc",
        "version": "1.0",
        "definition": read_definition("piqa").sha256,
        "num_fewshot": 0,
        "limit": 7,
        "bos": "tokenizer",
        "data": {"source": "hub", "hub": "baber/piqa", "config": None, "revision": "main"},
    }
    json.dumps(metric.asked)


def test_what_changes_a_number_changes_where_it_is_kept() -> None:
    folder = Path("cell")
    paths = {
        CellFolder(folder).score(plan("piqa", data=data, **changes)[0])
        for data in (HUB, DataConfig(name=DataSource.local, root="."))
        for changes in ({}, {"limit": 3}, {"num_fewshot": 2}, {"bos": Bos.chunk})
    }
    assert len(paths) == 8
    assert plan("piqa", batch_size=1)[0].asked == plan("piqa", batch_size=32)[0].asked


def test_the_number_of_exemplars_follows_lm_eval() -> None:
    def shots(task: str, asked: int | None) -> int:
        return int(plan(task, num_fewshot=asked)[0].asked["num_fewshot"])

    assert [shots("gsm8k", asked) for asked in (None, 2, 0)] == [5, 2, 0]
    assert [shots("boolq", asked) for asked in (None, 2)] == [0, 2]
    assert read_definition("truthfulqa_mc1").num_fewshot == 0  # its prompt holds exemplars
    assert shots("truthfulqa_mc1", 3) == 0
    assert shots("wikitext", 3) == 0


def test_generated_rows_are_there_for_our_sets_only() -> None:
    told = r"lm_eval/piqa: data=sample has no rows of baber/piqa.*data=hub, or data=local with piqa/validation.jsonl"
    with pytest.raises(UserError, match=told):
        plan("boolq", "piqa", data=SAMPLE)


def test_unknown_names_are_told_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from prune.config.data import DataConfig, DataSource\n"
        "from prune.errors import UserError\n"
        "from prune.eval.plan import plan_metrics\n"
        "from prune.config.eval import EvalConfig\n"
        "plan_metrics(EvalConfig(name='q', lm_eval_tasks=['piqa']), DataConfig(name=DataSource.hub))\n"
        "try:\n"
        "    plan_metrics(EvalConfig(name='q', lm_eval_tasks=['piqqa']), DataConfig(name=DataSource.hub))\n"
        "except UserError as error:\n"
        "    print(error)\n"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'datasets', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Did you mean piqa" in done.stdout and done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("library", "files"), [("lm_eval", {"eval/engine/lm.py", "eval/engine/tasks.py"}), ("wandb", {"track/wandb.py"})]
)
def test_where_the_libraries_are_imported(library: str, files: set[str]) -> None:
    root = Path(prune.__file__).parent
    imports = re.compile(rf"^\s*(import|from) {library}\b", re.MULTILINE)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if imports.search(path.read_text())}
    assert found == files
