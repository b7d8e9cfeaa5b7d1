"""all.sh, test.sh and hsnet_test.sh: what they run, with a stand-in for Python, and (slow) on the toy datasets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import main as training
import prepare
from tests.files import CHECKOUT

STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$1")" "${@:2}" "" >> "$LOG"
case "$*" in *"--fold $FAILS"*) echo "error: fold $FAILS" >&2; exit 2 ;; esac
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run in place of Python, in an empty folder: it logs its arguments and writes what --json names."""
    python = tmp_path / "stand-in"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(python))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("FAILS", "none")
    monkeypatch.chdir(tmp_path)
    return python


def run(script: str, *settings: str) -> subprocess.CompletedProcess:
    return subprocess.run([CHECKOUT / script, *settings], capture_output=True, text=True)


def logged() -> list[list[str]]:
    """The command lines since the last call."""
    log = Path(os.environ["LOG"])
    lines = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return [part.split("\n") for part in lines.split("\n\n") if part]


def values(command: list[str], *flags: str) -> tuple[str, ...]:
    return tuple(command[command.index(flag) + 1] for flag in flags)


@pytest.mark.parametrize("script", ["all.sh", "test.sh", "hsnet_test.sh"])
def test_usage(script: str) -> None:
    shown = run(script, "--help")
    assert shown.returncode == 0
    assert "DATA_ROOT" in shown.stdout
    assert "./all.sh DATASET" in shown.stdout or "./test.sh DATASET" in shown.stdout


@pytest.mark.usefixtures("stand_in")
def test_all_trains_the_folds_of_the_paper() -> None:
    assert run("all.sh").returncode == 0
    commands = logged()
    assert [values(command, "--fold") for command in commands] == [("0",), ("1",), ("2",), ("3",)]
    for command in commands:
        assert command[0] == "main.py"
        args = training.parse(command[1:])
        assert (args.dataset, args.backbone, args.shot, args.method, args.refine) == (
            "pascal", "resnet50", 1, "ssp", True,
        )  # fmt: skip
        assert args.resume


@pytest.mark.usefixtures("stand_in")
def test_settings_as_arguments_or_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBONE", "resnet101")
    monkeypatch.setenv("SHOT", "1")
    settings = ["DATASET=coco", "CLASS_ORDER=contiguous", "SHOT=5", "FOLDS=1 3", "OUT=a folder", "DATA_ROOT=b=c"]
    assert run("all.sh", *settings, "REFINE=0", "--", "--lr", "0.5").returncode == 0
    commands = logged()
    assert [values(command, "--fold") for command in commands] == [("1",), ("3",)]
    args = training.parse(commands[0][1:])
    assert (args.backbone, args.shot, args.class_order, args.lr, args.out, args.data_root, args.refine) == (
        "resnet101", 5, "contiguous", 0.5, "a folder", "b=c", False,
    )  # fmt: skip


@pytest.mark.usefixtures("stand_in")
def test_no_refinement_of_the_baseline_and_no_folds_of_fss() -> None:
    assert run("all.sh", "METHOD=baseline", "DATASET=fss").returncode == 0
    (command,) = logged()
    args = training.parse(command[1:])
    assert (args.method, args.refine, args.fold) == ("baseline", False, None)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("script", ["all.sh", "test.sh"])
def test_the_first_failure_stops(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    done = run(script)
    assert done.returncode == 2
    assert done.stderr == "error: fold 1\n"
    assert [values(command, "--fold") for command in logged()] == [("0",), ("1",)]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("setting", "said"),
    [("FOO=1", "FOO: no such setting"), ("--lr", "settings are NAME=VALUE"), ("REFINE=yes", "must be 1 or 0")],
)
def test_mistakes_are_one_line(setting: str, said: str) -> None:
    done = run("all.sh", setting)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("stand_in")
def test_what_is_not_set_is_left_to_the_checkpoint() -> None:
    assert run("test.sh", "FOLDS=2", "CHECKPOINT=f{fold}.ckpt", "--", "--episodes", "5").returncode == 0
    (command,) = logged()
    assert command == [
        *"test.py --data-root ../Datasets_SSP --out outdir --fold 2 --protocol ssp --results outdir/results".split(),
        *"--checkpoint f2.ckpt --episodes 5".split(),
    ]


