"""Conversations in calibration sets have the tokens of the tokenizer's own chat template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from calib_fakes import LOCAL, FakeSource, calib, gsm8k_rows, make_tokenizer, prompt

from prune.calib.calibration_set import CalibrationSet
from prune.calib.conversations import Conversations
from prune.calib.encoder import make_encoder
from prune.calib.recipe import Recipe
from prune.calib.selectors.clusters import ClustersConfig
from prune.calib.selectors.longest import LongestConfig
from prune.calib.store import load_or_build
from prune.config.calib import CalibConfig, Compat, PaddingSide, PromptBos, PromptConfig
from prune.config.model import ModelConfig
from prune.config.own import BadRows
from prune.config.select import SelectConfig
from prune.data.dataset import Example
from prune.data.registry import find_dataset
from prune.data.sources.source import ReadOnce, SampleSource, Source
from prune.errors import NotApplicableError, UserError
from prune.eval.contamination import read_seen
from prune.eval.overlap import question_words
from prune.models.chat import DAY, answer_lead, has_chat_template, render_turns, turn_ids
from prune.models.files import EMBEDDED_FOLDER
from tests.chat_templates import BRACKETS, CHATML, DATED, HAS_NO_REAL, REAL, THINKING, WHY

MODEL = ModelConfig(name="tiny")
ROWS = gsm8k_rows(40)
Turns = list[dict[str, str]]


def tokenizer(template: str | None = CHATML, *, bos: bool = True) -> Any:
    made = make_tokenizer(bos=bos)
    made.chat_template = template
    return made


def theirs(tokenizer: Any, turns: Turns) -> list[int]:
    return list(tokenizer.apply_chat_template(turns, tokenize=True)["input_ids"])


def questions() -> list[Example]:
    dataset = find_dataset("gsm8k")
    return [dataset.example(row) for row in ROWS]  # type: ignore[union-attr]


def build(
    asked: PromptConfig, folder: Path, tokenizer: Any, source: Source | None = None, config: CalibConfig | None = None
) -> CalibrationSet:
    recipe = Recipe(config or calib(seq_len=150), asked, LOCAL, MODEL)
    return load_or_build(recipe, source or FakeSource(gsm8k=ROWS), tokenizer, folder)


def real_ids(made: CalibrationSet) -> list[list[int]]:
    return [tokens_L[real_L].tolist() for tokens_L, real_L in zip(made.tokens_NL, made.real_NL, strict=True)]


def rows_of(made: CalibrationSet) -> list[list[int]]:
    return [sequence["rows"] for sequence in made.manifest["sequences"]]


def turns_of(row: int, *, rationale: bool = False) -> Turns:
    example = questions()[row]
    answer = f"{example.rationale}. So the answer is {example.answer}." if rationale else example.answer
    return [{"role": "user", "content": example.question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("template", [CHATML, BRACKETS, THINKING])
@pytest.mark.parametrize("rationale", [False, True])
def test_without_num_shots_whole_conversations_fill_a_sequence(
    tmp_path: Path, template: str, bos: bool, rationale: bool
) -> None:
    """Each is what apply_chat_template makes of it, the last one cut; no BOS but the template's."""
    ours = tokenizer(template, bos=bos)
    made = build(prompt("chat", rationale=rationale), tmp_path, ours)
    assert made.real_NL.all()
    for ids, rows in zip(real_ids(made), rows_of(made), strict=True):
        expected = [token for row in rows for token in theirs(ours, turns_of(row, rationale=rationale))]
        assert ids == expected[:150]
        assert len(expected) - len(theirs(ours, turns_of(rows[-1], rationale=rationale))) < 150, "none too many"
    assert made.manifest["bos"] == {"id": None, "in_every": None}


@pytest.mark.parametrize("template", [CHATML, BRACKETS, THINKING])
@pytest.mark.parametrize("num_shots", [1, 2, 9])
def test_shots_are_the_turns_of_one_conversation(tmp_path: Path, template: str, num_shots: int) -> None:
    ours = tokenizer(template)
    made = build(prompt("chat", num_shots=num_shots), tmp_path, ours)
    cut = 0
    for ids, rows, real_L in zip(real_ids(made), rows_of(made), made.real_NL.tolist(), strict=True):
        expected = theirs(ours, [turn for row in rows for turn in turns_of(row)])
        assert ids == expected[:150]
        assert len(rows) == num_shots or len(expected) >= 150
        assert real_L == [False] * (150 - len(ids)) + [True] * len(ids), "padded on the left, and padding counts nothing"
        cut += len(expected) > 150
    assert made.weights_NL.bool().equal(made.real_NL)
    assert made.manifest["num_cut"] == cut


