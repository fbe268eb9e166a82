"""ZipCal (arXiv 2603.16105): the candidates with the most rare words."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prune.calib.selection import Pick, Pool, Selector, by_score, told
from prune.config.select import SelectConfig


@dataclass(kw_only=True, slots=True)
class ZipfConfig(SelectConfig):
    """Takes the rows or windows with the most rare words: lexical diversity, without a model."""

    name: str = "zipf"


@dataclass(frozen=True)
class Zipf(Selector):
    """Orders by the sum of 1 / count over a candidate's distinct words; a word's count is its occurrences in the pool.

    As the authors' code does (source/similarity_check.py, zipf_sampling), the score is not divided by the length, nothing
    is chosen greedily, and words are what stands between spaces, full stops and commas, in lower case.
    """

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By the score, highest first."""
        words = [split_words(candidate.text) for candidate in pool.candidates]
        counts = Counter(word for of_one in words for word in of_one)
        scores = [math.fsum(1 / counts[word] for word in set(of_one)) for of_one in words]
        return by_score(scores, [{"score": told(score)} for score in scores])


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return text.lower().replace(".", " ").replace(",", " ").split()
