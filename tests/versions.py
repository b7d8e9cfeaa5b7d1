"""Run the programs and the tests below them with the lowest and the newest packages: `make versions`.

The lowest are those that requirements.txt names, on the oldest Python at hand; the newest are what pip finds, on the
newest Python at hand. "At hand" are python3.10, python3.11, ... in the PATH. A Python without ready packages (wheels)
is named in a line, and the next one is tried. Each environment, up to 6 GB, lies beside the project and is removed at
the end. In it run README's first look and the tests of TESTS; the table says what passed, and the exit code is 1 if
something failed. Only Python's own modules are imported: the Python that runs this needs no packages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from util.table import align_columns

CHECKOUT = Path(__file__).resolve().parents[1]
KINDS = ("lowest", "newest")
OLDEST = 10  # Python 3.10, as README says
YOUNGEST = 20  # beyond what there is
TESTS = ("tests/model", "tests/dataset", "tests/util")
TEST_PACKAGES = ("pytest>=8.0", "pyyaml>=6")
SHOWN = ("torch", "torchvision", "numpy", "pillow", "tqdm", "pycocotools")


def choose_packages(requirements: str, kind: str) -> list[str]:
    """What pip is asked for: the lines of requirements.txt, of kind "lowest" with == in place of >=."""
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    return [line.replace(">=", "==") for line in lines] if kind == "lowest" else lines


def pythons_at_hand() -> list[str]:
    """The commands python3.10, python3.11, ... that run, oldest first; a stand-in may be there that only complains."""
    names = [f"python3.{minor}" for minor in range(OLDEST, YOUNGEST)]
    found = [name for name in names if shutil.which(name)]
    return [name for name in found if subprocess.run([name, "--version"], capture_output=True).returncode == 0]


def install(python: str, packages: Sequence[str], folder: Path) -> str:
    """Install packages and those of the tests into a new environment; returns pip's error, or nothing."""
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    command = [folder / "bin" / "pip", "install", "--quiet", "--only-binary", ":all:", *packages, *TEST_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    errors = re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE)
    return (errors or [f"pip ended with {done.returncode}"])[-1] if done.returncode else ""


def installed_versions(python: Path) -> list[str]:
    """The version of Python, and those of SHOWN."""
    code = "import platform, sys; from importlib.metadata import version; "
    code += "print(platform.python_version(), *map(version, sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *SHOWN], check=True, capture_output=True, text=True).stdout.split()


def run_all(python: Path) -> list[str]:
    """The toy mIoU of the first look, and pytest's counts; "failed" where one ended with an error. Prints failures."""
    cells = []
    for words, wanted in (
        (["tests.toy_commands", "README.md"], r"^ +mIoU ([\d.]+)"),
        (["pytest", "-p", "no:cacheprovider", *TESTS], r"^(\d+ passed.*?) in "),
    ):
        done = subprocess.run([python, "-m", *words], cwd=CHECKOUT, capture_output=True, text=True)
        found = re.findall(wanted, done.stdout, re.MULTILINE)
        if done.returncode or not found:
            print(done.stdout + done.stderr)
        cells.append("failed" if done.returncode or not found else found[-1])
    return cells


def run_kind(kind: str, pythons: Sequence[str]) -> list[str]:
    """The row of the lowest or the newest packages, on the first of these Pythons that has wheels; [] if none has."""
    packages = choose_packages((CHECKOUT / "requirements.txt").read_text(encoding="utf-8"), kind)
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix=".venv-", dir=CHECKOUT) as folder:
            print(f"{kind}: installing for {python}, up to 6 GB, which are removed at the end", flush=True)
            if error := install(python, packages, Path(folder)):
                print(f"{kind}: {python} is left out: {error}", flush=True)
                continue
            inside = Path(folder) / "bin" / "python"
            return [kind, *installed_versions(inside), *run_all(inside)]
    print(f"{kind}: no Python at hand has these packages as wheels; looked for python3.{OLDEST} and newer in the PATH")
    return []


def main(kinds: Sequence[str]) -> int:
    """Print the table of these kinds; returns the exit code."""
    pythons = pythons_at_hand()
    print(f"Python at hand: {', '.join(pythons) or 'none'}", flush=True)
    found = [run_kind(kind, pythons if kind == "lowest" else pythons[::-1]) for kind in kinds]
    rows = [row for row in found if row]
    print(*align_columns([["", "Python", *SHOWN, "toy mIoU", "tests"], *rows]), sep="\n")
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or KINDS))
