"""How diverse a set's sequences are, by their words: recorded, and asked on the page whether it explains how well a set
calibrates."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")


def diversity(texts: Sequence[str]) -> dict[str, float | None]:
    """`tfidf_distance` and `type_token_ratio` of the texts of some sequences; None where nothing can be said.

    The first is the mean over pairs of sequences of 1 - the cosine of their tf-idf vectors: 0 where all say the same, 1
    where no two share a word. tf is a word's count, idf = ln((1 + N) / (1 + sequences that have it)) + 1. Of unit vectors
    u_i the mean cosine is (|sum u_i|^2 - sum |u_i|^2) / (N (N - 1)), which needs no pairs; without words u is 0.

    The second is distinct words by words in all. It falls with length: compare sets of one size.
    """
    counts = [Counter(word.lower() for word in _WORD.findall(text)) for text in texts]
    num_words = sum(map(Counter.total, counts))
    num_types = len(set().union(*counts))
    return {
        "tfidf_distance": _mean_distance(counts) if len(texts) > 1 and num_words else None,
        "type_token_ratio": num_types / num_words if num_words else None,
    }


def _mean_distance(counts: Sequence[Counter[str]]) -> float:
    num_texts = len(counts)
    having = Counter(word for count in counts for word in count)
    idf = {word: math.log((1 + num_texts) / (1 + number)) + 1 for word, number in having.items()}
    total: defaultdict[str, float] = defaultdict(float)
    squares = 0.0
    for count in counts:
        vector = {word: number * idf[word] for word, number in count.items()}
        norm = math.hypot(*vector.values())
        for word, value in vector.items():
            total[word] += value / norm
        squares += 1.0 if count else 0.0
    dots = math.fsum(value**2 for value in total.values()) - squares
    return 1 - dots / (num_texts * (num_texts - 1))
