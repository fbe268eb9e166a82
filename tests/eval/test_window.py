"""Items that a model cannot look at whole: found by their tokens, refused or left out by choice, told of in the result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import make_tokenizer

from prune.config.eval import TooLong
from prune.errors import UserError
from prune.eval.questions.window import choose_fitting, describe_skipped, find_too_long

TOKENIZER = make_tokenizer(adds_bos=True)
"""A token for each byte, and BOS."""


class NeverAsked:
    """A tokenizer that must not be needed."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("texts of so few bytes fit without being tokenised")


def test_lengths_count_special_tokens_and_the_answer() -> None:
    texts = [["a" * 10], ["b" * 20, "b"], ["c", "c" * 21]]
    assert find_too_long(texts, TOKENIZER, 21, add_special_tokens=True) == {2: 22}
    assert find_too_long(texts, TOKENIZER, 21, add_special_tokens=False) == {}
    assert find_too_long(texts, TOKENIZER, 21, add_special_tokens=True, room=1) == {1: 21, 2: 22}
    assert find_too_long(texts, TOKENIZER, 10, add_special_tokens=True) == {0: 11, 1: 21, 2: 22}


def test_short_texts_and_models_without_a_window_cost_nothing() -> None:
    assert find_too_long([["\u00e9" * 10]], NeverAsked(), 64, add_special_tokens=True, room=36) == {}
    assert find_too_long([["a" * 9999]], NeverAsked(), None, add_special_tokens=True) == {}
    with pytest.raises(AssertionError):
        find_too_long([["\u00e9" * 10]], NeverAsked(), 64, add_special_tokens=True, room=37)


def test_the_choice_is_the_users() -> None:
    too_long = {1: 40, 3: 50}
    choose = lambda policy, num_items=5: choose_fitting(  # noqa: E731
        too_long, num_items, "acc/x", window=32, room=0, policy=policy
    )
    assert choose(TooLong.skip) == [0, 2, 4]
    with pytest.raises(UserError, match=r"^acc/x: 2 of 5 prompts .* 32 tokens: the longest has 50 \(items 1, 3\).*=skip;"):
        choose(TooLong.error)
    with pytest.raises(UserError, match=r"2 of 2 prompts"):
        choose(TooLong.skip, num_items=2)
    assert choose_fitting({}, 2, "acc/x", window=32, room=0, policy=TooLong.error) == [0, 1]


def test_the_first_five_are_named() -> None:
    with pytest.raises(UserError, match=r"and its answer may take 7 more \(items 0, 1, 2, 3, 4, \.\.\.\)"):
        choose_fitting(dict.fromkeys(range(9), 40), 10, "acc/x", window=32, room=7, policy=TooLong.error)


def test_the_result_warns_of_items_that_were_left_out() -> None:
    metrics = {
        "acc/a": {"num_items": 7, "protocol": {"skipped_ids": [2, 5, 6]}},
        "acc/b": {"num_items": 9, "protocol": {"skipped_ids": []}},
        "ppl/c": {"num_items": 9, "protocol": {}},
    }
    (warning,) = describe_skipped(metrics)
    assert warning.startswith("acc/a: 3 of 10 items do not fit the model's window and were left out (eval.too_long=skip)")


def test_from_the_line_to_the_result(tmp_path: Path, say: Callable[..., Any]) -> None:
    folder = tmp_path / "rows" / "gsm8k"
    folder.mkdir(parents=True)
    long = {"question": "How much is 1" + " and 1" * 900 + "?", "answer": "Many.\n#### 901"}
    short = [{"question": f"How much is {number} and 1?", "answer": f"Add.\n#### {number + 1}"} for number in range(4)]
    for split, rows in {"train": short, "test": [short[0], long, *short[1:]]}.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["method=dense", "data=local", "data.root=rows", "eval.perplexity=[]", "eval.tasks=[gsm8k]", "tracker=none"]
    refused = say(*line)
    assert refused.code != 0
    assert "acc/gsm8k: 1 of 5 prompts do not fit the model's window of 1024 tokens" in refused.err
    assert "(items 1)" in refused.err and "eval.too_long=skip" in refused.err
    done = say(*line, "eval.too_long=skip")
    assert done.code == 0, done.err
    (path,) = tmp_path.glob("outputs/cells/*/result.json")
    result = json.loads(path.read_text())
    assert result["metrics"]["acc/gsm8k"]["num_items"] == 4
    assert result["metrics"]["acc/gsm8k"]["protocol"]["skipped_ids"] == [1]
    assert [warning for warning in result["warnings"] if "acc/gsm8k: 1 of 5 items do not fit" in warning]
