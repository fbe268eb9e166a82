"""Every dataset's rendering of rows in the hub's form, written out, with and without rationale."""

from typing import Any

import pytest

from prune.data.dataset import AnswerKind, Category, ControlSet, Example, QuestionSet, TextSet
from prune.data.registry import DATASETS, find_dataset
from prune.errors import UserError

TEXT_SETS = [name for name, dataset in DATASETS.items() if isinstance(dataset, TextSet)]
QUESTION_SETS = [name for name, dataset in DATASETS.items() if isinstance(dataset, QuestionSet)]


def _example(name: str, row: dict[str, Any]) -> Example:
    dataset = DATASETS[name]
    assert isinstance(dataset, QuestionSet)
    assert set(dataset.columns) - {"reason"} <= set(row)
    return dataset.example(row)


GSM8K = {
    "question": "A shop sells 48 pens in May and half as many in June. How many in both? ",
    "answer": "In June it sells 48/2 = <<48/2=24>>24 pens.\nThat makes 48+24 = <<48+24=72>>72 pens,\n#### 1,072",
}
SVAMP = {
    "ID": "chal-1",
    "Body": "There are 7 cats and 12 dogs",
    "Question": "How many are left when 15 go?",
    "Equation": "( ( 7.0 + 12.0 ) - 15.0 )",
    "Answer": "4",
    "Type": "Subtraction",
}
MAWPS = {
    "id": "mawps__1",
    "question": "Tim had 41 cards. He lost 6 and put the rest on 7 piles. How many on each?",
    "chain": (
        '<gadget id="calculator">41 - 6</gadget>\n<output>35</output>\n\n'
        '<gadget id="calculator">35 / 7</gadget>\n<output>5</output>\n\n<result>5</result>'
    ),
    "result": "5",
    "result_float": 5.0,
    "equation": "x = (41 - 6) / 7",
    "expression": "(41 - 6) / 7",
}
ESNLI = {
    "premise": "A man sleeps.",
    "hypothesis": "A man runs.",
    "label": 2,
    "explanation_1": "One cannot run asleep.",
    "explanation_2": "",
    "explanation_3": "",
}
ANLI = {"uid": "u", "premise": "A man sleeps.", "hypothesis": "He is tired.", "label": 1, "reason": "Not said"}
RTE = {"sentence1": "No arms were found.", "sentence2": "Arms were found.", "label": 1, "idx": 0}
CSQA = {
    "id": "1",
    "question": "Where does a cat sleep?",
    "question_concept": "cat",
    "choices": {"label": ["A", "B", "C"], "text": ["bed", "sea", "moon"]},
    "answerKey": "A",
    "abstractive_explanation": "beds are soft.",
}
RACE = {
    "example_id": "high1.txt",
    "article": "Tom has a dog.",
    "question": "Tom has  _  .",
    "options": ["a cat", "a dog", "a cow", "nothing"],
    "answer": "B",
}
WINOGRANDE = {"sentence": "Ann thanked Eva because _ had helped.", "option1": "Ann", "option2": "Eva", "answer": "2"}
BOOLQ = {"question": "is water wet", "answer": True, "passage": "Water is wet."}
HELLASWAG = {
    "activity_label": "Making soup",
    "ctx_a": "[header] How to cook [title] Cut  the carrots.",
    "ctx_b": "then she",
    "endings": ["eats [substeps] them.", "sleeps.", "runs.", "sails."],
    "label": "1",
}
ARC = {
    "id": "x",
    "question": "Which is hot?",
    "choices": {"text": ["ice", "fire", "rain"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}
OPENBOOKQA = {
    "id": "7-980",
    "question_stem": "The sun is",
    "choices": {"text": ["cold", "hot"], "label": ["A", "B"]},
    "answerKey": "B",
}
PIQA = {"goal": "To cool tea, ", "sol1": "heat it.", "sol2": "add milk. ", "label": 1}
SIQA = {
    "context": "Kai lent Bo a coat.",
    "question": "Why?",
    "answerA": "rain",
    "answerB": " Bo was cold",
    "answerC": "fun",
    "label": "2\n",
}
WMT14 = {"translation": {"en": "The cat sleeps.", "fr": "Le chat dort."}}

PAIRS = [
    (
        "gsm8k",
        GSM8K,
        "Question: A shop sells 48 pens in May and half as many in June. How many in both?\nAnswer: 1,072",
        "Question: A shop sells 48 pens in May and half as many in June. How many in both?\nAnswer: "
        "In June it sells 48/2 = 24 pens. That makes 48+24 = 72 pens. So the answer is 1,072.",
    ),
    (
        "svamp",
        SVAMP,
        "Question: There are 7 cats and 12 dogs. How many are left when 15 go?\nAnswer: ( ( 7.0 + 12.0 ) - 15.0 )",
        "Question: There are 7 cats and 12 dogs. How many are left when 15 go?\nAnswer: "
        "7 + 12 = 19. 19 - 15 = 4. So the answer is ( ( 7.0 + 12.0 ) - 15.0 ).",
    ),
    (
        "mawps",
        MAWPS,
        "Question: Tim had 41 cards. He lost 6 and put the rest on 7 piles. How many on each?\nAnswer: (41 - 6) / 7",
        "Question: Tim had 41 cards. He lost 6 and put the rest on 7 piles. How many on each?\nAnswer: "
        "41 - 6 = 35. 35 / 7 = 5. So the answer is (41 - 6) / 7.",
    ),
    (
        "esnli",
        ESNLI,
        "Premise: A man sleeps.\nHypothesis: A man runs.\nLabel: contradiction",
        "Premise: A man sleeps.\nHypothesis: A man runs.\nLabel: One cannot run asleep. So the answer is contradiction.",
    ),
    *(
        (
            f"anli_r{number}",
            ANLI,
            "Premise: A man sleeps.\nHypothesis: He is tired.\nLabel: neutral",
            "Premise: A man sleeps.\nHypothesis: He is tired.\nLabel: Not said. So the answer is neutral.",
        )
        for number in (1, 2, 3)
    ),
    ("rte", RTE, "Premise: No arms were found.\nHypothesis: Arms were found.\nLabel: not_entailment", None),
    (
        "commonsense_qa",
        CSQA,
        "Question: Where does a cat sleep?\nChoices:\nA. bed\nB. sea\nC. moon\nAnswer: A",
        "Question: Where does a cat sleep?\nChoices:\nA. bed\nB. sea\nC. moon\nAnswer: beds are soft. So the answer is A.",
    ),
    (
        "race",
        RACE,
        "Article: Tom has a dog.\nQuestion: Tom has  _  .\nOptions:\nA. a cat\nB. a dog\nC. a cow\nD. nothing\n\nAnswer: B",
        None,
    ),
    (
        "winogrande",
        WINOGRANDE,
        "Sentence: Ann thanked Eva because _ had helped.\nOptions:\n1. Ann\n2. Eva\nAnswer: 2",
        None,
    ),
    ("boolq", BOOLQ, "Passage: Water is wet.\nQuestion: is water wet\nAnswer: True", None),
    (
        "hellaswag",
        HELLASWAG,
        "Making soup: How to cook. Cut the carrots. then she\n"
        "Endings:\nA. eats them.\nB. sleeps.\nC. runs.\nD. sails.\nAnswer: B",
        None,
    ),
    *(
        (name, ARC, "Question: Which is hot?\nChoices:\nA. ice\nB. fire\nC. rain\nAnswer: B", None)
        for name in ("arc_easy", "arc_challenge")
    ),
    ("openbookqa", OPENBOOKQA, "Question: The sun is\nChoices:\nA. cold\nB. hot\nAnswer: B", None),
    ("piqa", PIQA, "Question: To cool tea,\nChoices:\nA. heat it.\nB. add milk. \nAnswer: B", None),
    ("siqa", SIQA, "Question: Kai lent Bo a coat. Why?\nChoices:\nA. rain\nB. Bo was cold\nC. fun\nAnswer: B", None),
    ("wmt14", WMT14, "English: The cat sleeps.\nFrench: Le chat dort.", None),
]
"""(set, row in the hub's form, pair, pair with rationale)."""


def test_every_question_set_is_rendered_here() -> None:
    assert sorted(pair[0] for pair in PAIRS) == QUESTION_SETS


@pytest.mark.parametrize(("name", "row", "plain", "reasoned"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_pair(name: str, row: dict[str, Any], plain: str, reasoned: str | None) -> None:
    example = _example(name, row)
    assert example.pair(rationale=False) == plain
    assert (example.rationale is not None) == (reasoned is not None)
    if reasoned is not None:
        assert example.pair(rationale=True) == reasoned
    assert not example.choices or example.target in example.choices


def test_targets_and_choices() -> None:
    assert _example("gsm8k", GSM8K).target == "1072"
    assert _example("svamp", SVAMP).target == "4"
    assert _example("mawps", MAWPS).target == "5"
    assert _example("esnli", ESNLI).choices == ("entailment", "neutral", "contradiction")
    assert _example("rte", RTE).choices == ("entailment", "not_entailment")
    assert _example("commonsense_qa", CSQA).choices == ("A", "B", "C")
    assert _example("race", RACE).choices == ("A", "B", "C", "D")
    assert _example("winogrande", WINOGRANDE).choices == ("1", "2")
    assert _example("boolq", {**BOOLQ, "answer": False}).target == "False"
    assert _example("wmt14", WMT14).choices == ()
    numbered = {**ARC, "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "2"}
    assert (_example("arc_challenge", numbered).target, _example("arc_challenge", numbered).choices) == ("2", ("1", "2"))
    assert _example("openbookqa", {**OPENBOOKQA, "answerKey": "B "}).target == "B"


CLOZE = [
    (ESNLI, "esnli", "Premise: A man sleeps.\nHypothesis: A man runs.\nQuestion: Is the hypothesis true?\nAnswer: no"),
    (ANLI, "anli_r2", "Premise: A man sleeps.\nHypothesis: He is tired.\nQuestion: Is the hypothesis true?\nAnswer: maybe"),
    (
        RTE,
        "rte",
        "Premise: No arms were found.\nHypothesis: Arms were found.\nQuestion: Is the hypothesis true?\nAnswer: no",
    ),
    (CSQA, "commonsense_qa", "Question: Where does a cat sleep?\nAnswer: bed"),
    (RACE, "race", "Article: Tom has a dog.\nQuestion: Tom has  _  .\nAnswer: a dog"),
    (WINOGRANDE, "winogrande", "Sentence: Ann thanked Eva because Eva had helped."),
    ({**WINOGRANDE, "sentence": "_'s hat is _."}, "winogrande", "Sentence: Eva's hat is _."),
    (BOOLQ, "boolq", "Passage: Water is wet.\nQuestion: is water wet?\nAnswer: yes"),
    ({**BOOLQ, "question": "Is it?", "answer": False}, "boolq", "Passage: Water is wet.\nQuestion: Is it?\nAnswer: no"),
    (HELLASWAG, "hellaswag", "Making soup: How to cook. Cut the carrots. then she sleeps."),
    (ARC, "arc_easy", "Question: Which is hot?\nAnswer: fire"),
    (
        {**ARC, "choices": {"text": [" a ", "b"], "label": ["1", "2"]}, "answerKey": "1"},
        "arc_challenge",
        "Question: Which is hot?\nAnswer: a",
    ),
    (OPENBOOKQA, "openbookqa", "Question: The sun is\nAnswer: hot"),
    (PIQA, "piqa", "Question: To cool tea,\nAnswer: add milk."),
    (SIQA, "siqa", "Question: Kai lent Bo a coat. Why?\nAnswer: Bo was cold"),
]


@pytest.mark.parametrize(("row", "name", "pair"), CLOZE)
def test_cloze_form(row: dict[str, Any], name: str, pair: str) -> None:
    shipped = _example(name, row)
    told = shipped.in_cloze_form()
    assert told.pair(rationale=False) == pair
    assert told.choices[shipped.choices.index(shipped.target)] == told.answer == told.target
    assert len(told.choices) == len(shipped.choices)
    assert not told.question.endswith(" ")


def test_open_questions_are_in_cloze_form_as_they_are() -> None:
    for name, row in (("gsm8k", GSM8K), ("svamp", SVAMP), ("mawps", MAWPS), ("wmt14", WMT14)):
        assert _example(name, row).in_cloze_form() == _example(name, row)


def test_mawps_without_chain_and_with_calc_x_marks() -> None:
    no_chain = {name: value for name, value in MAWPS.items() if name != "chain"}
    assert _example("mawps", no_chain).rationale == "41 - 6 = 35. 35 / 7 = 5"
    marked = {
        **MAWPS,
        "chain": '<gadget id="calculator">6_000 / 7</gadget>\n<output>6_000/7 = around 857.142857</output>',
        "result": "6_000/7 = around 857.142857",
        "expression": "6_000 / 7",
    }
    example = _example("mawps", marked)
    assert (example.answer, example.target) == ("6000 / 7", "857.142857")
    assert example.rationale == "6000 / 7 = 857.142857"


def test_numbers_may_come_as_numbers() -> None:
    assert _example("svamp", {**SVAMP, "Answer": 4.0}).target == "4.0"
    assert _example("winogrande", {**WINOGRANDE, "answer": 2}).target == "2"


def test_svamp_keeps_the_end_of_its_body_and_a_lone_number_has_no_rationale() -> None:
    example = _example("svamp", {**SVAMP, "Body": "There are 8 cats.", "Equation": "8.0"})
    assert example.question == "Question: There are 8 cats. How many are left when 15 go?\nAnswer:"
    assert example.rationale is None


def test_anli_without_reason_has_no_rationale() -> None:
    assert _example("anli_r1", {**ANLI, "reason": ""}).rationale is None
    assert _example("anli_r1", {**ANLI, "reason": None}).rationale is None


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("gsm8k", {**GSM8K, "answer": "It is 72"}, "no number after ####"),
        ("gsm8k", {**GSM8K, "answer": "It is 72\n#### "}, "no number after ####"),
        ("esnli", {**ESNLI, "label": -1}, "no label"),
        ("esnli", {**ESNLI, "label": 3}, "label 3 is unknown"),
        ("anli_r2", {**ANLI, "label": None}, "no label"),
        ("rte", {**RTE, "label": -1}, "no label"),
        ("rte", {**RTE, "label": "neutral"}, "not_entailment"),
        ("commonsense_qa", {**CSQA, "answerKey": ""}, "no answer"),
        ("commonsense_qa", {**CSQA, "answerKey": "D"}, "not one of the choices A, B, C"),
        ("winogrande", {**WINOGRANDE, "answer": ""}, "no answer"),
        ("race", {**RACE, "answer": "E"}, "not one of"),
        ("hellaswag", {**HELLASWAG, "label": ""}, "no answer"),
        ("hellaswag", {**HELLASWAG, "label": "4"}, "not one of the choices 0, 1, 2, 3"),
        ("arc_easy", {**ARC, "answerKey": "1"}, "not one of the choices A, B, C"),
        ("openbookqa", {**OPENBOOKQA, "answerKey": ""}, "no answer"),
        ("piqa", {**PIQA, "label": -1}, "no label"),
        ("siqa", {**SIQA, "label": ""}, "no answer"),
        ("siqa", {**SIQA, "label": "4"}, "not one of the choices 1, 2, 3"),
        ("boolq", {**BOOLQ, "answer": "maybe"}, "must be true or false"),
        ("boolq", {**BOOLQ, "passage": None}, "column passage holds None"),
        ("gsm8k", {**GSM8K, "question": ["Q"]}, "column question holds"),
        ("wmt14", {"translation": {"en": "A", "fr": None}}, "column fr holds None"),
    ],
)
def test_unusable_rows_are_told(name: str, row: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        _example(name, row)


def test_label_names_are_accepted() -> None:
    assert _example("esnli", {**ESNLI, "label": "neutral"}).target == "neutral"


@pytest.mark.parametrize("name", TEXT_SETS)
def test_text(name: str) -> None:
    dataset = DATASETS[name]
    assert isinstance(dataset, TextSet)
    assert dataset.columns == ("text",)
    assert dataset.text({"text": " = Heading = \n", "meta": {}}) == " = Heading = \n"
    with pytest.raises(UserError, match="column text holds None"):
        dataset.text({"text": None})


def test_registry() -> None:
    text_sets = ["c4", "pile", "oscar", "redpajama", "slimpajama", "wikitext2", "lambada"]
    arithmetic = ["gsm8k", "svamp", "mawps"]
    nli = ["esnli", "anli_r1", "anli_r2", "anli_r3", "rte"]
    suite = ["hellaswag", "arc_easy", "arc_challenge", "openbookqa", "piqa", "siqa"]
    others = ["commonsense_qa", "race", "winogrande", "boolq", *suite, "wmt14", "random", "ellipses", "generated"]
    assert sorted(DATASETS) == sorted(text_sets + arithmetic + nli + others)
    assert list(DATASETS)[: len(text_sets)] == sorted(text_sets), "texts first, each kind by name"
    assert all(name == dataset.name for name, dataset in DATASETS.items())
    assert find_dataset("gsm8k") is DATASETS["gsm8k"]


def test_definitions_follow_the_study() -> None:
    for name in QUESTION_SETS:
        dataset = DATASETS[name]
        assert isinstance(dataset, QuestionSet)
        assert dataset.num_fewshot == (9 if dataset.category is Category.NLI else 3)
        assert dataset.has_rationales == (
            dataset.category is Category.ARITHMETIC or name == "esnli" or name.startswith("anli") or name == "commonsense_qa"
        )
        assert (dataset.answer_kind is AnswerKind.NUMBER) == (dataset.category is Category.ARITHMETIC)
    assert {
        name: DATASETS[name].eval_split for name in ("wikitext2", "c4", "commonsense_qa", "winogrande", "boolq", "rte")
    } == {
        "wikitext2": "test",
        "c4": "validation",
        "commonsense_qa": "validation",
        "winogrande": "validation",
        "boolq": "validation",
        "rte": "validation",
    }
    assert (DATASETS["c4"].joiner, DATASETS["wikitext2"].joiner) == (" ", "\n\n")


def test_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'gsm8'.*Did you mean.*gsm8k.*exist: c4, lambada, oscar") as error:
        find_dataset("gsm8")
    assert "ellipses" in str(error.value)
    with pytest.raises(UserError, match="Those that exist"):
        find_dataset("")


@pytest.mark.parametrize("name", ["random", "ellipses"])
def test_controls(name: str) -> None:
    dataset = DATASETS[name]
    assert isinstance(dataset, ControlSet)
    text = dataset.text(7, 5000)
    assert len(text) == 5000
    assert text == dataset.text(7, 5000)
    assert dataset.text(7, 0) == ""
    if name == "ellipses":
        assert set(text) == {"."}
    else:
        assert text != dataset.text(8, 5000)
        assert len(set(text)) > 80
        assert text.isprintable()
