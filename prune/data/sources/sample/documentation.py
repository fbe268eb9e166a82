"""Paragraphs of the documentation that ships with the running Python: language topics and docstrings.

Source files are parsed, never imported. A unit is a topic, or a module's top-level class or function; every fifth unit (by a
checksum of its name) is held out, for all sets alike, so that no evaluation text is ever calibrated or trained on.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

_HELD_OUT_SHARE = 5
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | _Definition
_RULE = re.compile(r"^[*=~\-^\"#+ ]{3,}$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of documentation: a topic, or one documented class, function or module."""

    unit: str
    """What is held out together."""
    title: str
    level: int
    """Depth of the title: 1 for a topic or module."""
    signature: str
    """The line that defines it, or nothing."""
    text: str
    source: str
    """The code, for a short function; else nothing."""

    @property
    def is_held_out(self) -> bool:
        """Whether it belongs to the evaluation splits."""
        return crc32(self.unit.encode()) % _HELD_OUT_SHARE == 0


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, without rules and underlines, as they stand."""
    blocks = re.split(r"\n\s*\n", text.expandtabs())
    cleaned = ("\n".join(line.rstrip() for line in block.split("\n") if not _RULE.match(line.strip())) for block in blocks)
    return [block.strip("\n") for block in cleaned if len(block.strip()) > 2]


def reflow(paragraph: str) -> str:
    """Return the paragraph on one line."""
    return " ".join(paragraph.split())


@cache
def topics() -> tuple[Passage, ...]:
    """Return the language reference's topics, in the order of their names."""
    from pydoc_data.topics import topics as texts

    return tuple(_topic(name, texts[name]) for name in sorted(texts))


def _topic(name: str, text: str) -> Passage:
    title, _, rest = text.lstrip().partition("\n")
    return Passage(unit=f"topic:{name}", title=title.strip(), level=1, signature="", text=rest, source="")


@cache
def docstrings(modules: tuple[str, ...]) -> tuple[Passage, ...]:
    """Return all documented things of these modules and packages, in the order of the source; missing ones are left out."""
    return tuple(passage for module in modules for path in _files(module) for passage in _read(path, module))


def _files(module: str) -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    if (library / f"{module}.py").is_file():
        return [library / f"{module}.py"]
    files = sorted((library / module).rglob("*.py"))
    return [path for path in files if not {"test", "tests", "_test_util"} & set(path.parts)]


def _read(path: Path, module: str) -> Iterator[Passage]:
    code = path.read_text(encoding="utf-8")
    tree = ast.parse(code)
    lines = code.split("\n")
    name = module if path.stem in (module, "__init__") else f"{module}.{path.stem}"
    yield from _describe(tree, name, name, 1, lines)
    for node in tree.body:
        if isinstance(node, _Definition):
            yield from _walk(node, f"{name}.{node.name}", f"{name}.{node.name}", 2, lines)


def _walk(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, unit: str, title: str, level: int, lines: list[str]
) -> Iterator[Passage]:
    yield from _describe(node, unit, title, level, lines)
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, _Definition):
                yield from _walk(inner, unit, f"{title}.{inner.name}", level + 1, lines)


def _describe(node: _Documented, unit: str, title: str, level: int, lines: list[str]) -> Iterator[Passage]:
    text = ast.get_docstring(node)
    if not text:
        return
    signature = source = ""
    if not isinstance(node, ast.Module):
        assert node.end_lineno is not None, "parsed nodes know where they end"
        body_line = node.body[0].lineno
        signature = "\n".join(line.strip() for line in lines[node.lineno - 1 : max(body_line - 1, node.lineno)])
        if not isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno < 40:
            source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    yield Passage(unit=unit, title=title, level=level, signature=signature, text=text, source=source)
