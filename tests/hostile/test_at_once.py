"""Two programs at once in one place: one works and the other says one line, or both work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
import torch

import main as training
import prepare
from engine.checkpoint import save_weights
from engine.recorded import RECORD, RECORD_FORMAT, read_record, record_file
from engine.training.state import load_training
from model import build_model
from model.weights import flat_key
from tables.authors import choose
from tests.files import CHECKOUT, write
from tests.hostile.children import start_child
from tests.test_resume import LAST, flags
from util.errors import UserError
from util.launch import command
from util.locks import only_one


def started(script: str, *argv: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(CHECKOUT / script), *map(str, argv)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def error_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("second", [pytest.param([], marks=pytest.mark.slow), ["--resume"]])
def test_two_trainings(toy: Path, tmp_path: Path, second: list[str]) -> None:
    first = started("main.py", *flags(toy, tmp_path, "--resume", "--episode", "4000"))
    lock = (tmp_path / LAST).with_name(f".{Path(LAST).name}.lock")
    deadline = time.monotonic() + 60
    while not (lock.exists() and (tmp_path / LAST).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(UserError) as raised:
        training.main(flags(toy, tmp_path, *second, "--episode", "4000"))
    line = str(raised.value)
    under_way = f"{tmp_path / LAST}: a training is under way there, by process {first.pid} on "
    assert line.startswith(under_way if second else f"{tmp_path / LAST}: an unfinished run; ")
    assert first.poll() is None
    first.terminate()
    assert first.wait(60) == 130
    assert not load_training(tmp_path / LAST).finished
    assert not lock.exists()


def test_two_toy_datasets_into_one_folder(tmp_path: Path) -> None:
    argv = ["toy", "--out", str(tmp_path / "toy"), "--train", "20", "--val", "5"]
    both = [start_child(lambda: command(lambda: prepare.main(argv))) for _ in range(2)]
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in both)
    assert codes in ([0, 0], [0, 2])
    assert len(list((tmp_path / "toy" / "JPEGImages").iterdir())) == 25
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_weights_that_two_record_are_both_recorded(tmp_path: Path) -> None:
    mine, others = choose(folds=(0, 1), dataset="pascal", method="ssp", backbone="resnet50", shot=1)
    write(tmp_path / mine.name, "weights")
    with only_one(tmp_path / RECORD, "the recording of weights"):
        thread = Thread(target=record_file, args=(tmp_path, mine.name, mine.drive))
        thread.start()
        thread.join(0.2)
        known = {others.name: {"drive": others.drive, "size": 1, "sha256": "0"}}
        write(tmp_path / RECORD, json.dumps({"format": RECORD_FORMAT, "files": known}))
    thread.join()
    assert set(read_record(tmp_path)) == {mine.name, others.name}
    assert not list(tmp_path.glob(".*"))


# Two programs started at once in one place, where they share what they write: a run's folder, masks, lists or weights.


def argv_of(name: str, toy: Path, weights: Path, place: Path) -> list[object]:
    """The script and the flags of a program that works in a place."""
    coco, fss, official = place / "COCO2014", place / "FSS-1000", place / "official.txt"
    few = ["--episodes", 4, "--seeds", 1, "--workers", 0, "--device", "cpu", "--results", place / "results"]
    train = ["main.py", *flags(toy, place / "out", "--episode", "4", "--test-episodes", "1")]
    return {
        "main": train,
        "main --resume": [*train, "--resume"],
        "test its folder": ["test.py", "--data-root", toy, "--checkpoint", (place / "out" / LAST).parent, *few],
        "coco --again": ["prepare.py", "coco", "--data-root", coco, "--again", "--authors", "link", "--workers", 2],
        "coco copy": ["prepare.py", "coco", "--data-root", coco, "--authors", "copy", "--workers", 0],
        "fss --splits": ["prepare.py", "fss", "--data-root", fss, "--splits", place, "--workers", 0],
        "fss --test-list": ["prepare.py", "fss", "--data-root", fss, "--test-list", official, "--workers", 0],
        "weights": ["prepare.py", "weights", "--from", weights.with_name("backbone.pth"), "--out", place, "--again"],
    }[name]


PAIRS = [
    ("main", "main --resume"),
    ("main --resume", "test its folder"),
    ("coco --again", "coco copy"),
    ("fss --splits", "fss --test-list"),
    ("weights", "weights"),
]
ALONE = {"test its folder": 2, "fss --test-list": 1}  # exit codes of those that do not end with 0 in an empty place
STRAY = (".ssp-tmp", ".ssp-partial", ".lock", ".previous", ".new")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained SSP, and beside it a backbone."""
    path = tmp_path_factory.mktemp("weights") / "ssp.pth"
    net = build_model("ssp", "resnet50")
    torch.save(net.state_dict(), path)
    save_weights(path.with_name("backbone.pth"), {flat_key(key): value for key, value in net.state_dict().items()})
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_pair(one: str, other: str, toy: Path, toy_coco: Path, toy_fss: Path, weights: Path, tmp_path: Path) -> None:
    """Each works, or says one line; one of two that do the same works; afterwards each works, and nothing strays."""
    shutil.copytree(toy_coco, tmp_path / "COCO2014")
    shutil.copytree(toy_fss, tmp_path / "FSS-1000")
    (tmp_path / "fss").symlink_to(toy_fss / "splits")
    (tmp_path / "official.txt").write_text((toy_fss / "splits" / "test.txt").read_text())
    both = [started(*map(str, argv_of(name, toy, weights, tmp_path))) for name in (one, other)]
    said = [process.communicate(timeout=300) for process in both]
    codes = [process.returncode for process in both]
    for name, code, (_, errors) in zip((one, other), codes, said, strict=True):
        assert code in (0, 2, ALONE.get(name, 0)), errors
        assert len(error_lines(errors)) == (code == 2), errors
        assert "Traceback" not in errors
    assert any(code == ALONE.get(name, 0) for name, code in zip((one, other), codes, strict=True)), said
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(STRAY)]
