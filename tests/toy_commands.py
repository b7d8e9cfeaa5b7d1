"""Run for real what README and docs/ tell people to type and what needs no data: `make test-commands`.

These are the blocks of commands that begin with a toy dataset, such as README's first look. Each runs in an empty
folder that has links to the programs, with the Python that runs this; every command is a line with its seconds and the
last line that it printed. Only Python's own modules are imported, so that a missing package is the command's error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
FIRST = "python prepare.py toy "


def toy_blocks(page: str) -> Iterator[list[str]]:
    """The commands of each indented block of a page that begins with a toy dataset."""
    for block in re.findall(rf"^    {FIRST}.*\n(?:    .*\n)*", page, re.MULTILINE):
        yield [line.strip() for line in block.splitlines()]


def files_to_open(page: str) -> set[str]:
    """What the page tells people to open after its toy block."""
    return set(re.findall(r"`(outdir_toy/[\w./]+)`", page))


def run_block(commands: list[str], folder: Path) -> None:
    """Run commands one after the other in a folder; ends the process with the output of the first that fails."""
    for script in CHECKOUT.glob("*.py"):
        (folder / script.name).symlink_to(script)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    for command in commands:
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{done.stdout}\nexit code {done.returncode}: {command}")
        said = done.stdout.rstrip().rpartition("\n")[2].strip()
        print(f"{time.monotonic() - start:5.0f} s  {command}\n         {said}", flush=True)


def main(names: list[str]) -> None:
    """Run the toy blocks of the pages of these names, or of all pages."""
    number = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = list(toy_blocks(text)) if not names or page.name in names else []
        for commands in blocks:
            print(page.relative_to(CHECKOUT), flush=True)
            with tempfile.TemporaryDirectory() as folder:
                run_block(commands, Path(folder))
                missing = [file for file in files_to_open(text) if not (Path(folder) / file).is_file()]
            if missing:
                sys.exit(f"{page.name} names files that its commands did not write: {' '.join(missing)}")
            number += len(commands)
    print(f"all {number} commands ended well")


if __name__ == "__main__":
    main(sys.argv[1:])