def test_a_special_token_of_the_template_is_one_token(tmp_path: Path) -> None:
    """The encoder of the other prompts would spell it out, as it does with special tokens that stand in rows."""
    ours = tokenizer()
    made = build(prompt("chat"), tmp_path, ours)
    num_turns = [sum(token == ours.bos_token_id for token in ids) for ids in real_ids(made)]
    for count, rows in zip(num_turns, rows_of(made), strict=True):
        assert 2 * len(rows) - 2 < count <= 2 * len(rows)
    text = render_turns(ours, turns_of(0))
    spelled = make_encoder(ours, calib(), prompt(), MODEL).plain([text])[0]
    assert ours.bos_token_id not in spelled and len(spelled) > len(turn_ids(ours, turns_of(0)))
    assert ours(text, add_special_tokens=False)["input_ids"] == turn_ids(ours, turns_of(0))


@pytest.mark.parametrize("num_shots", [None, 2])
def test_the_system_line_stands_before_each_conversation(tmp_path: Path, num_shots: int | None) -> None:
    ours = tokenizer()
    made = build(prompt("chat", system=r"Be\nshort", num_shots=num_shots), tmp_path, ours)
    system = {"role": "system", "content": "Be\nshort"}
    for ids, rows in zip(real_ids(made), rows_of(made), strict=True):
        conversations = [turns_of(row) for row in rows]
        if num_shots:
            conversations = [[turn for turns in conversations for turn in turns]]
        expected = [token for turns in conversations for token in theirs(ours, [system, *turns])]
        assert ids == expected[:150]
    with pytest.raises(NotApplicableError, match=r"refuses turns of system, user, assistant: Roles must alternate"):
        build(prompt("chat", system="Be short"), tmp_path / "none", tokenizer(BRACKETS))


def test_the_day_is_always_the_same() -> None:
    ours, turns = tokenizer(DATED), turns_of(3)
    told = datetime(DAY.year, DAY.month, DAY.day).strftime("%A, %-d %B %Y (%y-%m-%d, %b)")
    assert render_turns(ours, turns) == f"<s>today is {told}\n" + render_turns(tokenizer(), turns)
    assert turn_ids(ours, turns) == ours(render_turns(ours, turns), add_special_tokens=False)["input_ids"]


def test_where_the_answer_begins() -> None:
    assert [answer_lead(tokenizer(one)) for one in (CHATML, BRACKETS, THINKING)] == ["", " ", "<think>\n\n</think>\n\n"]
    opened = "{% if add_generation_prompt %}{{ '<s>bot:\n<think>' }}{% endif %}"
    assert answer_lead(tokenizer(CHATML.split("{% if add")[0] + opened)) == "", "it never writes what it opens with"


# The user's own conversations


def own(path: Path, rows: Sequence[object], **knobs: Any) -> CalibConfig:
    path.write_text("".join(json.dumps({"talk": turns}) + "\n" for turns in rows))
    return calib("file", path=str(path), messages="talk", **{"seq_len": 100, **knobs})


def talks(num_rows: int) -> list[Turns]:
    def turns(row: int) -> Iterator[dict[str, str]]:
        if row % 3 == 0:
            yield {"role": "system", "content": f"You are number {row}"}
        for turn in range(1 + row % 4):
            yield {"role": "user", "content": f"plum {row} and pear {turn} " * (1 + row % 5)}
            yield {"role": "assistant", "content": f"shelf {turn}"}

    return [list(turns(row)) for row in range(num_rows)]


