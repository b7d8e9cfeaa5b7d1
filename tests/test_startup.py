"""--help, wrong flags and missing folders are answered before torch is imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import model
from model.resnet import BLOCKS
from tests.files import CHECKOUT
from util import launch

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None  # whoever imports it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEEDED = {
    "main.py": ["--data-root", "{tmp}"],
    "test.py": ["--data-root", "{tmp}", "--checkpoint", "README.md"],  # a file, which is not read
    "vary.py": ["--data-root", "{tmp}", "--checkpoint", "README.md", "--vary", "bg_mix=0,1"],
    "predict.py": ["--checkpoint", "c.ckpt", "--support", "{tmp}/a.png", "--query", "{tmp}/b.png"],
    "export.py": ["--checkpoint", "{tmp}/c.ckpt", "--to", "{tmp}/to"],
    "report.py": ["{tmp}"],
}


def run(*argv: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT_TORCH, *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60)


@pytest.mark.parametrize("script", [*NEEDED, "reproduce.py"])
def test_help(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script}")


@pytest.mark.parametrize("script", [f"{name}.py" for name in launch.SCRIPTS])
def test_help_without_packages(script: str) -> None:
    """In a Python that has none but its own; -S leaves those of the project out."""
    command = [sys.executable, "-S", script, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {script}")


def test_other_commands_name_the_package_that_is_missing() -> None:
    command = [sys.executable, "-S", "report.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the package numpy is missing in ")


@pytest.mark.parametrize("script", NEEDED)
def test_a_wrong_flag(script: str, tmp_path: Path) -> None:
    done = run(script, *(text.format(tmp=tmp_path) for text in NEEDED[script]), "--shots", "1")
    assert done.returncode == 2
    assert done.stderr == f"error: unrecognized arguments: --shots 1 (see {script} --help)\n"


@pytest.mark.parametrize("script", NEEDED)
def test_a_missing_folder(script: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = run(script, *(text.format(tmp=nowhere) for text in NEEDED[script]))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert str(nowhere) in done.stderr


def test_the_names_of_the_backbones() -> None:
    assert tuple(BLOCKS) == model.BACKBONES


def test_what_a_package_exports() -> None:
    for package in (model, __import__("prediction", fromlist=["x"])):
        assert set(package.HOMES) <= set(package.__all__)
        for name in package.__all__:
            assert getattr(package, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            package.nothing  # noqa: B018
