"""Two programs at once in one place: one works and the other says one line, or both work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.training.state import load_training
from tests.files import CHECKOUT
from tests.test_resume import LAST, flags


def started(script: str, *argv: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(CHECKOUT / script), *map(str, argv)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("second", [pytest.param([], marks=pytest.mark.slow), ["--resume"]])
def test_two_trainings(toy: Path, tmp_path: Path, second: list[str]) -> None:
    first = started("main.py", *flags(toy, tmp_path, "--resume", "--episode", "400"))
    lock = (tmp_path / LAST).with_name(f".{Path(LAST).name}.lock")
    deadline = time.monotonic() + 60
    while not (lock.exists() and (tmp_path / LAST).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    other = started("main.py", *flags(toy, tmp_path, *second, "--episode", "400"))
    _, said = other.communicate(timeout=120)
    assert other.returncode == 2
    (line,) = error_lines(said)
    under_way = f"error: {tmp_path / LAST}: a training is under way there, by process {first.pid} on "
    assert line.startswith(under_way if second else f"error: {tmp_path / LAST}: an unfinished run; ")
    assert first.poll() is None
    first.terminate()
    assert first.wait(60) == 130
    assert not load_training(tmp_path / LAST).finished
    assert not lock.exists()


def test_two_toy_datasets_into_one_folder(tmp_path: Path) -> None:
    flags = ["toy", "--out", tmp_path / "toy", "--train", 30, "--val", 10]
    both = [started("prepare.py", *flags) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2]), said
    assert sum(len(error_lines(err)) for _, err in said) == codes.count(2)
    assert len(list((tmp_path / "toy" / "JPEGImages").iterdir())) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.slow
def test_two_tests_into_one_folder_of_results(toy: Path, tmp_path: Path) -> None:
    train = started("main.py", *flags(toy, tmp_path / "out", "--resume"))
    train.communicate(timeout=120)
    assert train.returncode == 0
    argv = ["--data-root", toy, "--checkpoint", (tmp_path / "out" / LAST).parent, "--results", tmp_path / "results"]
    both = [started("test.py", *argv, "--episodes", 4, "--workers", 0, "--device", "cpu") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (result,) = (tmp_path / "results").iterdir()
    assert json.loads(result.read_text())["episodes"] == 4
