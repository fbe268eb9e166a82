"""Text sets: c4, pile, oscar, redpajama, slimpajama, refinedweb, wikitext2 cut from Python's own documentation; others told.

Each set has its own modules or topics and its own cut. A document is a run of neighbouring paragraphs; the documents of one
split may overlap, those of two splits never do.
"""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from prune.data.sources.sample.documentation import Passage, docstrings, paragraphs, reflow, topics
from prune.data.sources.sample.reading import draw_boolq, draw_race
from prune.errors import UserError

SampleRow = dict[str, object]

NUM_DOCUMENTS = {"train": 600, "eval": 200}
"""Documents in a split; wikitext2 has as many rows as its text gives."""
_LONG_CHARS = (1200, 1800)
_SHORT_CHARS = (300, 900)
_LONG_SHARE = 0.75


def _web(passage: Passage) -> list[str]:
    """Flowing text with nothing of the code's layout."""
    return [reflow(paragraph) for paragraph in paragraphs(passage.text)]


def _with_signature(passage: Passage) -> list[str]:
    """The defining line before the text, as it stands in a file."""
    blocks = paragraphs(passage.text)
    if passage.signature and blocks:
        blocks[0] = f"{passage.signature}\n{textwrap.indent(blocks[0], '    ')}"
    return blocks


def _titled(passage: Passage) -> list[str]:
    """The name as a heading, then flowing text."""
    return [passage.title, *(_web(passage))]


def _as_code(passage: Passage) -> list[str]:
    """The code of short functions with their documentation, and the text of the others."""
    return [textwrap.dedent(passage.source)] if passage.source else paragraphs(passage.text)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where a set's text comes from and how it is written."""

    modules: tuple[str, ...]
    write: Callable[[Passage], list[str]]
    joiner: str
    columns: dict[str, object]
    """Columns beside the text."""


_CUTS = {
    "c4": _Cut(
        ("email", "logging", "configparser", "argparse", "smtplib", "http", "doctest"),
        _web,
        "\n",
        {"timestamp": "2020-01-01T00:00:00Z", "url": "python:documentation"},
    ),
    "pile": _Cut(
        ("asyncio", "unittest", "threading", "concurrent", "queue", "multiprocessing"),
        _with_signature,
        "\n\n",
        {"meta": {"pile_set_name": "Python documentation"}},
    ),
    "oscar": _Cut(
        (
            "typing",
            "statistics",
            "difflib",
            "inspect",
            "ipaddress",
            "json",
            "codecs",
            "urllib",
            "optparse",
            "random",
            "textwrap",
        ),
        _titled,
        "\n",
        {"id": "python:documentation", "meta": {"language": "en"}},
    ),
    "redpajama": _Cut(
        (
            "tarfile",
            "zipfile",
            "shutil",
            "subprocess",
            "socketserver",
            "mailbox",
            "ssl",
            "ftplib",
            "pathlib",
            "datetime",
            "heapq",
            "imaplib",
            "uuid",
            "platform",
            "pickle",
            "bdb",
            "plistlib",
            "copy",
            "base64",
        ),
        _as_code,
        "\n\n",
        {"meta": "{}", "red_pajama_subset": "github"},
    ),
    "slimpajama": _Cut(
        ("_pydecimal", "turtle", "xml", "importlib", "wsgiref", "xmlrpc"),
        _web,
        " ",
        {"meta": {"redpajama_set_name": "Python documentation"}},
    ),
    "refinedweb": _Cut(
        (
            "ctypes",
            "calendar",
            "locale",
            "selectors",
            "fractions",
            "gzip",
            "bz2",
            "lzma",
            "tempfile",
            "encodings",
            "dis",
            "ast",
            "socket",
            "os",
            "contextlib",
            "dataclasses",
            "operator",
            "numbers",
            "traceback",
            "pydoc",
            "timeit",
            "mimetypes",
            "poplib",
            "zipimport",
            "symtable",
            "pkgutil",
            "site",
        ),
        _web,
        "\n",
        {"url": "python:documentation", "dump": "sample", "segment": "0"},
    ),
}
_ARTICLES = ("logging", "pdb", "pickletools", "enum", "collections", "functools")
"""Modules that wikitext2 has beside the topics."""

