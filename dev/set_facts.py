"""What is known of the repositories of the shipped sets on the hub besides what prune/data/sets says, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

PAGE = "https://huggingface.co/datasets"


class Sure(str, Enum):
    """How a repository's layout is known."""

    SEEN = "seen"
    PINNED = "pinned"
    OTHER = "other commit"
    MEMORY = "memory"


MEANING = {
    Sure.SEEN: "the hub's own page shows these files, or the change that brought them, at this commit",
    Sure.PINNED: "public code on GitHub reads these files at this commit",
    Sure.OTHER: "the hub's own page shows them at another commit, or on its conversion branch",
    Sure.MEMORY: "no public page or code was found that shows the files at this commit",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a repository besides what the definition of a set says."""

    files: Mapping[str, str]
    """The hub's split -> where its files lie."""
    columns: tuple[str, ...]
    licence: str
    """As the repository's card names it."""
    sure: Sure
    source: str


def _splits(folder: str, *splits: str, end: str = "-00000-of-00001.parquet") -> dict[str, str]:
    return {split: f"{folder}/{split}{end}" for split in splits}


_ALL = ("train", "validation", "test")
_ROUNDS = [f"{part}_r{number}" for part in ("train", "dev", "test") for number in (1, 2, 3)]
_CHOICES = ("id", "question", "choices", "answerKey")
SHOWN = "de"
"""The language in whose row a set in many languages is described; the others lie in the same way."""
_PORTAL = "the table of sources in the card that github.com/ramp-public/portallib's data set carries"

FACTS: dict[tuple[str, str | None], Facts] = {
    ("allenai/c4", None): Facts(
        {"train": "en/c4-train.00000-of-01024.json.gz", "validation": "en/c4-validation.00000-of-00008.json.gz"},
        ("text", "timestamp", "url"),
        "odc-by",
        Sure.PINNED,
        "github.com/locuslab/wanda, lib/data.py (file names); public code that pins the commit with en/c4-train.*.json.gz",
    ),
    ("oscar-corpus/community-oscar", None): Facts(
        {"train": "data/2024-38/en_meta/en_meta_part_1.jsonl.zst"},
        ("content", "warc_headers", "metadata"),
        "not seen; gated",
        Sure.MEMORY,
        "occiglot.eu/posts/community-oscar (annotations follow OSCAR 23.01, whose text column is content)",
    ),
    ("monology/pile-uncopyrighted", None): Facts(
        {"train": "train/00.jsonl.zst", "validation": "val.jsonl.zst", "test": "test.jsonl.zst"},
        ("text", "meta"),
        "other",
        Sure.SEEN,
        f"{PAGE}/monology/pile-uncopyrighted/tree/3be90335b66f24456a5d6659d9c8d208c0357119",
    ),
    ("DKYoon/SlimPajama-6B", None): Facts(
        {
            "train": "data/train-00000-of-00048.parquet",
            "validation": "data/validation-00000-of-00001.parquet",
            "test": "data/test-00000-of-00001-9f769cf7ce219017.parquet",
        },
        ("text", "meta", "__index_level_0__"),
        "none named",
        Sure.OTHER,
        f"{PAGE}/DKYoon/SlimPajama-6B/tree/b5f90f419b7489cdba26fdbc8c022fcb5562f968 (48 shards of train, one of test; the "
        "hashes in the other names are not known)",
    ),
    ("Salesforce/wikitext", "wikitext-2-raw-v1"): Facts(
        _splits("wikitext-2-raw-v1", *_ALL),
        ("text",),
        "cc-by-sa-3.0, gfdl",
        Sure.PINNED,
        f"{PAGE}/Salesforce/wikitext/tree/8aaa8b27d493dba10b8553290236799e6dc57829; public code that pins the commit with "
        "wikitext-2-raw-v1/test-00000-of-00001.parquet",
    ),
    ("facebook/anli", None): Facts(
        {split: f"plain_text/{split}-00000-of-00001.parquet" for split in _ROUNDS},
        ("uid", "premise", "hypothesis", "label", "reason"),
        "cc-by-nc-4.0",
        Sure.OTHER,
        f"{PAGE}/facebook/anli/tree/0472142e7a8db67354c1ce2c63b0272d955b4f99/plain_text/train_r1 (conversion branch); "
        "public code pins the commit with plain_text",
    ),
    ("allenai/ai2_arc", "ARC-Easy"): Facts(
        _splits("ARC-Easy", *_ALL),
        _CHOICES,
        "cc-by-sa-4.0",
        Sure.PINNED,
        f"public code that pins files and commit; {_PORTAL}",
    ),
    ("allenai/ai2_arc", "ARC-Challenge"): Facts(
        _splits("ARC-Challenge", *_ALL),
        _CHOICES,
        "cc-by-sa-4.0",
        Sure.PINNED,
        f"public code that pins files and commit; {_PORTAL}",
    ),
    ("google/boolq", None): Facts(
        _splits("data", "train", "validation"),
        ("question", "answer", "passage"),
        "cc-by-sa-3.0",
        Sure.PINNED,
        f"public code that pins files and commit; {_PORTAL}",
    ),
    ("tau/commonsense_qa", None): Facts(
        _splits("data", *_ALL),
        ("id", "question", "question_concept", "choices", "answerKey"),
        "mit",
        Sure.PINNED,
        f"{PAGE}/tau/commonsense_qa/commit/34986e86317f29c06cc232315de682a88959f89f; public code that pins files and commit",
    ),
    ("Salesforce/cos_e", "v1.11"): Facts(
        _splits("v1.11", "train", "validation"),
        ("id", "question", "choices", "answer", "abstractive_explanation", "extractive_explanation"),
        "unknown",
        Sure.OTHER,
        f"{PAGE}/cos_e/commit/247d103b79d6864fe83c12f22f835a1f9dbe3bdb (brought the files)",
    ),
    ("esnli/esnli", None): Facts(
        _splits("plain_text", *_ALL, end="/0000.parquet"),
        ("premise", "hypothesis", "label", "explanation_1", "explanation_2", "explanation_3"),
        "none named",
        Sure.MEMORY,
        f"{PAGE}/esnli/blame/main/README.md (columns); tensorflow.org/datasets/community_catalog/huggingface/esnli "
        "(configuration plain_text, splits); the path is that of every conversion branch",
    ),
    ("ybisk/piqa", None): Facts(
        _splits("plain_text", *_ALL, end="/0000.parquet"),
        ("goal", "sol1", "sol2", "label"),
        "unknown",
        Sure.PINNED,
        "the repository holds a script; public code that pins this commit of its conversion branch (of 2024-03-07) with "
        "plain_text/validation/0000.parquet. 16,113, 1,838 and 3,084 rows; the label of a test row is -1. Licence: "
        "unitxt.ai, card of piqa",
    ),
    ("allenai/social_i_qa", None): Facts(
        _splits("default", "train", "validation", end="/0000.parquet"),
        ("context", "question", "answerA", "answerB", "answerC", "label"),
        "none named",
        Sure.PINNED,
        f"{PAGE}/allenai/social_i_qa/blame/main/README.md (columns; 33,410 and 1,954 rows, no test split; a row whose label "
        '"1" is answerA; the repository holds a script); the script, github.com/huggingface/datasets, datasets/social_i_qa '
        "(labels are lines of a file, each a text that may end in its line break); lm-eval's social_iqa (label - 1 is the "
        "place of the right one of answerA, answerB, answerC; it reads the copy lighteval/siqa, whose card has the same "
        "columns and numbers of rows); public code that pins this commit of its conversion branch (of 2024-05-23) with "
        "default/train/0000.parquet and default/validation/0000.parquet, and takes the labels for 1 to 3",
    ),
    ("cimec/lambada", None): Facts(
        {"train": "plain_text/train-00000-of-00002.parquet"} | _splits("plain_text", "validation", "test"),
        ("text", "domain"),
        "cc-by-4.0",
        Sure.OTHER,
        f"{PAGE}/cimec/lambada/blame/main/README.md (columns, files, licence; 2,662, 4,869 and 5,153 rows; 552 MB); "
        f"{PAGE}/cimec/lambada/blob/main/plain_text/train-00001-of-00002.parquet (5953bd9 brought the files; its whole name "
        "was not found)",
    ),
    ("openai/gsm8k", "main"): Facts(
        _splits("main", "train", "test"),
        ("question", "answer"),
        "mit",
        Sure.PINNED,
        "public code that pins the commit with main/test-00000-of-00001.parquet, and names the licence",
    ),
    ("Rowan/hellaswag", None): Facts(
        _splits("data", *_ALL),
        ("ind", "activity_label", "ctx_a", "ctx_b", "ctx", "endings", "source_id", "split", "split_type", "label"),
        "none named",
        Sure.PINNED,
        f"public code that pins the commit with data/validation-00000-of-00001.parquet; {_PORTAL}",
    ),
    ("MU-NLPC/Calc-mawps", None): Facts(
        {
            "train": "data/train-00000-of-00001.parquet",
            "validation": "data/validation-00000-of-00001.parquet",
            "test": "data/test-00000-of-00001.parquet",
        },
        ("id", "question", "chain", "result", "result_float", "equation", "expression"),
        "mit",
        Sure.SEEN,
        f"{PAGE}/MU-NLPC/Calc-mawps/commit/38c10053efeafd20ab6ff4e08c3ec17de26c19b7 (default configuration in data/; the "
        "hashes in its file names are not known)",
    ),
    ("allenai/openbookqa", "main"): Facts(
        _splits("main", *_ALL),
        ("id", "question_stem", "choices", "answerKey"),
        "unknown",
        Sure.SEEN,
        f"{PAGE}/allenai/openbookqa/tree/main/additional (388097e brought the files)",
    ),
    ("ehovy/race", "all"): Facts(
        _splits("all", *_ALL),
        ("example_id", "article", "answer", "question", "options"),
        "other",
        Sure.PINNED,
        f"{PAGE}/ehovy/race/viewer/all/train (configurations, splits); public code that pins the commit with all/",
    ),
    ("nyu-mll/glue", "rte"): Facts(
        _splits("rte", *_ALL),
        ("sentence1", "sentence2", "label", "idx"),
        "other",
        Sure.PINNED,
        "public code that pins the commit with mrpc/train-00000-of-00001.parquet, the same layout",
    ),
    ("ChilleD/SVAMP", None): Facts(
        _splits("data", "train", "test"),
        ("ID", "Body", "Question", "Equation", "Answer", "Type", "question_concat"),
        "mit",
        Sure.SEEN,
        f"{PAGE}/ChilleD/SVAMP/tree/main/data (5e0bf1e brought the files)",
    ),
    ("allenai/winogrande", "winogrande_m"): Facts(
        _splits("winogrande_m", *_ALL),
        ("sentence", "option1", "option2", "answer"),
        "none named",
        Sure.PINNED,
        f"public code that pins the commit with winogrande_xl/train-00000-of-00001.parquet, the same layout; {_PORTAL}",
    ),
    ("wmt/wmt14", "fr-en"): Facts(
        {"train": "fr-en/train-00000-of-00030.parquet"} | _splits("fr-en", "validation", "test"),
        ("translation",),
        "unknown",
        Sure.MEMORY,
        f"{PAGE}/wmt/wmt14/tree/621c698f743214a85785e9cf79073f030834f20c/fr-en/partial-train (conversion branch: "
        "configuration and licence); public code pins the commit",
    ),
    ("IWSLT/iwslt2017", "iwslt2017-en-fr"): Facts(
        _splits("iwslt2017-en-fr", *_ALL, end="/0000.parquet"),
        ("translation",),
        "cc-by-nc-nd-4.0",
        Sure.SEEN,
        f"{PAGE}/IWSLT/iwslt2017/tree/f3165b05f97abe3dbe0e20bd6ab6ce5082eb756a/iwslt2017-en-fr/train (conversion branch of "
        "a script; the two other splits at 19f9d9f69207076a345407bba0976583a15a4b2e); licence and column: "
        f"{PAGE}/IWSLT/iwslt2017/blob/fc451e3790dc9caf5cbfac08a42346a7454d2c6f/README.md",
    ),
    ("abisee/cnn_dailymail", "3.0.0"): Facts(
        {"train": "3.0.0/train-00000-of-00003.parquet"} | _splits("3.0.0", "validation", "test"),
        ("article", "highlights", "id"),
        "apache-2.0",
        Sure.PINNED,
        "public code that pins the commit with 3.0.0/train-*.parquet and 3.0.0/test-00000-of-00001.parquet. 287,113, 13,368 "
        "and 11,490 rows",
    ),
    ("tiiuae/falcon-refinedweb", None): Facts(
        {"train": "data/train-00000-of-05534-b8fc5348cbe605a5.parquet"},
        ("content", "url", "timestamp", "dump", "segment", "image_urls"),
        "odc-by",
        Sure.PINNED,
        "public code that pins the commit with data/, and public code that names the file; columns and licence: "
        f"{PAGE}/tiiuae/falcon-refinedweb/blob/main/README.md (at c735840)",
    ),
    ("nyu-mll/glue", "sst2"): Facts(
        _splits("sst2", *_ALL),
        ("sentence", "label", "idx"),
        "other",
        Sure.PINNED,
        f"{PAGE}/nyu-mll/glue/tree/bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c/sst2, as public code names it. 67,349, 872 and "
        "1,821 rows; the label of a test row is -1",
    ),
    ("stanfordnlp/imdb", "plain_text"): Facts(
        _splits("plain_text", "train", "test", "unsupervised"),
        ("text", "label"),
        "other",
        Sure.PINNED,
        "public code that pins the commit with plain_text/train-00000-of-00001.parquet. 25,000 rows each",
    ),
    ("fancyzhx/yelp_polarity", "plain_text"): Facts(
        _splits("plain_text", "train", "test"),
        ("text", "label"),
        "none named",
        Sure.PINNED,
        "public code that pins the commit with the configuration plain_text, and public code that names the files. 560,000 "
        "and 38,000 rows",
    ),
    ("cornell-movie-review-data/rotten_tomatoes", None): Facts(
        {split: f"{split}.parquet" for split in _ALL},
        ("text", "label"),
        "unknown",
        Sure.PINNED,
        "public code that pins the commit, also with test.parquet (github.com/mlflow/mlflow, tests). 8,530, 1,066 and 1,066 "
        "rows",
    ),
    ("allenai/c4", SHOWN): Facts(
        {
            "train": f"multilingual/c4-{SHOWN}.tfrecord-00000-of-02048.json.gz",
            "validation": f"multilingual/c4-{SHOWN}-validation.tfrecord-00000-of-00016.json.gz",
        },
        ("text", "timestamp", "url"),
        "odc-by",
        Sure.PINNED,
        "public code that pins the commit with these files, and with those of ru and zh; numbers of shards of all "
        "languages: the mC4 script that public code carries, made for the commit 1ddc917116b730e1859edef32896ec5c16be51d0. "
        "108 languages; the page of the viewer names their configurations",
    ),
    ("wikimedia/wikipedia", f"20231101.{SHOWN}"): Facts(
        {"train": f"20231101.{SHOWN}/train-00000-of-00020.parquet"},
        ("id", "url", "title", "text"),
        "cc-by-sa-3.0, gfdl",
        Sure.PINNED,
        "public code that pins the commit with 20231101.en/train-00000-of-00041.parquet, and with the configurations ru, "
        f"fr, zh, fa, tr, de (20 shards); {PAGE}/wikimedia/wikipedia/viewer/20231101.ko "
        "(323 configurations, as many languages)",
    ),
}
"""(repository, configuration) -> what is known of it."""
