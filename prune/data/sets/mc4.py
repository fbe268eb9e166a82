"""mC4, the web by language (Xue et al. 2021): one shard of train and one of validation of each language.

English is mC4's own here, less cleaned than C4.
"""

from prune.data.dataset import Category, Hub, LanguageSet, Row, TextSet
from prune.data.formatting.columns import column_text

_NUM_TRAIN = {
    11264: "en",
    4096: "ru",
    3072: "und",
    2048: "de es fr",
    1024: "ar bg cs da el fa fi hi hu id it iw ja ko mr nl no pl pt ro sv th tr uk vi zh",
    512: "bn ca lt ms sk",
    256: "az cy et ka kk lv ne sl sr ta",
    128: "be gl hy is mk ml mn mt sq te ur",
    64: "af eu fil gu km kn ky la my sd si so tg",
    32: "eo lb pa ru-Latn sw uz",
    16: "am el-Latn fy ga gd hi-Latn ku ps yi",
    8: "ceb co ha hmn ht ja-Latn jv lo mg sn zh-Latn zu",
    4: "bg-Latn ig mi ny sm su",
    2: "haw st xh yo",
}
"""Number of shards of the training split -> the languages that have that many."""
_NUM_VALIDATION = {
    128: "en",
    32: "ru und",
    16: "de es fr",
    8: "it ja",
    4: "ar id nl pl pt tr vi",
    2: "cs el fa hi hu ro sv uk zh",
}
"""The same for the validation split; the others have one."""


def _by_language(several: dict[int, str]) -> dict[str, int]:
    return {language: number for number, languages in several.items() for language in languages.split()}


_TRAIN, _VALIDATION = _by_language(_NUM_TRAIN), _by_language(_NUM_VALIDATION)


def _text(row: Row) -> str:
    return column_text(row, "text")


def _in_language(language: str) -> TextSet:
    shards = {"train": ("", _TRAIN[language]), "validation": ("-validation", _VALIDATION.get(language, 1))}
    return TextSet(
        name=f"mc4_{language}",
        category=Category.PRETRAINING,
        hub=Hub(
            path="allenai/c4",
            config="en-multi" if language == "en" else language,
            revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
            files={
                split: f"multilingual/c4-{language}{part}.tfrecord-00000-of-{count:05}.json.gz"
                for split, (part, count) in shards.items()
            },
        ),
        text=_text,
        columns=("text",),
        eval_split="validation",
        joiner=" ",
    )


LANGUAGES = LanguageSet(name="mc4", languages=tuple(sorted(_TRAIN)), in_language=_in_language)