TEXT_SETS = (*_CUTS, "wikitext2", "lambada", "cnn_dailymail")


def draw_texts(name: str, *, held_out: bool) -> list[SampleRow]:
    """Return the rows of one split of a text set.

    Raises:
        UserError: the running Python ships without enough of its documentation.
    """
    if name == "wikitext2":
        return [{"text": text} for text in _wiki_rows(held_out)]
    if name == "lambada":
        return _diaries(held_out)
    if name == "cnn_dailymail":
        return _reports(held_out)
    cut = _CUTS[name]
    blocks = _blocks(docstrings(cut.modules), cut.write, held_out=held_out)
    count = NUM_DOCUMENTS["eval" if held_out else "train"]
    if len(blocks) < count:
        raise UserError(
            f"data=sample, set {name}: this Python ships with only {len(blocks)} paragraphs of documentation for it and "
            f"{count} are needed. Use a complete Python installation with its standard library as .py files, or data=hub."
        )
    rng = Random(f"{name}/{held_out}")
    return [{"text": text, **cut.columns} for text in _documents(blocks, count, cut.joiner, rng)]


def _blocks(passages: Iterable[Passage], write: Callable[[Passage], list[str]], *, held_out: bool) -> list[str]:
    """The pieces of one split, in order; what a held-out unit repeats (documentation does) is not in the train split."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for passage in passages:
        sides[passage.is_held_out] += write(passage)
    reserved = set(sides[True])
    return sides[True] if held_out else [block for block in sides[False] if block not in reserved]


def _documents(blocks: list[str], count: int, joiner: str, rng: Random) -> list[str]:
    """Runs of neighbouring blocks that start at evenly spread places, in random order."""
    texts = []
    for i in range(count):
        start = i * len(blocks) // count
        least = rng.randint(*(_LONG_CHARS if rng.random() < _LONG_SHARE else _SHORT_CHARS))
        texts.append(_run(blocks, start, least, joiner))
    rng.shuffle(texts)
    return texts


def _run(blocks: list[str], start: int, least: int, joiner: str) -> str:
    """Blocks from `start` on (round the end to the beginning) until there are `least` characters."""
    taken: list[str] = []
    while sum(map(len, taken)) < least:
        taken.append(blocks[(start + len(taken)) % len(blocks)])
    return joiner.join(taken)


def _wiki_rows(held_out: bool) -> list[str]:
    """Articles with headings, blank rows and long paragraphs, in the layout of WikiText's rows."""
    passages = [*topics(), *docstrings(_ARTICLES)]
    kept = set(_blocks(passages, _web, held_out=held_out))
    rows = [""]
    for passage in passages:
        texts = _merged([text for text in _web(passage) if text in kept])
        if passage.is_held_out is held_out and texts:
            marks = " ".join("=" * passage.level)
            rows += [f" {marks} {passage.title} {marks} \n", "", *(f" {text} \n" for text in texts), ""]
    return rows


def _diaries(held_out: bool) -> list[SampleRow]:
    """Stories of people and their days, several in a row."""
    rng, count = Random(f"lambada/{held_out}"), NUM_DOCUMENTS["eval" if held_out else "train"]
    stories = (" ".join(str(draw_race(rng)["article"]) for _ in range(rng.randint(4, 8))) for _ in range(count))
    return [{"text": story, "domain": None} for story in stories]


def _reports(held_out: bool) -> list[SampleRow]:
    """News of buildings and of people, several in a row, the first as the highlight."""
    rng, count = Random(f"cnn_dailymail/{held_out}"), NUM_DOCUMENTS["eval" if held_out else "train"]
    rows: list[SampleRow] = []
    for number in range(count):
        news = [str(draw_boolq(rng)["passage"] if rng.random() < 0.5 else draw_race(rng)["article"]) for _ in range(7)]
        rows.append({"text": " ".join(news), "highlights": news[0], "id": str(number)})
    return rows


def _merged(texts: list[str]) -> list[str]:
    """Neighbouring paragraphs put together until they are long; what is left at the end stays short."""
    merged, pending = [], ""
    for text in texts:
        pending = f"{pending} {text}".strip()
        if len(pending) >= _LONG_CHARS[0]:
            merged.append(pending)
            pending = ""
    return [*merged, pending] if pending else merged
