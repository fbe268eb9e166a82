"""The study's autoregressive form: a row gives a sequence for each token of its answer, which ends with that token.

Source: `input_format autoregressive` of the study's code. The first sequence of a row ends with the first token of the
answer, the last one with its last. Differences: there the answer begins at ids that are written into the code (Llama 2's
" ("), so that only equations in brackets have such sequences, and again from each further bracket on; a row may be drawn
twice; and of what is longer than a sequence the end is kept. Here the answer begins where the tokens of the pair leave those
of the question, a row comes once, and what is longer than a sequence is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prune.calib.draw import Packed
from prune.data.dataset import Example


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, and the same with its answer; its length is in characters."""

    question: str
    whole: str

    def __len__(self) -> int:
        return len(self.whole)


def pair_of(example: Example, *, rationale: bool) -> Pair:
    """A row as a pair; the rationale, where there is one, is the beginning of the answer."""
    return Pair(example.question, example.pair(rationale=rationale))


def pack_prefixes(
    pairs: Iterator[tuple[int, Pair]], encode: Callable[[Sequence[str]], list[int]], *, num_samples: int, seq_len: int
) -> list[Packed]:
    """Up to `num_samples` sequences of at most `seq_len` tokens, shorter ones of a row first; fewer when pairs run out.

    Args:
        pairs: (row id, pair), in the order drawn.
        encode: the tokens of some texts as one sequence.
    """
    packed: list[Packed] = []
    for row, pair in pairs:
        token_ids = encode([pair.whole])
        start = answer_start(encode([pair.question]), token_ids)
        ends = range(start + 1, min(len(token_ids), seq_len) + 1)
        packed += [Packed(token_ids[:end], [row]) for end in ends[: num_samples - len(packed)]]
        if len(packed) == num_samples:
            break
    return packed


def answer_start(question: Sequence[int], whole: Sequence[int]) -> int:
    """The first place at which the tokens of a pair are not those of its question."""
    alike = (ours == theirs for ours, theirs in zip(question, whole, strict=False))
    return next((place for place, same in enumerate(alike) if not same), min(len(question), len(whole)))