def test_python_may_be_a_path_with_spaces_or_a_command(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = stand_in.with_name("a stand-in")
    stand_in.rename(spaced)
    assert run("test.sh", "FOLDS=0", f"PYTHON={spaced}").returncode == 0
    monkeypatch.setenv("CDPATH", "/:.")  # of which cd would tell
    assert run("test.sh", "FOLDS=0", "PYTHON=env A=B bash ./stand-in").returncode == 127
    spaced.rename(stand_in)
    assert run("test.sh", "FOLDS=0", "PYTHON=env A=B ./stand-in").returncode == 0
    assert len(logged()) == 2


@pytest.mark.usefixtures("stand_in")
def test_named_checkpoints_and_hsnets_protocol() -> None:
    done = run("hsnet_test.sh", "DATASET=coco", "SPLITS=lists", "CHECKPOINT=the authors/f{fold}.pth", "FOLDS=0 3")
    assert done.returncode == 0, done.stderr
    commands = logged()
    assert [values(c, "--checkpoint", "--protocol", "--splits") for c in commands] == [
        (f"the authors/f{fold}.pth", "hsnet", "lists") for fold in (0, 3)
    ]


@pytest.mark.usefixtures("stand_in")
def test_what_plain_weights_were_trained_on() -> None:
    done = run("test.sh", "DATASET=coco", "CHECKPOINT=f{fold}.pth", "TRAINED_ON=contiguous:{fold}", "FOLDS=1 2")
    assert done.returncode == 0, done.stderr
    told = [values(command, "--checkpoint", "--trained-on") for command in logged()]
    assert told == [("f1.pth", "contiguous:1"), ("f2.pth", "contiguous:2")]


ROOTS = {"pascal": "toy", "coco": "toy_coco", "fss": "toy_fss"}
TRAINING = (
    "--pretrained none --crop-size 65 --episode 8 --snapshot 4 --batch-size 2 --test-episodes 4 --seeds 2".split()
)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not any(path.parent.glob(path.name)):
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ROOTS)
def test_the_toy_datasets_twice(dataset: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Trained, killed in the second fold, gone on with, tested in both protocols: then nothing is computed again."""
    root = request.getfixturevalue(ROOTS[dataset])
    prepare.main(["splits", "--dataset", dataset, "--data-root", str(root), "--out", str(tmp_path / "splits")])
    settings = [f"DATASET={dataset}", f"DATA_ROOT={root}", f"OUT={tmp_path / 'out'}", f"PYTHON={sys.executable}"]
    order = ["CLASS_ORDER=interleaved"] if dataset == "coco" else []
    small = ["--workers", "0", "--device", "cpu"]
    everything = [
        ("all.sh", [*settings, *order, "--", *TRAINING, *small]),
        ("test.sh", [*settings, *order, "--", "--episodes", "4", "--seeds", "2", *small]),
        ("hsnet_test.sh", [*settings, f"SPLITS={tmp_path / 'splits'}", "--", "--episodes", "4", *small]),
    ]
    models = tmp_path / "out" / "models" / (f"{dataset}_interleaved" if dataset == "coco" else dataset)
    runs = [models] if dataset == "fss" else [models / f"fold_{fold}" for fold in range(4)]

    killed = subprocess.Popen(
        [CHECKOUT / "all.sh", *everything[0][1]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    wait_for(runs[min(1, len(runs) - 1)] / "*.last", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = [path for path in runs if list(path.glob("*.json"))]
    assert len(finished) < len(runs)

    first = [run(script, *settings) for script, settings in everything]
    assert [done.returncode for done in first] == [0, 0, 0], first
    assert first[0].stdout.count("finished before") == len(finished)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    results = [path for path in written if path.parent.name == "results"]
    assert len(results) == 2 * len(runs)
    for path in results:  # test.py's are main.py's
        result = json.loads(path.read_text())
        if result["protocol"] == "ssp":
            own = json.loads(Path(result["checkpoint"]).with_suffix(".json").read_text())
            assert (own["miou"], own["fold"]) == (result["miou"], result["fold"])
    again = [run(script, *settings) for script, settings in everything]
    assert [done.stdout.count("finished before") for done in again] == [len(runs)] * 3
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == written
