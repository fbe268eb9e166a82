"""What a calibration set shares with the items of a score; overlap.py says what counts."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from prune.calib.recipe import find_others
from prune.config.calib import PromptStyle
from prune.config.own import OwnSetConfig
from prune.data.dataset import ControlSet, Dataset, GeneratedSet, MixtureSet, OtherSet, QuestionSet
from prune.data.own.definition import define
from prune.data.registry import find_dataset
from prune.data.sources.source import Source, examples, texts
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.eval.overlap import MIN_WORDS, Overlap, Seen, Words, question_words, split_words, to_text

if TYPE_CHECKING:
    from prune.calib.calibration_set import CalibrationSet


def measure_overlap(
    planned: PlannedMetric,
    calibration: "CalibrationSet",
    source: Source,
    tokenizer: Any,
    *,
    skipped: Collection[int] = (),
) -> Overlap:
    """What the items of `planned` share with the calibration set.

    Args:
        source: where the rows of both come from.
        tokenizer: the one that the calibration set was made with.
        skipped: questions that were left out of the metric, by their place.

    Raises:
        UserError: whatever the source has to say about the rows, or rows that have changed since the set was built.
    """
    return planned.settings.overlap(read_seen(calibration, source, tokenizer), source, tokenizer, skipped)


def read_seen(calibration: "CalibrationSet", source: Source, tokenizer: Any) -> Seen:
    """The rows of a calibration set, with their words, and the words of its tokens; of a mixture those of all parts."""
    sequences = list(enumerate(calibration.manifest["sequences"]))
    manifests = calibration.manifest.get("made_of", [calibration.manifest])
    rows: set[tuple[str, str, int]] = set()
    row_words: set[Words] = set()
    texts: list[Words] = []
    for manifest in manifests:
        dataset, split = _drawn_from(manifest), manifest["data"]["split"]
        own = [(place, one) for place, one in sequences if one.get("part") == manifest.get("part")]
        own_rows = frozenset(row for _, one in own for row in one["rows"])
        rows |= {(dataset.name, split, row) for row in own_rows}
        row_words |= {
            words for words in _read_rows(dataset, own_rows, manifest["num_rows"], source) if len(words) >= MIN_WORDS
        }
        to_words = question_words if isinstance(dataset, QuestionSet) else split_words
        places = [place for place, _ in own]
        texts += [to_words(text) for text in _decode(calibration, places, manifest, tokenizer)]
    return Seen(rows=frozenset(rows), row_words=frozenset(row_words), texts=tuple(texts))


def _drawn_from(manifest: Mapping[str, Any]) -> Dataset:
    """The dataset that a calibration set was drawn from."""
    own = manifest["data"].get("own")
    if own is None and manifest["name"] in find_others():
        return find_others()[manifest["name"]][0]
    return find_dataset(manifest["name"]) if own is None else define(str(own["path"]), OwnSetConfig(**own))


def _read_rows(dataset: Dataset, rows: Iterable[int], num_rows: int | None, source: Source) -> list[Words]:
    """The words of some rows of the training split, in no particular order; of generated text none, as it is no row.

    Of a set of another kind only its text is compared.
    """
    if isinstance(dataset, ControlSet | GeneratedSet | MixtureSet | OtherSet):
        return []
    split = dataset.train_split
    table: Sequence[Any] = (
        examples(source, dataset, split) if isinstance(dataset, QuestionSet) else texts(source, dataset, split)
    )
    if len(table) != num_rows:
        raise UserError(
            f"data={source.name}, {dataset.name}/{split} has {len(table)} rows, and had {num_rows} when the calibration set "
            "was made from it: what they share with the evaluation cannot be told."
        )
    if isinstance(dataset, QuestionSet):
        return [question_words(table[row].question) for row in rows]
    return [split_words(table[row]) for row in rows]


def _decode(
    calibration: "CalibrationSet", places: Sequence[int], manifest: Mapping[str, Any], tokenizer: Any
) -> Iterator[str]:
    """The text of the sequences at `places` from their real tokens, cut where BOS stands, of conversations at each special
    token."""
    ends = _special_ids(tokenizer) if _is_chat(manifest) else {manifest["bos"]["id"]}
    for place in places:
        tokens_L, real_L = calibration.tokens_NL[place], calibration.real_NL[place]
        for is_end, piece in groupby(tokens_L[real_L].tolist(), key=ends.__contains__):
            if not is_end:
                yield to_text(list(piece), tokenizer)


def _is_chat(manifest: Mapping[str, Any]) -> bool:
    prompt = manifest.get("prompt")
    return prompt is not None and prompt["name"] == PromptStyle.chat.value


def _special_ids(tokenizer: Any) -> set[int]:
    """What marks turns in a template: the special tokens that have a role, and the others."""
    added = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)
