import random
from collections.abc import Iterator, Sequence

import pytest
import torch
from calib_fakes import MODEL, calib, make_tokenizer, prompt, sentence
from hypothesis import given, settings
from hypothesis import strategies as st

from prune.calib.build import stack
from prune.calib.draw import Packed
from prune.calib.encoder import Encoder, find_pad, make_encoder
from prune.calib.questions import pack_pieces, shortest_fill
from prune.config.calib import Compat, PaddingSide, PromptBos
from prune.config.eval import Bos
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.bos import bos_before_text

PLAIN = make_tokenizer(bos=False)
WITH_BOS = make_tokenizer(bos=True)


def naive_pack(
    pieces: list[tuple[int, str]], encoder: Encoder, separator: str, num_samples: int, seq_len: int, max_pieces: int | None
) -> list[tuple[list[int], list[int]]]:
    """(tokens, rows): add one pair at a time and tokenise everything anew until the sequence is full."""
    sequences, position = [], 0
    while len(sequences) < num_samples:
        taken: list[tuple[int, str]] = []
        ids: list[int] = []
        while len(ids) < seq_len and len(taken) != max_pieces:
            if position == len(pieces):
                return sequences
            taken.append(pieces[position])
            position += 1
            ids = encoder.sequence([text for _, text in taken], separator)
        sequences.append((ids[:seq_len], [row for row, _ in taken]))
    return sequences


def some_pieces(seed: int, num_pieces: int, max_words: int) -> list[tuple[int, str]]:
    generator = random.Random(seed)
    return [(row, f"{row} {sentence(generator, generator.randint(1, max_words))}") for row in range(num_pieces)]


@pytest.mark.parametrize("in_every_piece", [False, True])
@pytest.mark.parametrize("bos_id", [None, 0])
@pytest.mark.parametrize("max_pieces", [None, 1, 3, 200])
@pytest.mark.parametrize(("seq_len", "max_words"), [(40, 6), (97, 60), (2, 1), (300, 2)])
def test_equals_the_naive_twin(
    bos_id: int | None, in_every_piece: bool, max_pieces: int | None, seq_len: int, max_words: int
) -> None:
    pieces = some_pieces(seq_len, 120, max_words)
    encoder = Encoder(PLAIN, bos_id, in_every_piece)
    packed = pack_pieces(
        iter(pieces),
        lambda texts: encoder.sequence(texts, "\n\n"),
        num_samples=8,
        seq_len=seq_len,
        max_pieces=max_pieces,
    )
    assert [(one.token_ids, one.rows) for one in packed] == naive_pack(pieces, encoder, "\n\n", 8, seq_len, max_pieces)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), seq_len=st.integers(1, 200), rate=st.floats(0.01, 50))
@settings(max_examples=200, deadline=None)
def test_shortest_fill_is_the_first_count_that_fills(lengths: list[int], seq_len: int, rate: float) -> None:
    texts = ["x" * length for length in lengths]
    # tokens that have little to do with characters, so that guesses miss
    encode = lambda some: [0] * sum(1 + len(text) ** 2 % 17 for text in some)  # noqa: E731
    counts = [len(encode(texts[:count])) for count in range(len(texts) + 1)]
    expected = next((count for count, size in enumerate(counts) if size >= seq_len), len(texts))
    count, ids = shortest_fill(texts, encode, seq_len, rate)
    assert (count, len(ids)) == (expected, counts[expected])


