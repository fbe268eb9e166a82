"""BLEU is sacrebleu's; the translations are what the model writes up to a blank line."""

import pytest
import sacrebleu
from small_models import make_follower, make_llama, make_tokenizer

from prune.config.eval import Bos
from prune.data.dataset import AnswerKind, Example
from prune.errors import UserError
from prune.eval.metrics.bleu import TranslationSettings, summarise
from prune.eval.questions.settings import Questions
from prune.eval.subject import Subject

SETTINGS = TranslationSettings(
    dataset="wmt14",
    split="test",
    exemplar_split="train",
    num_fewshot=1,
    limit=None,
    max_new_tokens=12,
    bos=Bos.tokenizer,
)
EXEMPLARS = {0: Example(question="English: a\nFrench:", answer="b", target="b")}


def sentences(*pairs: tuple[str, str]) -> list[Example]:
    return [Example(question=f"English: {en}\nFrench:", answer=fr, target=fr) for en, fr in pairs]


def test_the_number_is_sacrebleus_own() -> None:
    said = ["le chat est sur la table", "il pleut sur la ville", "une maison rouge au bord de la mer"]
    right = ["le chat est sur le tapis", "il pleut sur la ville", "la maison rouge est au bord de la mer"]
    numbered = dict(enumerate(said))
    measured = summarise(numbered, right, {})
    assert measured.metric.value == pytest.approx(sacrebleu.corpus_bleu(said, [right]).score)
    assert 0 < measured.metric.value < 100 and measured.metric.stderr is not None and measured.metric.stderr > 0
    assert measured.metric.chance is None and measured.metric.num_items == 3
    assert "tok:13a" in measured.metric.protocol["sacrebleu"]
    assert measured.items[1] == {"id": 1, "prediction": right[1], "gold": right[1], "score": pytest.approx(100)}
    assert summarise(numbered, right, {}).metric == measured.metric, "the bootstrap's seed is fixed"
    assert summarise({0: said[0]}, right, {}).metric.stderr is None
    left = summarise({0: said[0], 2: said[2]}, right, {})
    assert left.metric.value == pytest.approx(sacrebleu.corpus_bleu([said[0], said[2]], [[right[0], right[2]]]).score)
    assert [(row["id"], row["gold"]) for row in left.items] == [(0, right[0]), (2, right[2])]


def test_a_translation_ends_at_a_blank_line() -> None:
    tokenizer = make_tokenizer("EabFrench: lisg\n")
    model = make_follower(tokenizer, {":": "a", "a": "b", "b": "\u010a\u010a"})
    done: list[tuple[int, int]] = []
    questions = Questions(SETTINGS, EXEMPLARS, sentences(("a", "ab"), ("b", "ba")), AnswerKind.TEXT)
    measured = SETTINGS.score(questions, Subject(model, tokenizer, 2, on_progress=lambda *counts: done.append(counts)))
    assert [item["prediction"] for item in measured.items] == ["ab", "ab"]
    assert measured.metric.value == pytest.approx(sacrebleu.corpus_bleu(["ab", "ab"], [["ab", "ba"]]).score)
    assert done[-1] == (2, 2)
    assert measured.metric.protocol["max_new_tokens"] == 12 and measured.metric.protocol["exemplar_ids"] == [0]


def test_sentences_that_do_not_fit() -> None:
    tokenizer = make_tokenizer("EabFrench: lisg\n")
    model = make_llama(len(tokenizer), window=40)
    with pytest.raises(UserError, match="bleu/wmt14: 1 of 1 prompts do not fit the model's window of 40"):
        SETTINGS.score(Questions(SETTINGS, EXEMPLARS, sentences(("a", "b")), AnswerKind.TEXT), Subject(model, tokenizer, 2))
