"""Items without texts hold ids and numbers, which comparisons of cells need."""

from typing import Any

import pytest

from prune.eval.items import without_texts

KEPT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a generated answer": (
        {"id": 3, "prompt": "Q: 1?", "prediction": "7", "parsed": 7.0, "gold": "8", "correct": False, "cluster": 1},
        {"id": 3, "correct": False, "cluster": 1},
    ),
    "a comparison of choices": (
        {"id": 0, "prediction": "yes", "logprobs": [-1.5, -2.0], "gold": "yes", "correct": True, "correct_norm": False},
        {"id": 0, "logprobs": [-1.5, -2.0], "correct": True, "correct_norm": False},
    ),
    "a chunk of a text": ({"id": 1, "loss": 2.5, "num_tokens": 63}, {"id": 1, "loss": 2.5, "num_tokens": 63}),
    "scores of lm-eval": (
        {"id": 2, "prediction": ["a"], "gold": ["a", "b"], "scores": {"acc": 1.0}, "weights": {"w": 12}},
        {"id": 2, "scores": {"acc": 1.0}, "weights": {"w": 12}},
    ),
    "what another package keeps": (
        {"id": "row-7", "answer": "text", "seen": {"what": "text", "times": 2}, "parts": ["text", 1, ["text", None]]},
        {"id": "row-7", "seen": {"times": 2}, "parts": [1, [None]]},
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_ids_and_numbers_stay(case: str) -> None:
    item, kept = KEPT[case]
    assert without_texts(item) == kept and without_texts(kept) == kept
