"""Takes docs/pictures/demo.png, the picture in the README: the page of the demo in headless Chromium.

make demo && .venv/bin/python -m dev.picture outputs/sweeps/calib=gsm8k,c4,pile*/report/index.html
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FILE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "demo.png"
WIDTH, HEIGHT = 1000, 600


def take(page_file: Path, out: Path) -> None:
    """Write the picture of a report's first screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("main[aria-busy=false]")
        page.screenshot(path=out)
        browser.close()
    with Image.open(out) as picture:
        small = picture.convert("RGB").quantize(64)
    small.save(out, optimize=True)


def main() -> None:
    """Take it."""
    parser = argparse.ArgumentParser(prog="python -m dev.picture", description=__doc__)
    parser.add_argument("page", type=Path, help="index.html of the demo's report")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    take(asked.page, asked.out)


if __name__ == "__main__":
    main()