@pytest.mark.parametrize("num_shots", [None, 1, 3])
@pytest.mark.parametrize("system", [None, "Be brief"])
def test_own_conversations_go_through_the_same_template(tmp_path: Path, num_shots: int | None, system: str | None) -> None:
    """Each stays a conversation of its own, with its own system turn where it has one."""
    ours, rows = tokenizer(), talks(20)
    config = own(tmp_path / "talks.jsonl", rows)
    asked = prompt("chat", num_shots=num_shots, system=system)
    made = build(asked, tmp_path, ours, ReadOnce(SampleSource()), config)
    for ids, drawn in zip(real_ids(made), rows_of(made), strict=True):
        expected: list[int] = []
        for turns in (rows[row] for row in drawn):
            needs = system is not None and turns[0]["role"] != "system"
            expected += theirs(ours, [{"role": "system", "content": system or ""}, *turns] if needs else turns)
        assert ids == expected[:100]
        assert len(drawn) == num_shots if num_shots and len(expected) <= 100 else len(ids) == 100
    assert made.manifest["num_refused"] == 0 and made.manifest["prompt"]["name"] == "chat"


def test_a_conversation_that_the_template_refuses(tmp_path: Path) -> None:
    rows = [turns for turns in talks(30) if turns[0]["role"] == "user"]
    rows[4], rows[7] = rows[4][1:], [rows[7][0], rows[7][0]]
    source = ReadOnce(SampleSource())
    config = own(tmp_path / "talks.jsonl", rows, num_samples=20)
    with pytest.raises(UserError, match=r"row (4|7): .*refuses turns of .*Roles must alternate.*calib.bad_rows=skip"):
        build(prompt("chat"), tmp_path, tokenizer(BRACKETS), source, config)
    skipping = own(tmp_path / "talks.jsonl", rows, num_samples=20, bad_rows=BadRows.skip)
    made = build(prompt("chat"), tmp_path, tokenizer(BRACKETS), source, skipping)
    assert made.manifest["num_refused"] == 2
    assert not {4, 7} & {row for drawn in rows_of(made) for row in drawn}
    alone = own(tmp_path / "alone.jsonl", [rows[4]], num_samples=1, bad_rows=BadRows.skip)
    with pytest.raises(UserError, match=r"the 0 usable conversations fill 0 of calib.num_samples=1"):
        build(prompt("chat"), tmp_path, tokenizer(BRACKETS), source, alone)


def test_refused_conversations_do_not_count_as_some_to_draw(tmp_path: Path) -> None:
    good = [turns for turns in talks(30) if turns[0]["role"] == "user"][:2]
    source, refused = ReadOnce(SampleSource()), [turns[1:] for turns in good] * 6
    config = own(tmp_path / "talks.jsonl", [*good, *refused], num_samples=1, seq_len=900, bad_rows=BadRows.skip)
    with pytest.raises(UserError, match=r"the 2 usable conversations fill .* none twice in one sequence"):
        build(prompt("chat"), tmp_path, tokenizer(BRACKETS), source, config)


def test_too_few_conversations(tmp_path: Path) -> None:
    source = ReadOnce(SampleSource())
    config = own(tmp_path / "talks.jsonl", talks(4), repeat=False)
    with pytest.raises(UserError, match=r"the 4 usable conversations fill . of calib.num_samples=6 .*calib.repeat=true"):
        build(prompt("chat"), tmp_path, tokenizer(), source, config)
    assert build(prompt("chat"), tmp_path, tokenizer(), source, own(tmp_path / "talks.jsonl", talks(4))).real_NL.all()
    long = own(tmp_path / "talks.jsonl", talks(4), seq_len=2000)
    with pytest.raises(UserError, match="none twice in one sequence"):
        build(prompt("chat"), tmp_path, tokenizer(), source, long)


def test_conversations_need_prompt_chat(tmp_path: Path) -> None:
    config = own(tmp_path / "talks.jsonl", talks(4))
    kind = Recipe(config, prompt("chat"), LOCAL, MODEL).kind
    assert isinstance(kind, Conversations)
    kind.check()
    for asked, message in [
        (prompt("icl"), r"holds conversations \(calib.messages=talk\), which prompt=chat renders and prompt=icl does not"),
        (prompt("chat", rationale=True), "prompt.rationale says how questions are answered"),
        (prompt("chat", num_cot_steps=2, rationale=True), "prompt.rationale says how questions are answered"),
    ]:
        with pytest.raises(NotApplicableError, match=message):
            Recipe(config, asked, LOCAL, MODEL).kind.check()


