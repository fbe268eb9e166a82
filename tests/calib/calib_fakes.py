"""Small tokenizers, rows and a source, made here; the dataset definitions are the real ones."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from prune.calib.recipe import Recipe
from prune.config.calib import CalibConfig, PromptConfig, PromptStyle
from prune.config.data import DataConfig, DataSource
from prune.config.model import ModelConfig

TEXT = "apple pear plum box shelf seven nine ran sold gave kept found many more less each all blue red green"
WORDS = TEXT.split()

LOCAL = DataConfig(name=DataSource.sample)
MODEL = ModelConfig(name="tiny")


def make_tokenizer(*, bos: bool, vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE with <s> (put before a text when `bos`), </s> and <pad>."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        [" ".join(WORDS), "Question: how many?\nAnswer: seven. So the answer is 7.\n\n"] * 3, trainer
    )
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=32
    )


def sentence(generator: random.Random, num_words: int) -> str:
    return " ".join(generator.choices(WORDS, k=num_words))


def gsm8k_rows(num_rows: int, max_words: int = 20) -> list[dict[str, Any]]:
    generator = random.Random(num_rows)
    rows = []
    for row in range(num_rows):
        steps = [sentence(generator, 3) + "." for _ in range(1 + row % 4)]
        question = f"{row}: {sentence(generator, generator.randint(1, max_words))}?"
        rows.append({"question": question, "answer": "\n".join(steps) + f"\n#### {row}"})
    return rows


def text_rows(num_rows: int, max_words: int = 120) -> list[dict[str, Any]]:
    generator = random.Random(num_rows)
    return [
        {"text": sentence(generator, generator.randint(1, max_words)), "url": "", "timestamp": ""} for _ in range(num_rows)
    ]


class FakeSource:
    """Rows given in the test; counts how often each set is read."""

    name = "sample"

    def __init__(self, **rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables = rows
        self.num_reads = 0

    def rows(self, dataset: Any, split: str) -> Sequence[Mapping[str, Any]]:
        assert split == "train", "calibration draws from the training split only"
        self.num_reads += 1
        return self.tables[dataset.name]


def calib(name: str = "gsm8k", **fields: Any) -> CalibConfig:
    return CalibConfig(**{"name": name, "num_samples": 6, "seq_len": 64} | fields)


def calibration_id(config: CalibConfig, asked: PromptConfig | None, data: DataConfig, model: ModelConfig) -> str:
    return Recipe(config, asked, data, model).id()


def prompt(name: str = "icl", **fields: Any) -> PromptConfig:
    return PromptConfig(name=PromptStyle[name], **fields)
