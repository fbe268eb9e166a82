"""Takes all of docs/pictures anew: the pages of two lines on the embedded model, and of two studies, in headless Chromium.

    python -m dev.pictures [--outputs outputs]

It needs `chromium` on the PATH. Cells that are finished in `outputs` are not run again.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from dev.study import unpack

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
DEMO = "calib=gsm8k,c4,pile prompt=icl,cot"
"""The line of `make demo`."""
STUDY, SAMPLES = "docs/study/verdict.tar.xz", "docs/study/samples.tar.xz"
"""The archives of the study whose first screen README shows, and of the one with curves over the number of samples."""
GRID = "calib=c4,pile,gsm8k,svamp prompt=icl,cot sparsity.ratio=0.6 calib.seed=0,1,2 save=mask"
"""The line in docs/reading.md."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, the line or archive whose page it shows, and the window."""

    file: str
    source: str
    width: int
    height: int
    section: str | None = None
    """Id of the section to begin with; None: the top of the page."""
    choice: tuple[str, str] | None = None
    """A list of the page by its id, and the line to choose in it."""
    is_phone: bool = False
    """Whether it shows a phone in dark mode."""


PICTURES = (
    Picture("demo.png", DEMO, 1000, 610),
    Picture("study.png", STUDY, 1000, 825),
    Picture("samples.png", SAMPLES, 400, 895, section="curves", choice=("curve-metric", "ppl/lambada ↓")),
    Picture("verdict.png", GRID, 1000, 722),
    Picture("heatmap.png", GRID, 1100, 790, section="heatmap"),
    Picture("phone.png", GRID, 390, 844, is_phone=True),
)


def run(line: str, outputs: Path) -> Path:
    """The page of a line, which is run as far as its cells are not finished."""
    command = [sys.executable, "-m", "prune.main", "-m", *line.split(), f"output_dir={outputs}", "tracker=none"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Path(re.findall(r"\S.*index\.html", said)[-1].removeprefix("Report: "))


def report(archive: str, outputs: Path) -> Path:
    """The page of a study, from its archive."""
    folder = outputs / "study" / Path(archive).name.partition(".")[0]
    unpack(FOLDER.parents[1] / archive, folder)
    subprocess.run([sys.executable, "-m", "prune.report", str(folder)], stdout=subprocess.PIPE, check=True)
    return folder / "report" / "index.html"


def take(browser: Browser, page_file: Path, picture: Picture) -> None:
    """Write one picture of a page."""
    page = browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.is_phone else "light",
        is_mobile=picture.is_phone,
        reduced_motion="reduce",
    )
    page.goto(page_file.resolve().as_uri())
    page.wait_for_selector("main[aria-busy=false]")
    if picture.choice is not None:
        page.locator(f"#{picture.choice[0]}").select_option(label=picture.choice[1])
    if picture.section is not None:
        page.locator(f"#{picture.section}").evaluate("(section) => section.scrollIntoView()")
    path = FOLDER / picture.file
    page.screenshot(path=path)
    page.close()
    with Image.open(path) as taken:
        small = taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    small.save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take them."""
    parser = argparse.ArgumentParser(prog="python -m dev.pictures", description=__doc__)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of the cells (default: outputs)")
    asked = parser.parse_args(arguments)
    pages = {line: run(line, asked.outputs) for line in (DEMO, GRID)}
    pages |= {archive: report(archive, asked.outputs) for archive in (STUDY, SAMPLES)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for picture in PICTURES:
            take(browser, pages[picture.source], picture)
        browser.close()


if __name__ == "__main__":
    main()
