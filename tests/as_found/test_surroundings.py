"""What programs run in: devices, tasks of a cluster, other systems, notebooks, a user's own files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.as_found.cases import Case, Inputs, check
from tests.files import CHECKOUT, write


def run_on(inputs: Inputs, device: str) -> list[str]:
    data, out = str(inputs.toy), str(inputs.folder / "out")
    counts = "--fold 0 --episodes 2 --seeds 1 --workers 0".split()
    weights = str(inputs.checkpoint)
    return ["test.py", "--data-root", data, "--checkpoint", weights, "--out", out, *counts, "--device", device]


CASES = [Case("--device auto", lambda inputs: run_on(inputs, "auto"), 0, "mIoU ")]
if not torch.cuda.is_available():
    CASES.append(Case("--device 0", lambda inputs: run_on(inputs, "0"), 2, r"--device: '0' cannot be used: "))
if not torch.backends.mps.is_available():
    CASES.append(Case("--device mps", lambda inputs: run_on(inputs, "mps"), 2, "'mps' needs the GPU of a Mac; leave"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_surroundings(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)


def start(inputs: Inputs, environment: dict[str, str], checkout: Path = CHECKOUT) -> subprocess.Popen:
    script, *argv = run_on(inputs, "cpu")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, checkout / script, *argv],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_tasks_that_know_each_other_share_the_work(inputs: Inputs, free_port: int) -> None:
    """As srun starts them with torch's variables."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
    tasks = [start(inputs, {**shared, "RANK": rank}) for rank in "01"]
    (first, _), (second, _) = (task.communicate(timeout=100) for task in tasks)
    assert [task.returncode for task in tasks] == [0, 0]
    assert "mIoU " in first
    assert second == ""


TASKS = r"error: Slurm has 2 tasks, and this process does not join the others; start torchrun in one task a node, or "


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "error: WORLD_SIZE is set, but not by torchrun ("),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, TASKS),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, TASKS),
    ],
    ids=["no address", "second task", "first task"],
)
def test_tasks_that_do_not_know_each_other(inputs: Inputs, environment: dict[str, str], says: str) -> None:
    task = start(inputs, environment)
    _, printed = task.communicate(timeout=100)
    assert (task.returncode, printed.count("\n")) == (2, 1), printed
    assert printed.startswith(says)


@pytest.mark.parametrize("name", ["numpy", "random"])
def test_a_file_that_hides_a_module(inputs: Inputs, name: str) -> None:
    """Beside the scripts, where Python looks first."""
    checkout = inputs.folder / "checkout"
    for room in ("util", "model", "dataset", "engine"):
        shutil.copytree(CHECKOUT / room, checkout / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "test.py", checkout)
    write(checkout / f"{name}.py", "mine = 1\n")
    task = start(inputs, {"SSP_TRACEBACK": ""}, checkout)
    _, printed = task.communicate(timeout=100)
    assert task.returncode == 2
    assert printed == f"error: {checkout / name}.py: hides the module of this name, which is needed; rename your file\n"


WINDOWS = """
import argparse, pathlib, runpy, subprocess, sys, tempfile
sys.platform = "win32"
sys.path.insert(0, sys.argv[1])
runpy.run_path(f"{sys.argv[1]}/{sys.argv[2]}", run_name="__main__")
"""


@pytest.mark.parametrize("script", ["main.py", "predict.py", "prepare.py", "app.py"])
def test_on_windows(script: str) -> None:
    argv = [sys.executable, "-c", WINDOWS, str(CHECKOUT), script]
    done = subprocess.run(argv, capture_output=True, text=True)
    line = "error: runs on Linux, macOS or WSL (Windows Subsystem for Linux), not on Windows itself\n"
    assert (done.returncode, done.stderr) == (2, line)


NOTEBOOK = """
import runpy, signal, sys
checkout, script, *flags = sys.argv[1:]
def state():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)], sys.excepthook
before, sys.argv = state(), [script, *flags]
sys.path.insert(0, checkout)
try:
    runpy.run_path(f"{checkout}/{script}.py", run_name="__main__")
except SystemExit as end:
    print(end.code)
print(state() == before)
"""


@pytest.mark.parametrize(("flags", "code"), [(["--shots"], "2"), (["--help"], "0")])
def test_a_notebook_keeps_its_signals(flags: list[str], code: str) -> None:
    """%run of a script runs it so, whatever its end."""
    argv = [sys.executable, "-c", NOTEBOOK, str(CHECKOUT), "test", *flags]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [code, "True"]
