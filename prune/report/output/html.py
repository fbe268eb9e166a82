"""The report as one HTML file that works from disk, without a server and without any request.

The parts are in `page/`: `template.html`, style sheets and small JavaScript modules. They become one style and one script
inside the file, beside the report's data as JSON. The page's content security policy allows only those two, by their hashes:
the page can send no request, and no text of the data can run.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from string import Template

import orjson

from prune.files import write_text
from prune.report.model import Report
from prune.report.plain import to_plain

PARTS = files("prune.report.output") / "page"

STYLES = ("page.css", "views.css")
"""In the order of precedence, the last one overrides."""

MODULES = (
    "dom.js",
    "format.js",
    "report.js",
    "filters.js",
    "table.js",
    "chart.js",
    "scores.js",
    "forest.js",
    "glance.js",
    "beside.js",
    "abilities.js",
    "detail.js",
    "heatmap.js",
    "verdict.js",
    "questions.js",
    "curves.js",
    "methods.js",
    "pruning.js",
    "running.js",
    "speed.js",
    "paper.js",
    "main.js",
)
"""Each after the modules that it imports."""

LONGEST_PLAIN = 4_000_000
"""Up to so many characters the JSON is plain, for other programs to read; beyond, it is packed."""

IMPORT = re.compile(r"^import (\{[^}]*\}) from \"\./([a-z]+)\.js\";$", re.MULTILINE)
EXPORT = re.compile(r"^export (function|const) (\w+)", re.MULTILINE)


MADE_OF = "<!-- made of {}, the page before this line is {} -->\n"
"""The last line of a page that names its sources: their hash, and the hash of all lines before."""


def write_page(report: Report, path: Path, made_of: str = "") -> None:
    """Write the page of `report` to the file `path`, whole or not at all.

    Args:
        made_of: a hash of the report's sources, for `is_page_of`; empty names none.

    Raises:
        UserError: the disk does not take it.
    """
    text = page(report)
    write_text(path, text + MADE_OF.format(made_of, sha256(text)) if made_of else text)


def is_page_of(path: Path, made_of: str) -> bool:
    """Whether the page is as it was written, and its sources have this hash."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False
    start = text.rstrip("\n").rfind("\n") + 1
    return text[start:] == MADE_OF.format(made_of, sha256(text[:start]))


def page(report: Report) -> str:
    """The page of `report`, as HTML."""
    style, script = "\n".join(part(name) for name in STYLES), joined_modules()
    return Template(part("template.html")).substitute(
        title=html.escape(report.title),
        policy=f"default-src 'none'; style-src '{sha256(style)}'; script-src '{sha256(script)}'; img-src data:",
        style=style,
        script=script,
        data=data_element(embedded_json(to_plain(report))),
    )


def data_element(data: str) -> str:
    """The script element with the JSON text `data`: plain, or packed (gzip, base64) where it is long."""
    if len(data) <= LONGEST_PLAIN:
        return f'<script type="application/json" id="data">{data}</script>'
    packed = base64.b64encode(gzip.compress(data.encode(), compresslevel=6, mtime=0)).decode()
    return f'<script type="application/gzip" id="data">{packed}</script>'


def embedded_json(value: object) -> str:
    """`value` as JSON for a script element, which `<` could end; a number that is not finite is null.

    json writes what orjson refuses: integers beyond 64 bits, and text that is not Unicode, like some names of folders.
    """
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def joined_modules() -> str:
    """The modules as one script: each becomes a function that is called at once and returns its exports."""
    return "\n".join(as_function(name.removesuffix(".js"), part(name)) for name in MODULES)


def as_function(name: str, module: str) -> str:
    """`const {name}Module = ...` with the exports of `module`; imports come from the constants of other modules."""
    exported = ", ".join(match[2] for match in EXPORT.finditer(module))
    body = EXPORT.sub(r"\1 \2", IMPORT.sub(r"const \1 = \2Module;", module))
    return f"const {name}Module = await (async () => {{\n{body}return {{ {exported} }};\n}})();"


def part(name: str) -> str:
    """The text of a file in `page/`."""
    return (PARTS / name).read_text(encoding="utf-8")


def sha256(text: str) -> str:
    """The hash of an inline style or script, as a content security policy states it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