def test_a_pool_of_conversations_that_is_too_small_for_the_selector_is_told_first(tmp_path: Path) -> None:
    config = own(tmp_path / "talks.jsonl", talks(4), num_samples=2)
    Recipe(config, prompt("chat", num_shots=2), LOCAL, MODEL, ClustersConfig(num_clusters=32)).kind.check()
    with pytest.raises(UserError, match=r"select\.num_clusters=33: the pool has 32 candidates only"):
        Recipe(config, prompt("chat", num_shots=2), LOCAL, MODEL, ClustersConfig(num_clusters=33)).kind.check()


# Draws and selectors


def lengths(made: CalibrationSet, ours: Any, rows: Sequence[Turns]) -> list[int]:
    return [len(theirs(ours, rows[row])) for drawn in rows_of(made) for row in drawn]


@pytest.mark.parametrize("num_shots", [None, 2])
@pytest.mark.parametrize("is_own", [False, True])
def test_draws_and_selectors_work_as_with_pairs(tmp_path: Path, is_own: bool, num_shots: int | None) -> None:
    """Draws are parts of one order, and `longest` takes the longest conversations of its pool first."""
    ours, asked = tokenizer(), prompt("chat", num_shots=num_shots)
    rows = talks(40) if is_own else [turns_of(row) for row in range(40)]
    source: Source = ReadOnce(SampleSource()) if is_own else FakeSource(gsm8k=ROWS)

    def made(select: SelectConfig, **knobs: Any) -> CalibrationSet:
        size = {"num_samples": 2, "seq_len": 100} | knobs
        config = own(tmp_path / "talks.jsonl", rows, **size) if is_own else calib(**size)
        return load_or_build(Recipe(config, asked, LOCAL, MODEL, select), source, ours, tmp_path)

    halves = [made(SelectConfig(), draw=draw) for draw in (0, 1)]
    whole = made(SelectConfig(), num_samples=4)
    assert [half.tokens_NL.tolist() for half in halves] == [whole.tokens_NL[:2].tolist(), whole.tokens_NL[2:].tolist()]
    longest = made(LongestConfig(pool=3))
    found = lengths(longest, ours, rows)
    assert found == sorted(found, reverse=True) and max(found) > max(lengths(halves[0], ours, rows))
    assert longest.manifest["num_candidates"] == 3 * len({row for drawn in rows_of(halves[0]) for row in drawn})
    for ids, drawn in zip(real_ids(longest), rows_of(longest), strict=True):
        together = not is_own and num_shots is not None
        conversations = [[turn for row in drawn for turn in rows[row]]] if together else [rows[row] for row in drawn]
        assert ids == [token for turns in conversations for token in theirs(ours, turns)][:100]


# What means nothing, and what cannot matter


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (prompt("icl", rationale=True), "prompt.rationale=true means nothing with prompt=icl"),
        (prompt("cot", rationale=True), "prompt.rationale=true means nothing with prompt=cot: cot writes them anyway"),
        (prompt("icl", system="x"), "prompt.system means nothing with prompt=icl"),
        (prompt("autoregressive", system="x"), "prompt.system means nothing with prompt=autoregressive"),
        (prompt("chat", num_cot_steps=2), "prompt.num_cot_steps=2 means nothing with prompt=chat"),
    ],
)
def test_knobs_of_another_prompt(asked: PromptConfig, message: str) -> None:
    with pytest.raises(NotApplicableError, match=message):
        Recipe(calib(), asked, LOCAL, MODEL).kind.check()


def test_rationales_need_a_set_that_has_them() -> None:
    with pytest.raises(NotApplicableError, match=r"prompt.rationale=true needs rationales, and calib=boolq has none"):
        Recipe(calib("boolq"), prompt("chat", rationale=True), LOCAL, MODEL).kind.check()
    Recipe(calib("gsm8k"), prompt("chat", rationale=True, num_cot_steps=2), LOCAL, MODEL).kind.check()


def test_the_study_has_no_conversations() -> None:
    with pytest.raises(NotApplicableError, match=r"prompt=chat means nothing with calib.compat=study"):
        Recipe(calib(compat=Compat.study), prompt("chat"), LOCAL, MODEL).kind.check()
    Recipe(calib("c4", compat=Compat.study), prompt("chat"), LOCAL, MODEL).kind.check()


