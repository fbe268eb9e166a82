"""Shares and numbers of a mixture's parts, and what they count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune.config.calib import CalibConfig
from prune.config.mixture import part_counts
from prune.errors import UserError


@pytest.mark.parametrize(
    ("parts", "num_samples", "counts"),
    [
        ({"c4": 0.5, "gsm8k": 0.5}, 16, {"c4": 8, "gsm8k": 8}),
        ({"gsm8k": 0.5, "c4": 0.5}, 7, {"c4": 4, "gsm8k": 3}),
        ({"c4": 0.333, "gsm8k": 0.333, "rte": 0.333}, 128, {"c4": 43, "gsm8k": 43, "rte": 42}),
        ({"c4": 0.29, "gsm8k": 0.71}, 100, {"c4": 29, "gsm8k": 71}),
        ({"c4": 3, "gsm8k": 5}, 8, {"c4": 3, "gsm8k": 5}),
        ({"c4": None, "gsm8k": None, "rte": None}, 128, {"c4": 43, "gsm8k": 43, "rte": 42}),
        ({"c4": 0.5, "gsm8k": None, "rte": None}, 8, {"c4": 4, "gsm8k": 2, "rte": 2}),
        ({"c4": 3, "gsm8k": None}, 8, {"c4": 3, "gsm8k": 5}),
        ({"c4": 0.0, "gsm8k": 1.0}, 8, {"gsm8k": 8}),
        ({"c4": 0, "gsm8k": 8}, 8, {"gsm8k": 8}),
        ({"c4": 0, "gsm8k": None}, 8, {"gsm8k": 8}),
    ],
)
def test_shares_and_numbers_become_counts_that_sum(
    parts: dict[str, object], num_samples: int, counts: dict[str, int]
) -> None:
    found = part_counts(parts, num_samples)
    assert found == counts and list(found) == sorted(found) and sum(found.values()) == num_samples


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 900))
def test_largest_remainder_stays_within_one_of_the_share(sizes: list[int], more: int) -> None:
    num_samples = 41 * len(sizes) + more
    shares = {f"set{place:02}": size / sum(sizes) for place, size in enumerate(sizes)}
    found = part_counts(shares, num_samples)
    assert sum(found.values()) == num_samples
    assert all(abs(found[name] - share * num_samples) < 1 + 1e-6 for name, share in shares.items())


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (None, "calib=mix needs its parts"),
        ({"c4": 0.0}, "calib=mix needs its parts"),
        (0.5, "calib.parts=0.5 is not possible: it must map sets to numbers"),
        (
            {"c4": 0.5, "gsm8k": 0.4},
            r"\{c4: 0.5, gsm8k: 0.4\} is not possible: its values sum to 0.9, and shares must sum to 1",
        ),
        ({"c4": 0.9, "gsm8k": 0.2, "rte": None}, "its values sum to 1.1"),
        ({"c4": 1}, "numbers of sequences must sum to calib.num_samples=6 .a share has a point, as in 1.0."),
        ({"c4": 7, "gsm8k": None}, "its values sum to 7"),
        ({"c4": 6, "gsm8k": None}, "gsm8k would get none of calib.num_samples=6 sequences"),
        ({"c4": 3, "gsm8k": 0.5}, "holds shares and numbers of sequences .c4: 3.. Give one kind"),
        ({"c4": 0.99, "gsm8k": 0.01}, "gsm8k would get none of calib.num_samples=6"),
        ({f"set{place}": None for place in range(7)}, "set6 would get none of calib.num_samples=6"),
        ({"c4": True}, "calib.parts.c4=True is not possible"),
        ({"c4": -0.5, "gsm8k": 1.5}, "calib.parts.c4=-0.5 is not possible"),
        ({"c4": float("nan"), "gsm8k": 0.5}, "calib.parts.c4=nan is not possible"),
        ({"c4": "half"}, "calib.parts.c4=half is not possible"),
        ({"mix": 0.5, "c4": 0.5}, "mix is a mixture itself"),
        ({"mix_all": 1.0}, "mix_all is a mixture itself"),
        ({"file": 0.5, "c4": 0.5}, "calib=file needs the rows"),
    ],
)
def test_parts_that_make_no_mixture_are_refused(parts: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        CalibConfig(name="mix", num_samples=6, parts=parts)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (0.5, "calib.weights=0.5 is not possible: it must map"),
        ({"c4": 0.5}, "calib.weights says nothing of gsm8k"),
        ({"c4": 0.5, "gsm8k": 0.4}, "its values sum to 0.9, and must sum to 1"),
        ({"c4": 0.5, "gsm8": 0.5}, "gsm8 is no part that gives sequences. Did you mean gsm8k"),
        ({"c4": -1.0, "gsm8k": 2.0}, "calib.weights.c4=-1.0 is not possible"),
        ({"c4": None, "gsm8k": 1.0}, "calib.weights.c4=None is not possible"),
    ],
)
def test_weights_that_are_not_those_of_the_parts_are_refused(weights: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        CalibConfig(name="mix", num_samples=6, parts={"c4": 3, "gsm8k": 3}, weights=weights)


def test_rows_that_no_part_takes_are_refused() -> None:
    with pytest.raises(UserError, match="no part takes these rows"):
        CalibConfig(name="mix", num_samples=6, parts={"c4": 6}, path="rows.txt")


def test_other_sets_have_no_use_for_parts() -> None:
    plain = CalibConfig(name="c4", parts={"c4": 0.1}, weights={"x": 3})
    assert not plain.is_mixture and plain.shown_name == "c4"


@pytest.mark.parametrize(
    ("parts", "weights", "shown"),
    [
        ({"gsm8k": 0.5, "c4": 0.5}, None, "c4+gsm8k"),
        ({"gsm8k": 0.75, "c4": 0.25}, None, "c4:0.25+gsm8k:0.75"),
        ({"gsm8k": 0.5, "c4": 0.5}, {"c4": 0.3, "gsm8k": 0.7}, "c4@0.3+gsm8k@0.7"),
        ({"gsm8k": 0.5, "c4": 0.5}, {"c4": 0, "gsm8k": 1}, "gsm8k"),
        ({"gsm8k": 1.0, "c4": 0.0}, None, "gsm8k"),
        (dict.fromkeys(("a", "b", "c", "d", "e")), None, "mix"),
    ],
)
def test_a_mixture_is_called_by_its_parts(parts: dict[str, object], weights: dict[str, object] | None, shown: str) -> None:
    assert CalibConfig(name="mix", num_samples=8, parts=parts, weights=weights).shown_name == shown
