"""What a run shows of a cell, worked out by hand."""

from prune.track.content import AXES, PLAIN, block_history, differences, run_config, run_tags, summary

from .cells import ASKED, C4, DENSE, LINEARS, RESULT, make_result


def test_history_is_a_line_a_block() -> None:
    assert block_history(LINEARS) == [
        {"block": 0, "block/sparsity": 0.5, "block/seconds": 1.0, "block/error": 0.5},
        {"block": 1, "block/sparsity": 0.5, "block/seconds": 0.25},
    ]


def test_a_dense_cell_has_no_history() -> None:
    assert block_history([]) == []


def test_the_summary_is_plain_numbers_with_the_differences() -> None:
    assert summary(RESULT, DENSE, C4) == {
        "ppl/wikitext2": 31.5,
        "acc/gsm8k": 0.75,
        "stderr/ppl/wikitext2": 0.5,
        "stderr/acc/gsm8k": 0.04,
        "to_dense/ppl/wikitext2": 11.0,
        "to_dense/acc/gsm8k": -0.125,
        "to_c4/ppl/wikitext2": 1.5,
        "to_c4/acc/gsm8k": 0.25,
        "sparsity/asked": 0.5,
        "sparsity/reached": 0.5,
        "sparsity/num_zero": 4,
        "sparsity/num_weights": 8,
        "seconds/prune": 1.5,
        "seconds/total": 3.0,
        "peak_memory_mb/host": 512.0,
        "peak_memory_mb/device": 0.0,
        "warnings": 1,
    }


def test_what_is_not_known_is_not_there() -> None:
    single = make_result("one", 31.5, 0.75)
    single["metrics"]["ppl/wikitext2"]["stderr"] = None
    numbers = summary(single, None, None)
    assert "stderr/ppl/wikitext2" not in numbers
    assert not [name for name in numbers if name.startswith(("to_dense", "to_c4"))]


def test_two_protocols_have_no_difference() -> None:
    other = make_result("other", 20.0, 0.5)
    other["metrics"]["ppl/wikitext2"]["protocol"] = {"name": "chunks", "seq_len": 8}
    del other["metrics"]["acc/gsm8k"]
    assert differences("to_c4", RESULT, other) == {}


def test_the_axes_of_a_question_set_are_those_asked_for() -> None:
    config = run_config(ASKED, RESULT)
    assert config["calib"] == {"name": "gsm8k", "num_samples": 128} and config["prompt"]["name"] == "icl"
    assert config["sparsity"] == {"name": "unstructured", "ratio": 0.5, "label": "50%"}
    assert (config["seed"], config["cell"], config["dense_cell"]) == (0, "abc123", "dense0")
    assert config["calibration"]["num_tokens"] == 64 and config["provenance"]["host"] == "n1"
    assert ASKED["sparsity"] == {"name": "unstructured", "ratio": 0.5}, "the record is not changed"


def test_an_axis_that_does_not_matter_is_any() -> None:
    raw_text, dense = run_config(ASKED, C4), run_config(ASKED, DENSE)
    assert raw_text["prompt"] == {"name": "any"}
    assert (dense["calib"], dense["prompt"], dense["sparsity"]["label"]) == ({"name": "any"}, {"name": "any"}, "any")


def test_each_axis_is_where_its_key_says() -> None:
    config = run_config(ASKED, RESULT)
    for axis, key in AXES.items():
        value = config
        for part in key.split("."):
            value = value[part]
        assert value == (RESULT["axes"].get(axis) if axis not in PLAIN else PLAIN[axis])


def test_tags_name_what_matters_once() -> None:
    assert run_tags(RESULT) == ["tiny", "gsm8k", "icl"]
    assert run_tags(make_result("x", 1.0, 0.5, model="c4", calib="c4", prompt=None)) == ["c4"]