def test_tokenises_a_sequence_only_a_few_times() -> None:
    pieces = some_pieces(0, 2000, 12)
    encoder = Encoder(PLAIN, 0)
    calls = 0

    def encode(texts: Sequence[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return encoder.sequence(texts, "\n\n")

    assert len(pack_pieces(iter(pieces), encode, num_samples=20, seq_len=1000, max_pieces=None)) == 20
    assert calls <= 20 * 4


def test_a_full_sequence_cuts_its_last_pair_and_begins_with_the_only_bos() -> None:
    encoder = Encoder(WITH_BOS, 0)
    packed = pack_pieces(
        iter(some_pieces(1, 80, 9)),
        lambda texts: encoder.sequence(texts, "\n\n"),
        num_samples=5,
        seq_len=50,
        max_pieces=None,
    )
    for one in packed:
        assert len(one.token_ids) == 50
        assert one.token_ids[0] == 0 and one.token_ids.count(0) == 1
    assert sum(one.num_cut for one in packed) >= 4
    rows = [row for one in packed for row in one.rows]
    assert rows == list(range(len(rows)))


def test_study_has_bos_in_every_pair_and_no_separator() -> None:
    encoder = make_encoder(WITH_BOS, calib(compat=Compat.study), prompt(), MODEL)
    ids = encoder.sequence(["red plum", "blue box"], "\n\n")
    assert ids == WITH_BOS("red plum")["input_ids"] + WITH_BOS("blue box")["input_ids"]
    assert ids.count(0) == 2


def test_the_text_is_tokenised_joined_and_special_tokens_in_it_stay_text() -> None:
    encoder = Encoder(WITH_BOS, 0)
    assert encoder.sequence(["red", "plum"], "") == [0, *PLAIN("redplum")["input_ids"]]
    ids = encoder.sequence(["a <s> b", "</s>"], "\n\n")
    assert WITH_BOS.decode(ids[1:]) == "a <s> b\n\n</s>"
    assert ids.count(0) == 1 and ids.count(1) == 0
    assert PLAIN("a<s>", add_special_tokens=False)["input_ids"][-1] == 0, "the tokenizer is left as it was"


def test_bos_is_the_tokenizers_habit_or_the_models_need() -> None:
    assert bos_before_text(MODEL.bos, WITH_BOS, "model.bos") == 0
    assert bos_before_text(MODEL.bos, PLAIN, "model.bos") is None
    for bos in (Bos.text, Bos.chunk):
        assert bos_before_text(ModelConfig(name="gemma3_270m", bos=bos).bos, PLAIN, "model.bos") == 0
    assert bos_before_text(ModelConfig(name="other", bos=Bos.none).bos, WITH_BOS, "model.bos") is None
    none = make_tokenizer(bos=False)
    none.bos_token = None
    assert bos_before_text(MODEL.bos, none, "model.bos") is None
    with pytest.raises(UserError, match=r"model.bos=chunk puts BOS .* Use model.bos=tokenizer"):
        bos_before_text(ModelConfig(name="gemma3_270m", bos=Bos.chunk).bos, none, "model.bos")
    assert make_encoder(WITH_BOS, calib(), prompt(bos=PromptBos.none), MODEL).bos_id is None
    assert make_encoder(WITH_BOS, calib("c4"), None, MODEL).bos_id == 0


def test_pad_is_pad_else_eos_else_0() -> None:
    tokenizer = make_tokenizer(bos=False)
    assert find_pad(tokenizer) == 2
    tokenizer.pad_token = None
    assert find_pad(tokenizer) == 1
    tokenizer.eos_token = None
    assert find_pad(tokenizer) == 0


def test_stack_pads_on_the_asked_side() -> None:
    packed = [Packed([5, 6, 7], [0]), Packed([8], [1])]
    tokens_NL, real_NL = stack(packed, 3, 2, PaddingSide.left)
    assert tokens_NL.tolist() == [[5, 6, 7], [2, 2, 8]]
    assert real_NL.tolist() == [[True] * 3, [False, False, True]]
    tokens_NL, real_NL = stack(packed, 3, 2, PaddingSide.right)
    assert tokens_NL.tolist() == [[5, 6, 7], [8, 2, 2]]
    assert real_NL.tolist() == [[True] * 3, [True, False, False]]
    assert (tokens_NL.dtype, real_NL.dtype) == (torch.int64, torch.bool)


def test_pieces_that_run_out_give_fewer_sequences() -> None:
    encoder = Encoder(PLAIN, None)

    def pack(pieces: Iterator[tuple[int, str]], max_pieces: int | None) -> int:
        encode = lambda texts: encoder.sequence(texts, " ")  # noqa: E731
        return len(pack_pieces(pieces, encode, num_samples=9, seq_len=50, max_pieces=max_pieces))

    assert pack(iter([]), None) == 0
    assert pack(iter([(0, "red")]), None) == 0
    assert pack(iter([(row, "red") for row in range(7)]), 2) == 3
    assert pack(iter([(row, "red") for row in range(8)]), 2) == 4
