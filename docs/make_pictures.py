"""Make the pictures of the README and of docs/ again, from the demo's results: `make pictures`.

Two are the demo's own. The others show two pages in a browser: the gallery that test.py --visualize
writes, and app.py with a toy example. You need the packages gradio and playwright and a Chromium: one that is
installed, or playwright's own (playwright install chromium).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from engine.options import OneLineParser
from util.errors import UserError, first_line
from util.files import atomic_write
from util.launch import command

HERE = Path(__file__).parent
DEMO = HERE.parent / "outdir_demo"
QUALITY = 70  # of WebP, which takes a third of the bytes of PNG
PATIENCE = 120  # seconds, for the page to start and to find


def make_small(source: Path, target: Path, width: int = 1000) -> None:
    """Write a picture as WebP, at most so wide: what a page on GitHub shows."""
    with Image.open(source) as image:
        small = image.convert("RGB")
    if small.width > width:
        small = small.resize((width, round(small.height * width / small.width)), Image.Resampling.LANCZOS)
    with atomic_write(target) as file:
        small.save(file, "WEBP", quality=QUALITY, method=6)
    print(f"picture: {target.relative_to(HERE.parent)}, {target.stat().st_size // 1000} kB")


@contextmanager
def open_browser() -> Iterator[Any]:
    """A Chromium that no one sees. Raises UserError if there is none."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise UserError("the pages' pictures need the package playwright (pip install playwright)") from error
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        except Error as error:
            message = f"no Chromium starts ({first_line(error)}); install one with: playwright install chromium"
            raise UserError(message) from error
        yield chromium
        chromium.close()


@contextmanager
def serve_page() -> Iterator[str]:
    """The address of app.py, which runs beside. Raises UserError if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    argv = [sys.executable, str(HERE.parent / "app.py"), "--port", port]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = process.stdout.readline() if process.stdout else ""
        if not said.startswith("the page: "):
            raise UserError(f"app.py did not start: {said.strip()}")
        yield said.split()[2]
    finally:
        process.terminate()
        process.wait()


def photograph_gallery(chromium: Any, target: Path) -> None:
    """The page of the demo's best, worst and other episodes."""
    tab = chromium.new_page(viewport={"width": 1000, "height": 1000})
    tab.goto((DEMO / "look" / "index.html").as_uri())
    tab.wait_for_load_state("load")
    tab.screenshot(path=target)


def photograph_page(chromium: Any, address: str, target: Path) -> None:
    """The page to paint on, with the first toy example found."""
    tab = chromium.new_page(viewport={"width": 1024, "height": 1080})
    tab.goto(address)
    tab.locator("#toys img").first.click(timeout=1000 * PATIENCE)
    tab.wait_for_selector("#overlay img", timeout=1000 * PATIENCE)
    time.sleep(2)  # for the last picture to be painted
    tab.screenshot(path=target)


def main(argv: list[str] | None = None) -> None:
    OneLineParser(__doc__).parse_args(argv)
    if not (DEMO / "table.md").is_file():
        raise UserError(f"{DEMO}: the demo has not finished; run make demo")
    make_small(DEMO / "episodes.png", HERE / "episodes.webp")
    make_small(DEMO / "explained.png", HERE / "explained.webp")
    with open_browser() as chromium, serve_page() as address:
        shots = DEMO / "gallery.png", DEMO / "page.png"
        photograph_gallery(chromium, shots[0])
        photograph_page(chromium, address, shots[1])
    for shot in shots:
        make_small(shot, HERE / f"{shot.stem}.webp")


if __name__ == "__main__":
    command(main)
