"""Trains the embedded model from nothing: ``python -m dev.tiny.train --output DIR``. Two cores, about half an hour.

It learns from fresh rows of the sample question sets (the evaluation rows are left out) and from the training documents of
the sample text sets. Seeded, but the number of steps depends on the machine. Two processes of one thread each
share a batch: on small matrices that is faster than two threads.
"""

import argparse
import copy
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import BaseModelOutputWithPast

from dev.tiny.corpus import QUESTION_WEIGHT, draw_sequence, tokenizer_texts, training_documents
from dev.tiny.scales import spread_scales
from dev.tiny.vocabulary import fit_tokenizer
from prune.messages.cli import report

MAX_POSITIONS = 1024
QUESTION_KEPT = 0.2
"""Share of the questions' tokens that count in the loss at all; their order is mostly chance."""
LOG_EVERY, SAVE_EVERY = 50, 250
"""In steps."""

Body = Callable[[Tensor], BaseModelOutputWithPast]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the model is built and trained."""

    vocab_size: int = 2048
    hidden_size: int = 128
    intermediate_size: int = 384
    num_layers: int = 4
    num_heads: int = 4
    batch_tokens: int = 2048
    """Tokens in a step, over all processes."""
    short_len: int = 256
    long_len: int = 512
    short_share: float = 0.8
    """Share of the time, from the start on, in which sequences are short."""
    minutes: float = 20.0
    """How long to train; the schedule follows the clock."""
    learning_rate: float = 3e-3
    norm_rate_factor: float = 4.0
    """The learning rate of the norms' gains, as a multiple: uneven gains give inputs of uneven scale."""
    warmup_share: float = 0.03
    weight_decay: float = 0.02
    bos_share: float = 0.75
    """Share of sequences that begin with BOS."""
    seed: int = 0
    num_processes: int = 2
    spread: float = 0.5
    """How uneven the scales of features are made after training; see scales.py."""
    start: Path | None = None
    """Folder of an earlier training to go on from, with a fresh optimizer and schedule."""


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    """Return a Llama with random weights."""
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        num_key_value_heads=recipe.num_heads,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=recipe.hidden_size**-0.5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    scale = (2 * recipe.num_layers) ** -0.5
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(scale)
    return model


def draw_batch(
    tokenizer: PreTrainedTokenizerFast, documents: Sequence[str], shape: tuple[int, int], bos_share: float, rng: Random
) -> tuple[Tensor, Tensor]:
    """Return token ids and loss weights of one batch, both of `shape` N x L."""
    num_sequences, seq_len = shape
    sequences = [draw_sequence(documents, 5 * seq_len, rng) for _ in range(num_sequences)]
    encoded = tokenizer(
        ["".join(text for text, _ in pieces) for pieces in sequences], add_special_tokens=False, return_offsets_mapping=True
    )
    tokens_NL, weights_NL = torch.empty(shape, dtype=torch.long), torch.empty(shape)
    for i, pieces in enumerate(sequences):
        ends = torch.tensor([len(text) for text, _ in pieces]).cumsum(0)
        starts = torch.tensor([start for start, _ in encoded["offset_mapping"][i]])
        weights = torch.tensor([weight for _, weight in pieces])[torch.searchsorted(ends, starts, right=True)]
        ids = torch.tensor(encoded["input_ids"][i])
        if rng.random() < bos_share:
            ids = torch.cat([torch.tensor([tokenizer.bos_token_id]), ids])
            weights = torch.cat([torch.zeros(1), weights])
        weights = torch.where((weights == QUESTION_WEIGHT) & (torch.rand(len(weights)) > QUESTION_KEPT), 0.0, weights)
        assert len(ids) >= seq_len, "sequences are drawn long enough to fill the window"
        tokens_NL[i], weights_NL[i] = ids[:seq_len], weights[:seq_len]
    return tokens_NL, weights_NL


