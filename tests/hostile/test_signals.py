"""Ctrl-C, SIGTERM and SIGHUP in any phase: one word, exit code 130, no traceback, no process left."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import main as training
import prepare
import test as testing
from model import build_model
from tests.files import CHECKOUT
from tests.hostile.children import in_child
from tests.test_resume import flags
from util.interrupts import SIGNALS, interrupts
from util.launch import command

Argv = Callable[[Path, Path, Path], list[object]]  # of the toy dataset, some weights, a folder to write


class Phase(NamedTuple):
    """Where signals come: in all processes of the run, before a function is called for the n-th time."""

    main: Callable[[list[str]], object]
    argv: Argv
    where: str  # module:function, or module:class.method
    number: int = 1


def trained(toy: Path, _: Path, out: Path) -> list[object]:
    return [*flags(toy, out, "--resume"), "--workers", "2"]


def evaluated(toy: Path, weights: Path, out: Path) -> list[object]:
    few = "--fold 0 --episodes 4 --seeds 1 --device cpu --workers 2".split()
    return ["--data-root", toy, "--checkpoint", weights, *few, "--visualize", out]


PHASES = {
    "flags": Phase(training.main, trained, "main:resolve_setting"),
    "masks read by processes": Phase(training.main, trained, "dataset.images:find_labels", 5),
    "images read by processes": Phase(training.main, trained, "dataset.samples:TrainingSamples.__getitem__", 2),
    "step": Phase(training.main, trained, "engine.training.trainer:Trainer.step", 3),
    "state": Phase(training.main, trained, "engine.training.run_files:save_training", 2),
    "evaluation": Phase(training.main, trained, "engine.evaluation.planned:group"),
    "test with processes": Phase(testing.main, evaluated, "dataset.images:ImageSet.load", 2),
    "painting": Phase(prepare.main, lambda toy, _, out: ["toy", "--out", out / "t"], "dataset.prepare.toy:scene", 3),
    "prepare's processes": Phase(
        prepare.main,
        lambda toy, _, out: ["splits", "--dataset", "pascal", "--data-root", toy, "--out", out, "--workers", "2"],
        "dataset.images:find_labels",
        5,
    ),
}
QUICK = {("painting", signal.SIGHUP), ("prepare's processes", signal.SIGINT)}
CASES = [
    pytest.param(phase, number, marks=() if (phase, number) in QUICK else pytest.mark.slow)
    for phase in PHASES
    for number in SIGNALS
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ssp.pth"
    torch.save(build_model("ssp", "resnet50").half().state_dict(), path)
    return path


def strike(where: str, number: int, sent: int, struck_once: Path) -> None:
    """Patch a function of this process and its children, so that its n-th call sends a signal to the whole group first.

    Of several processes the first one sends it, and makes a file: a later signal could meet a program that has ended.
    """
    module, _, name = where.partition(":")
    owner: Any = importlib.import_module(module)
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    name = name.rpartition(".")[2]
    kept, calls = getattr(owner, name), []

    def struck(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == number:
            with suppress(FileExistsError):
                struck_once.touch(exist_ok=False)
                os.killpg(0, sent)
        return kept(*arguments, **options)

    setattr(owner, name, struck)


def members(group: int) -> list[str]:
    """The processes of a group that are running."""
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            states.append(path.parent.name)
    return states


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="finds the processes in /proc")
@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize(("phase", "number"), CASES)
def test_a_signal(
    phase: str, number: int, toy: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = PHASES[phase]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that masks are read
    monkeypatch.setattr("util.processes.CHUNK", 8)
    argv = list(map(str, what.argv(toy, weights, tmp_path / "out")))
    groups = tmp_path / "group"

    def work() -> None:
        os.setsid()
        groups.write_text(str(os.getpid()))
        said = os.open(tmp_path / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        strike(what.where, what.number, number, tmp_path / "struck")
        command(lambda: what.main(argv))

    status = in_child(work)
    lines = (tmp_path / "said").read_text().splitlines()
    assert os.waitstatus_to_exitcode(status) == 130, lines
    assert lines[-1].startswith("interrupted"), lines
    assert sum(line.startswith("interrupted") for line in lines) == 1
    assert not [line for line in lines if "Traceback" in line or "Error" in line or "ignored" in line], lines
    group, deadline = int(groups.read_text()), time.monotonic() + 60
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert members(group) == []
    assert not list(tmp_path.rglob("*.ssp-tmp"))


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked.asked == 0
    finally:
        signal.signal(signal.SIGHUP, before)


IMPORTING = """
import os, runpy, sys
number, at, script = int(sys.argv[1]), sys.argv[2], sys.argv[3]

class Finder:
    def find_spec(name, *_):
        if name == at:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder)
sys.argv = [script, "--help"]
runpy.run_path(script, run_name="__main__")
"""
SCRIPTS = (
    "main.py",
    "test.py",
    "vary.py",
    "predict.py",
    "prepare.py",
    "report.py",
    "reproduce.py",
    "app.py",
    "demo.py",
)


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("script", [pytest.param(each, marks=pytest.mark.slow) for each in SCRIPTS[1:]] + ["main.py"])
def test_a_signal_while_modules_are_imported(script: str) -> None:
    argv = [sys.executable, "-c", IMPORTING, str(int(signal.SIGINT)), "numpy", script]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


WITHOUT = """
import runpy, sys
sys.modules[sys.argv[1]] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(("script", "package"), [("main.py", "numpy"), ("prepare.py", "torch")])
def test_a_missing_package_is_one_line(script: str, package: str) -> None:
    argv = [sys.executable, "-c", WITHOUT, package, script, "--help"]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: the package {package} is missing in {sys.executable}: make install")
    assert done.stderr.count("\n") == 1
