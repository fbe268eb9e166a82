"""Score files are found by a hash of what was asked. Of the same rows these names stay."""

from dataclasses import replace
from pathlib import Path

import pytest

from prune.cell.folder import CellFolder
from prune.config.data import DataConfig, DataSource
from prune.config.eval import Bos, EvalConfig, EvalProtocol
from prune.eval.plan import plan_metrics

PLAIN = {
    "ppl-c4": "840a4ff2", "ppl-pile": "7005d7ab", "ppl-oscar": "72366220", "ppl-redpajama": "4a20906d",
    "ppl-slimpajama": "f2d15725", "ppl-wikitext2": "7eb156a9",
    "acc-gsm8k": "c9ed6aa9", "acc-svamp": "78cef6d6", "acc-mawps": "ba99fb96", "acc-esnli": "219bd9c3",
    "acc-anli_r1": "b75db704", "acc-anli_r2": "1dd76140", "acc-anli_r3": "7bc856f1", "acc-rte": "548b595c",
    "acc-commonsense_qa": "41363ab5", "acc-race": "380d3e0d", "acc-winogrande": "017a3b37", "acc-boolq": "e5b00a19",
    "bleu-wmt14": "3f16a4ee",
    "acc_mc-esnli": "49229954", "acc_mc-anli_r1": "af263633", "acc_mc-anli_r2": "2d6653fc", "acc_mc-anli_r3": "fbb766fc",
    "acc_mc-rte": "7e38bd5d", "acc_mc-commonsense_qa": "3495d9f8", "acc_mc-race": "0bd83b03",
    "acc_mc-winogrande": "d74d172a", "acc_mc-boolq": "24ba3c02",
}  # fmt: skip
"""Score -> hash, with the settings as they are without a word from the user."""

CHANGED = {
    "acc-gsm8k": "22c9e15f", "acc-svamp": "06f8d0d6", "acc-mawps": "d7cd1119", "acc-esnli": "6b152e2d",
    "acc-anli_r1": "dfca26fc", "acc-anli_r2": "61d5de5f", "acc-anli_r3": "d89b38be", "acc-rte": "d8f5f2b3",
    "acc-commonsense_qa": "1f65c43c", "acc-race": "d2898a8f", "acc-winogrande": "0475aaa8", "acc-boolq": "0b5f4965",
    "bleu-wmt14": "99e4059e",
    "acc_mc-esnli": "104d18f2", "acc_mc-anli_r1": "2d94ae1a", "acc_mc-anli_r2": "8c9febf6", "acc_mc-anli_r3": "513b51f4",
    "acc_mc-rte": "7223d414", "acc_mc-commonsense_qa": "cd8ab52c", "acc_mc-race": "df9e250e",
    "acc_mc-winogrande": "6393c66c", "acc_mc-boolq": "ae1b3352",
}  # fmt: skip
"""The same with `limit=100 num_fewshot=2 bos=chunk`."""


@pytest.mark.parametrize(("names", "changes"), [(PLAIN, {}), (CHANGED, {"limit": 100, "num_fewshot": 2, "bos": Bos.chunk})])
def test_the_file_of_each_score_keeps_its_name(names: dict[str, str], changes: dict[str, object]) -> None:
    perplexity = [name.removeprefix("ppl-") for name in names if name.startswith("ppl-")]
    tasks = [name.partition("-")[2] for name in names if name.startswith(("acc-", "bleu-"))]
    protocols = [EvalProtocol.acc, EvalProtocol.acc_mc]
    settings = {"name": "study", "perplexity": perplexity, "tasks": tasks, "protocols": protocols}
    planned = plan_metrics(EvalConfig(**(settings | changes)), DataConfig(name=DataSource.sample))  # type: ignore[arg-type]
    files = [CellFolder(Path("cell")).score(replace(metric, data={"source": "sample"})).name for metric in planned]
    assert files == [f"{name}-{digest}.json" for name, digest in names.items()]