def weighted_loss(model: LlamaForCausalLM, body: Body, tokens_NL: Tensor, weights_NL: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of the next token; positions without weight never reach the vocabulary.

    `body` is the model without its head, compiled or not.
    """
    hidden_TH = body(tokens_NL).last_hidden_state[:, :-1].flatten(0, 1)
    weights_T, targets_T = weights_NL[:, 1:].flatten(), tokens_NL[:, 1:].flatten()
    counted = weights_T.nonzero().squeeze(1)
    losses_T = nn.functional.cross_entropy(model.lm_head(hidden_TH[counted]), targets_T[counted], reduction="none")
    return (losses_T * weights_T[counted]).sum() / weights_T.sum()


def learning_rate_factor(progress: float, recipe: Recipe) -> float:
    """Return the share of the full rate after `progress` (0 to 1) of the time: a linear warm-up, then a cosine to 0."""
    if progress < recipe.warmup_share:
        return max(0.01, progress / recipe.warmup_share)
    rest = (progress - recipe.warmup_share) / (1 - recipe.warmup_share)
    return 0.5 + 0.5 * math.cos(math.pi * min(rest, 1.0))


def shared_progress(started: float, recipe: Recipe) -> float:
    """Return the share of the time that is over, by the first process's clock."""
    progress = torch.tensor((time.perf_counter() - started) / (60 * recipe.minutes))
    dist.broadcast(progress, src=0)
    return progress.item()


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW; norms' gains are not decayed and learn faster. Each group holds its full rate under "rate"."""
    gains = [weight for weight in model.parameters() if weight.ndim == 1]
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    groups = [
        {"params": matrices, "rate": recipe.learning_rate, "weight_decay": recipe.weight_decay},
        {"params": gains, "rate": recipe.learning_rate * recipe.norm_rate_factor, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8)


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by its mean over all processes."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def create(documents: Sequence[str], recipe: Recipe) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """Return a new tokenizer and a new model."""
    tokenizer = fit_tokenizer(tokenizer_texts(documents, Random(f"tokenizer/{recipe.seed}")), recipe.vocab_size)
    return tokenizer, build_model(recipe).train()


def load(folder: Path) -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """Return what an earlier training left."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.use_cache = False
    return PreTrainedTokenizerFast.from_pretrained(folder), model.train()


def train(rank: int, recipe: Recipe, output: Path, meeting_file: str) -> None:
    """Train as one of the processes; the first saves the model and its tokenizer, now and then and at the end."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    dist.init_process_group("gloo", init_method=f"file://{meeting_file}", rank=rank, world_size=recipe.num_processes)
    torch.manual_seed(recipe.seed)  # the same first weights in all processes
    documents = training_documents()
    tokenizer, model = load(recipe.start) if recipe.start else create(documents, recipe)
    optimizer = build_optimizer(model, recipe)
    body = torch.compile(model.model, dynamic=False)
    rng = Random(f"tiny/{recipe.seed}/{rank}/{recipe.start is None}")
    started, mean_loss = time.perf_counter(), 0.0
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate_factor(progress, recipe)
        seq_len = recipe.short_len if progress < recipe.short_share else recipe.long_len
        shape = (recipe.batch_tokens // (seq_len * recipe.num_processes), seq_len)
        loss = weighted_loss(model, body, *draw_batch(tokenizer, documents, shape, recipe.bos_share, rng))
        torch.autograd.backward(loss)
        average_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, progress = step + 1, shared_progress(started, recipe)
        mean_loss += loss.item() / LOG_EVERY
        if rank == 0 and step % LOG_EVERY == 0:
            report(f"step {step}, {100 * progress:.0f} % of the time: loss {mean_loss:.3f}")
            mean_loss = 0.0
        if rank == 0 and step % SAVE_EVERY == 0:
            save(model, tokenizer, output)
    if rank == 0:
        spread_scales(model, recipe.spread, recipe.seed)
        save(model, tokenizer, output)
    dist.destroy_process_group()


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path) -> None:
    """Write the model in half precision and the tokenizer into a folder that transformers loads."""
    half = copy.deepcopy(model).half()
    half.config.use_cache = half.generation_config.use_cache = True
    half.save_pretrained(output)
    tokenizer.save_pretrained(output)


def main() -> None:
    """Read the command line, train, and save."""
    parser = argparse.ArgumentParser(description="Train the embedded model from nothing.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--minutes", type=float, default=Recipe().minutes, help="time to train")
    parser.add_argument(
        "--learning-rate", type=float, default=Recipe().learning_rate, help="of the matrices, at its highest"
    )
    parser.add_argument("--start", type=Path, help="folder of an earlier training to go on from")
    arguments = parser.parse_args()
    recipe = Recipe(minutes=arguments.minutes, learning_rate=arguments.learning_rate, start=arguments.start)
    with tempfile.TemporaryDirectory() as folder:
        meeting_file = f"{folder}/meeting"
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=train, args=(rank, recipe, arguments.output, meeting_file))
            for rank in range(recipe.num_processes)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    raise SystemExit(any(process.exitcode != 0 for process in processes))


if __name__ == "__main__":
    main()
