"""The loss of sequences of any length, against the model's own loss of each alone."""

import math

import pytest
import torch

import prune.models.losses as module
import prune.models.ragged as ragged
from prune.errors import UserError
from prune.models.losses import sequence_losses
from tests.architectures import CONFIGS, VOCAB, tiny_model


def random_sequences(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, VOCAB, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2", "opt", "gpt2", "falcon_rw"])
def test_each_loss_is_the_models_own(architecture: str) -> None:
    model, sequences = tiny_model(CONFIGS[architecture]()), random_sequences(7, 30, 2, 11, 30)
    with torch.no_grad():
        own = [float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss) for ids in sequences]
    assert sequence_losses(model, sequences) == pytest.approx(own, rel=1e-5)


def test_neither_batches_nor_slices_of_logits_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = tiny_model(CONFIGS["llama"]()), random_sequences(7, 30, 2, 11)
    whole = sequence_losses(model, sequences)
    monkeypatch.setattr(module, "MAX_LOGITS", 5 * VOCAB)
    monkeypatch.setattr(ragged, "BATCH_TOKENS", 30)
    assert sequence_losses(model, sequences) == pytest.approx(whole, rel=1e-5)


def test_a_sequence_that_predicts_nothing_has_an_infinite_loss() -> None:
    model, seen = tiny_model(CONFIGS["llama"]()), list[tuple[int, int]]()
    losses = sequence_losses(model, [[5], [], [5, 6]], lambda done, total: seen.append((done, total)))
    assert losses[:2] == [math.inf, math.inf] and math.isfinite(losses[2])
    assert seen == [(1, 3)]
    assert sequence_losses(model, [[5]]) == [math.inf]


def test_batches_hold_each_sequence_once_and_no_more_tokens_than_allowed() -> None:
    sequences = [*random_sequences(3, 40, 8, 8, 1, 20), []]
    batches = list(ragged.batches(sequences, range(6), 24))
    assert sorted(place for places in batches for place in places) == list(range(6))
    for places in batches:
        ids_BL = ragged.fill_up([sequences[place] for place in places])
        assert ids_BL.numel() <= 24 or len(places) == 1
        for place, row in zip(places, ids_BL.tolist(), strict=True):
            length = len(sequences[place])
            assert row[:length] == sequences[place] and set(row[length:]) <= {sequences[place][-1]}


def test_a_batch_that_memory_has_no_room_for_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, sizes = random_sequences(8, 8, 8, 8, 6, 5), list[int]()
    monkeypatch.setattr(ragged, "BATCH_TOKENS", 32)

    def forward(ids_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        sizes.append(len(ids_BL))
        if len(ids_BL) > room:
            raise torch.OutOfMemoryError("out of memory")
        return ids_BL[:, 0]

    room = 2
    found = ragged.over_sequences(sequences, forward)
    assert {place: int(first) for place, first in found.items()} == {place: ids[0] for place, ids in enumerate(sequences)}
    assert sizes == [4, 2, 2, 2]
    room = 0
    with pytest.raises(UserError, match="no memory for a single sequence beside the model"):
        ragged.over_sequences(sequences, forward)
