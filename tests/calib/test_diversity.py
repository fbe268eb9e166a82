"""Diversity of a set's sequences, against all pairs one by one."""

import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune.calib.diversity import diversity

TEXTS = st.lists(st.lists(st.sampled_from(["apple", "Pear", "plum", "3", "box"]), max_size=6).map(" ".join), max_size=6)


def naive(texts: list[str]) -> float | None:
    words = [text.lower().split() for text in texts]
    if len(texts) < 2 or not any(words):
        return None
    vectors = []
    for own in words:
        having = {word: sum(word in other for other in words) for word in own}
        vectors.append({w: n * (math.log((1 + len(texts)) / (1 + having[w])) + 1) for w, n in Counter(own).items()})
    distances = []
    for one, other in combinations(vectors, 2):
        norms = math.sqrt(sum(x * x for x in one.values())) * math.sqrt(sum(x * x for x in other.values()))
        dot = sum(value * other.get(word, 0.0) for word, value in one.items())
        distances.append(1 - (dot / norms if norms else 0.0))
    return sum(distances) / len(distances)


@given(TEXTS)
def test_the_mean_distance_is_that_of_all_pairs(texts: list[str]) -> None:
    found, expected = diversity(texts)["tfidf_distance"], naive(texts)
    assert (found is None) == (expected is None)
    assert found is None or found == pytest.approx(expected, abs=1e-9)


def test_what_can_be_worked_out_by_hand() -> None:
    assert diversity(["a b", "a b", "a b"])["tfidf_distance"] == pytest.approx(0)
    assert diversity(["a b", "c d", "e f"])["tfidf_distance"] == pytest.approx(1)
    assert diversity(["a b", "c d", "e f"])["type_token_ratio"] == 1
    assert diversity(["A, a; a", "a-b"]) == {
        "tfidf_distance": pytest.approx(naive(["a a a", "a b"])),
        "type_token_ratio": 0.4,
    }
    assert diversity(["one text"]) == {"tfidf_distance": None, "type_token_ratio": 1}
    assert diversity(["...", "!"]) == {"tfidf_distance": None, "type_token_ratio": None}
