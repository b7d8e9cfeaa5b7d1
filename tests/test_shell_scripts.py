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
import reproduce
from dataset.pascal import Pascal
from tests.files import CHECKOUT, OneLine

STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$1")" "${@:2}" "" >> "$LOG"
[ -z "$GPUS" ] || echo "sees $CUDA_VISIBLE_DEVICES"
case "$*" in *"--fold $FAILS"*) echo "error: fold $FAILS" >&2; exit 5 ;; esac
"""


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run in place of main.py's and test.py's Python, in an empty folder: it logs its arguments."""
    python = tmp_path / "stand-in"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(python))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
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


def commands(script: str, *settings: str) -> list[list[str]]:
    """What a script runs; script: the name that it passes on to reproduce.py."""
    reproduce.main([script, *settings])
    return logged()


def values(command: list[str], *flags: str) -> tuple[str, ...]:
    return tuple(command[command.index(flag) + 1] for flag in flags)


@pytest.mark.parametrize(
    ("script", "names"),
    [("all.sh", "REFINE"), ("test.sh", "TRAINED_ON"), ("hsnet_test.sh", "CHECKPOINT"), ("reproduce.sh", "MIRROR")],
)
def test_usage(script: str, names: str) -> None:
    shown = run(script, "--help")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert {line.split()[0] for line in lines if line[:1].isupper()} >= {"DATASET", "DATA_ROOT", "FOLDS", names}
    assert f"    ./{script} DATA" in shown.stdout


