"""The page as a file: what stands in it, and what cannot."""

import base64
import gzip
import json
import re
from pathlib import Path

import pytest

from prune.report.output import html as page_module
from prune.report.output.html import MODULES, PARTS, as_function, embedded_json, joined_modules, page, sha256, write_page
from prune.report.plain import to_plain
from tests.report.page_reports import HOSTILE, small_report

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
PACKED = re.compile(r'<script type="application/gzip" id="data">([^<]*)</script>')
SCRIPT = re.compile(r'<script type="module">(.*?)</script>', re.DOTALL)
STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def test_data_come_back_as_they_went_in() -> None:
    report = small_report()
    assert json.loads(DATA.findall(page(report))[0]) == to_plain(report)


def test_long_data_are_packed_and_come_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    report = small_report()
    written = page(report)
    monkeypatch.setattr(page_module, "LONGEST_PLAIN", 1000)
    packed = page(report)
    assert DATA.findall(packed) == []
    unpacked = gzip.decompress(base64.b64decode(PACKED.findall(packed)[0], validate=True))
    assert json.loads(unpacked) == to_plain(report)
    assert len(packed) < len(written)
    assert page(report) == packed


def test_hostile_text_cannot_end_the_data() -> None:
    written = page(small_report(title=HOSTILE))
    assert written.count("<script") == written.count("</script>") == 2
    assert "<b onmouseover" not in written
    assert "<title>&lt;/script&gt;&lt;script&gt;" in written


def test_json_has_no_opening_bracket_and_means_the_same() -> None:
    assert embedded_json({"a": "<!--</script>"}) == '{"a":"\\u003c!--\\u003c/script>"}'
    assert json.loads(embedded_json(["<", None, 0.5])) == ["<", None, 0.5]
    assert embedded_json([float("nan"), 0.5]) == "[null,0.5]"
    assert json.loads(embedded_json(["<", "\udc80", 2**70])) == ["<", "\udc80", 2**70]  # orjson would refuse them


def test_the_policy_allows_exactly_the_style_and_the_script_within() -> None:
    written = page(small_report())
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', written)
    style, script = sha256(STYLE.findall(written)[0]), sha256(SCRIPT.findall(written)[0])
    assert policy == [f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:"]


def test_the_hash_is_the_one_of_the_standard() -> None:
    assert sha256("alert('Hello, world.');") == "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="


def test_nothing_is_fetched_from_elsewhere() -> None:
    written = page(small_report())
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", written) == []
    assert re.findall(r"\burl\(|@import|\bfetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML", written) == []


def test_modules_are_joined_in_an_order_that_fulfils_their_imports() -> None:
    assert sorted(MODULES) == sorted(entry.name for entry in PARTS.iterdir() if entry.name.endswith(".js"))
    for place, name in enumerate(MODULES):
        text = (PARTS / name).read_text()
        for names, source in re.findall(r'^import \{([^}]*)\} from "\./([a-z]+\.js)";$', text, re.MULTILINE):
            assert source in MODULES[:place], f"{name} imports {source} before it is there"
            exported = re.findall(r"^export (?:function|const) (\w+)", (PARTS / source).read_text(), re.MULTILINE)
            assert {each.strip() for each in names.split(",")} <= {*exported, ""}, f"{name} from {source}"
    assert re.findall(r"^(?:import|export)\b", joined_modules(), re.MULTILINE) == []


def test_a_module_becomes_a_function_that_returns_its_exports() -> None:
    module = 'import { el, svg } from "./dom.js";\n\nconst SIZE = 3;\nexport const name = "export";\n\n'
    module += "export function draw() {}\n"
    assert as_function("chart", module) == (
        "const chartModule = await (async () => {\nconst { el, svg } = domModule;\n\n"
        'const SIZE = 3;\nconst name = "export";\n\n'
        "function draw() {}\nreturn { name, draw };\n})();"
    )


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report" / "index.html"
    report = small_report()
    write_page(report, path)
    assert path.read_text() == page(report)

    def broken(value: object) -> str:
        raise OSError("cut off")

    monkeypatch.setattr(page_module, "embedded_json", broken)
    with pytest.raises(OSError, match="cut off"):
        write_page(report, path)
    assert path.read_text().endswith("</html>\n")
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]