def test_a_tokenizer_without_a_template(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="this tokenizer has no chat template"):
        build(prompt("chat"), tmp_path, tokenizer(None))
    config = own(tmp_path / "talks.jsonl", talks(4), bad_rows=BadRows.skip)
    with pytest.raises(NotApplicableError, match="this tokenizer has no chat template"):
        build(prompt("chat"), tmp_path, tokenizer(None), ReadOnce(SampleSource()), config)
    ours = tokenizer(None)
    ours.chat_template = {"tools": CHATML}
    with pytest.raises(NotApplicableError, match="this tokenizer has no chat template"):
        build(prompt("chat"), tmp_path, ours)
    ours.chat_template = {"tools": BRACKETS, "default": CHATML}
    assert turn_ids(ours, turns_of(0)) == theirs(tokenizer(), turns_of(0))


def test_the_identity_covers_what_matters_and_nothing_else(tmp_path: Path) -> None:
    def ident(name: str = "gsm8k", **knobs: Any) -> str:
        return Recipe(calib(name), prompt("chat", **knobs), LOCAL, MODEL).id()

    plain = ident()
    assert ident(separator="; ") == plain and ident(padding_side=PaddingSide.right) == plain
    assert ident(bos=PromptBos.none) == plain
    different = [plain, ident(rationale=True), ident(system="x"), ident(system="y"), ident(num_shots=1), ident(num_shots=2)]
    assert len(set(different)) == len(different)
    assert Recipe(calib("c4"), prompt("chat"), LOCAL, MODEL).id() == Recipe(calib("c4"), prompt(), LOCAL, MODEL).id()
    assert "rationale" not in Recipe(calib(), prompt(), LOCAL, MODEL).canonical()["prompt"], "cells of before keep their ids"


# From the tokenizer's files alone


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tokenizer_config.json": {"bos_token": "<s>"}}, False),
        ({}, False),
        ({"tokenizer_config.json": {"chat_template": CHATML}}, True),
        ({"tokenizer_config.json": {"chat_template": [{"name": "default", "template": CHATML}]}}, True),
        ({"chat_template.jinja": CHATML}, True),
        ({"tokenizer_config.json": {"chat_template": [{"name": "tool_use", "template": CHATML}]}}, False),
        ({"additional_chat_templates/tools.jinja": CHATML}, False),
    ],
)
def test_whether_there_is_a_template(tmp_path: Path, files: Mapping[str, Any], expected: bool) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert has_chat_template(ModelConfig(name="hf", path=str(tmp_path))) is expected


def test_of_a_model_that_is_not_here_nothing_is_known() -> None:
    assert has_chat_template(ModelConfig(name="hf", path="nobody/nothing")) is None
    assert EMBEDDED_FOLDER.is_dir() and has_chat_template(MODEL) is False


# What the pruner saw


@pytest.mark.parametrize("template", [CHATML, BRACKETS])
def test_questions_are_found_in_the_conversations_that_hold_them(tmp_path: Path, template: str) -> None:
    """Also where the token that begins each turn is the tokenizer's BOS, as SmolLM2's is."""
    ours = tokenizer(template)
    source = FakeSource(gsm8k=ROWS)
    made = build(prompt("chat", num_shots=1), tmp_path, ours, config=calib(seq_len=400))
    seen = read_seen(made, source, ours)
    for (row,) in rows_of(made):
        words = question_words(questions()[row].question)
        assert any(words == text[place : place + len(words)] for text in seen.texts for place in range(len(text)))
    assert all(not {"inst"} & set(text) or template == BRACKETS for text in seen.texts)


@pytest.mark.skipif(HAS_NO_REAL, reason=WHY)
def test_smollm2_itself(tmp_path: Path) -> None:
    """Its BOS begins each turn and it adds none; its template has a system line of its own."""
    from transformers import AutoTokenizer

    ours = AutoTokenizer.from_pretrained(str(REAL))
    assert has_chat_template(ModelConfig(name="hf", path=REAL)) is True
    model = ModelConfig(name="hf", path=REAL)
    recipe = Recipe(calib(seq_len=400), prompt("chat", rationale=True), LOCAL, model)
    made = load_or_build(recipe, FakeSource(gsm8k=ROWS), ours, tmp_path)
    for ids, rows in zip(real_ids(made), rows_of(made), strict=True):
        assert ids == [token for row in rows for token in theirs(ours, turns_of(row, rationale=True))][:400]
        assert ours.decode(ids).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert read_seen(made, FakeSource(gsm8k=ROWS), ours).texts[0][:4] == ("system", "you", "are", "a")