def test_all_trains_the_folds_of_the_paper() -> None:
    done = run("all.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"== training, fold {fold} ==\n" for fold in range(4))
    found = logged()
    assert [values(command, "--fold") for command in found] == [("0",), ("1",), ("2",), ("3",)]
    for command in found:
        assert command[0] == "main.py"
        args = training.parse(command[1:])
        assert (args.dataset, args.backbone, args.shot, args.method, args.refine, args.resume) == (
            "pascal", "resnet50", 1, "ssp", True, True,
        )  # fmt: skip


def test_settings_as_arguments_or_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBONE", "resnet101")
    monkeypatch.setenv("SHOT", "1")
    settings = ["DATASET=coco", "CLASS_ORDER=contiguous", "SHOT=5", "FOLDS=1 3", "OUT=a folder", "DATA_ROOT=b=c"]
    done = run("all.sh", *settings, "REFINE=0", "METHOD=", "--", "--lr", "0.5")
    assert done.returncode == 0, done.stderr
    found = logged()
    assert [values(command, "--fold") for command in found] == [("1",), ("3",)]
    args = training.parse(found[0][1:])
    assert (args.backbone, args.shot, args.class_order, args.lr, args.out, args.data_root, args.refine) == (
        "resnet101", 5, "contiguous", 0.5, "a folder", "b=c", False,
    )  # fmt: skip


def test_no_refinement_of_the_baseline_and_no_folds_of_fss() -> None:
    (command,) = commands("all.sh", "METHOD=baseline", "DATASET=fss")
    args = training.parse(command[1:])
    assert (args.method, args.refine, args.fold) == ("baseline", False, None)


@pytest.mark.parametrize("folds", [(0, 1), (0, 1, 2, 3, 4)])
def test_the_folds_are_the_datasets(folds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pascal, "folds", folds)
    for script in ("all.sh", "test.sh"):
        assert [values(command, "--fold") for command in commands(script)] == [(str(fold),) for fold in folds]


@pytest.mark.parametrize("script", ["all.sh", "test.sh"])
def test_the_first_failure_stops(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    done = run(script)
    assert (done.returncode, done.stderr) == (5, "error: fold 1\n")
    assert [values(command, "--fold") for command in logged()] == [("0",), ("1",)]


def test_a_fold_on_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that fails does not stop the others, and the exit code tells of it."""
    monkeypatch.setenv("GPUS", "5 2,3")
    monkeypatch.setenv("FAILS", "1")
    done = run("all.sh", "--", "--lr", "0.5")
    assert done.returncode == 5
    assert sorted(done.stderr.splitlines()) == [
        "failed: training, fold 1: exit code 5", "training, fold 1: error: fold 1",
    ]  # fmt: skip
    found = logged()
    assert sorted(values(command, "--fold", "--device", "--lr") for command in found) == [
        (str(fold), "cuda", "0.5") for fold in range(4)
    ]
    lines = done.stdout.splitlines()
    for fold in range(4):
        (gpu,) = (gpu for gpu in ("5", "2,3") if f"== training, fold {fold}, on GPU {gpu} ==" in lines)
        assert f"training, fold {fold}: sees {gpu}" in lines


SLEEPING = """#!/usr/bin/env bash
trap 'echo stopped; exit 130' INT TERM
touch "$LOG.$CUDA_VISIBLE_DEVICES"
for _ in {1..600}; do sleep 0.1; done
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_folds_of_all_gpus(
    number: int, stand_in: Path, tmp_path: Path, signals_arrive: None
) -> None:
    """Ctrl-C, which a terminal sends to all, and SIGTERM, which only the script gets; no other fold is begun."""
    stand_in.write_text(SLEEPING)
    process = subprocess.Popen(
        [CHECKOUT / "all.sh", "GPUS=0 1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while len(list(tmp_path.glob("log.*"))) < 2:
        time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "interrupted; the same command goes on\n"
    lines = sorted(out.splitlines())
    assert [line.partition(", on GPU")[0] for line in lines] == [
        "== training, fold 0", "== training, fold 1", "training, fold 0: stopped", "training, fold 1: stopped",
    ]  # fmt: skip


WHILE_STARTED = """
import os, signal, subprocess, sys, time
from tables import shell


class Popen(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)


subprocess.Popen = Popen
shell.run_program(["sleep", "60"]) if sys.argv[1] == "alone" else shell.run_on_gpus([("one", ["sleep", "60"])], "0")
"""


@pytest.mark.parametrize("way", ["alone", "on GPUs"])
def test_a_signal_while_a_program_is_started_reaches_it(way: str, signals_arrive: None) -> None:
    command = [sys.executable, "-c", WHILE_STARTED, way]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=30)
    assert done.stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["all.sh", "FOO=1"], "FOO: no such setting; there are DATASET DATA_ROOT "),
        (["all.sh", "CHECKPOINT=x"], "CHECKPOINT: no such setting"),
        (["test.sh", "--lr", "1"], "--lr: settings are NAME=VALUE, and flags of the Python script come after --"),
        (["test.sh", "REFINE=yes"], "REFINE=yes: must be 1 or 0"),
        (["reproduce.sh", "DATASET=voc"], "argument --dataset: invalid choice: 'voc'"),
        (["reproduce.sh", "TRAIN=1", "FOLDS=7"], "argument --folds: "),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_line(words: list[str], says: str, one_line_error: OneLine) -> None:
    assert one_line_error(reproduce.main, words).startswith(f"error: {says}")
    assert logged() == []


def test_what_is_not_set_is_left_to_the_checkpoint() -> None:
    (command,) = commands("test.sh", "FOLDS=2", "OUT=", "CHECKPOINT=f{fold}.ckpt", "--", "--episodes", "5")
    assert command == [
        *"test.py --data-root ../Datasets_SSP --out outdir --checkpoint f2.ckpt --fold 2".split(),
        *"--results outdir/results --episodes 5".split(),
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


@pytest.mark.parametrize("launcher", ["{python}", "{python} -u", "env A=B {python}", "torchrun --nproc-per-node 4"])
def test_the_python_of_the_driver(launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of PYTHON, also where none is in the PATH; of torchrun the one there."""
    named, other = tmp_path / "named" / "python3", tmp_path / "path" / "python"
    for python in (named, other):
        python.parent.mkdir()
        python.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" {python.parent.name} "${{@:2}}"\n')
        python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    monkeypatch.setenv("VIRTUAL_ENV", "active")
    done = run("all.sh", "SHOT=5", f"PYTHON={launcher.format(python=named)}")
    driver = "path" if "torchrun" in launcher else "named"
    assert done.stdout.splitlines()[:3] == [driver, "all.sh", "SHOT=5"]


def test_hsnets_protocol_and_checkpoints_of_each_fold() -> None:
    settings = ["DATASET=coco", "SPLITS=lists", "CHECKPOINT=the authors/f{fold}.pth", "TRAINED_ON=contiguous:{fold}"]
    done = run("hsnet_test.sh", *settings, "FOLDS=0 3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("== testing, fold 0, protocol hsnet ==\n")
    flags = ("--checkpoint", "--trained-on", "--protocol", "--splits")
    assert [values(command, *flags) for command in logged()] == [
        (f"the authors/f{fold}.pth", f"contiguous:{fold}", "hsnet", "lists") for fold in (0, 3)
    ]


ROOTS = {"pascal": "toy", "coco": "toy_coco", "fss": "toy_fss"}
TRAINING = (
    "--pretrained none --crop-size 65 --episode 8 --snapshot 4 --batch-size 2 --test-episodes 4 --seeds 2".split()
)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ROOTS)
def test_the_toy_datasets_twice(dataset: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Trained and tested in both protocols; then nothing is computed again."""
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

    first = [run(script, *settings) for script, settings in everything]
    assert [done.returncode for done in first] == [0, 0, 0], first
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
