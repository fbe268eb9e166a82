"""Score files are found by a hash of what was asked. These are the names of scores that people have: they never change."""

from pathlib import Path

import pytest

from prune.cell.results import score_path
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalBos, EvalConfig, EvalProtocol
from prune.eval.plan import plan_metrics

PLAIN = {
    "ppl-c4": "b457f7ad", "ppl-pile": "b7db1a1a", "ppl-oscar": "b0a3d566", "ppl-redpajama": "e99f20f0",
    "ppl-slimpajama": "a1eaf062", "ppl-wikitext2": "495c3991",
    "acc-gsm8k": "d403b42f", "acc-svamp": "0f7e0078", "acc-mawps": "2fd67848", "acc-esnli": "4dbc5c11",
    "acc-anli_r1": "9d6d24c4", "acc-anli_r2": "58d4427c", "acc-anli_r3": "922608a5", "acc-rte": "2b6b02ba",
    "acc-commonsense_qa": "84ce76df", "acc-race": "c750e7d3", "acc-winogrande": "8071d2c3", "acc-boolq": "fe8b12e9",
    "bleu-wmt14": "7d088bcb",
    "acc_mc-esnli": "31ce6c0b", "acc_mc-anli_r1": "696fc1e6", "acc_mc-anli_r2": "cbc57398", "acc_mc-anli_r3": "12f26bd2",
    "acc_mc-rte": "ab02f9fa", "acc_mc-commonsense_qa": "b96b1255", "acc_mc-race": "4e522236",
    "acc_mc-winogrande": "9823790a", "acc_mc-boolq": "c10a1d39",
}  # fmt: skip
"""Score -> hash, with the settings as they are without a word from the user."""

CHANGED = {
    "acc-gsm8k": "0229ee5f", "acc-svamp": "9c400c10", "acc-mawps": "ee938ba5", "acc-esnli": "1ce6717f",
    "acc-anli_r1": "4c76713f", "acc-anli_r2": "2875dc03", "acc-anli_r3": "7bfb5e0a", "acc-rte": "b03ea159",
    "acc-commonsense_qa": "b8d4d928", "acc-race": "7ab86be6", "acc-winogrande": "3069d827", "acc-boolq": "55dc5e11",
    "bleu-wmt14": "c04ddecb",
    "acc_mc-esnli": "2a5af4bd", "acc_mc-anli_r1": "ed620b6c", "acc_mc-anli_r2": "5867aa2e", "acc_mc-anli_r3": "a3988f8c",
    "acc_mc-rte": "078f9b12", "acc_mc-commonsense_qa": "35db8ccc", "acc_mc-race": "ccb23e26",
    "acc_mc-winogrande": "43db283f", "acc_mc-boolq": "e01f71d1",
}  # fmt: skip
"""The same with `limit=100 num_fewshot=2 bos=chunk`."""


@pytest.mark.parametrize(
    ("names", "changes"), [(PLAIN, {}), (CHANGED, {"limit": 100, "num_fewshot": 2, "bos": EvalBos.chunk})]
)
def test_the_file_of_each_score_keeps_its_name(names: dict[str, str], changes: dict[str, object]) -> None:
    perplexity = [name.removeprefix("ppl-") for name in names if name.startswith("ppl-")]
    tasks = [name.partition("-")[2] for name in names if name.startswith(("acc-", "bleu-"))]
    settings = {"name": "study", "perplexity": perplexity, "tasks": tasks, "protocols": list(EvalProtocol)}
    planned = plan_metrics(EvalConfig(**(settings | changes)), DataConfig(name=DataSource.sample))  # type: ignore[arg-type]
    files = [score_path(Path("cell"), metric).name for metric in planned]
    assert files == [f"{name}-{digest}.json" for name, digest in names.items()]
