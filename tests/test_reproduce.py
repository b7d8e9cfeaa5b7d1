"""reproduce.sh on the toy datasets, from weights that a server on this machine gives: fetched, tested, judged."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import prepare
import reproduce as program
import test as testing
from engine.evaluation.result import find_results
from engine.recorded import RECORD
from model import build_model
from tables.authors import choose, provide
from tables.tables import make_tables
from tables.text import verdicts
from tests.files import CHECKOUT, OneLine
from tests.server import Server, serving

pytest.importorskip("gdown")
FEW = ["--episodes", "3", "--seeds", "2", "--device", "cpu", "--workers", "0"]


@pytest.fixture(scope="module")
def root(toy: Path, toy_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy Pascal and the toy COCO."""
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "VOC2012").symlink_to(toy)
    (folder / "COCO2014").symlink_to(toy_coco)
    return folder


@pytest.fixture(scope="module")
def splits(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists in HSNet's formats, made from the masks of the toy COCO."""
    folder = tmp_path_factory.mktemp("splits")
    prepare.main(["splits", "--dataset", "coco", "--data-root", str(root), "--out", str(folder), "--workers", "0"])
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """All 48 files, random weights of each method and backbone."""
    with serving() as running:
        for method in ("ssp", "baseline"):
            for backbone in ("resnet50", "resnet101"):
                torch.manual_seed(0)
                file = io.BytesIO()
                torch.save(build_model(method, backbone).half().state_dict(), file)
                for weights in choose(method=method, backbone=backbone):
                    running.files[weights.name] = file.getvalue()
        yield running


@pytest.fixture
def arguments(root: Path, splits: Path, server: Server, tmp_path: Path) -> list[str]:
    """The settings of reproduce.sh that are the same for all tests, but for PYTHON."""
    out = tmp_path / "out"
    where = {"DATA_ROOT": root, "SPLITS": splits, "MIRROR": server.url, "AUTHORS": out / "authors", "OUT": out}
    return [f"{name}={value}" for name, value in where.items()]


def command(arguments: list[str], settings: str, more: list[str] = FEW) -> list[str | Path]:
    """reproduce.sh with further settings, such as "SHOT=1 FOLDS=0,1"."""
    words = [word.replace(",", " ") for word in settings.split()]
    return [CHECKOUT / "reproduce.sh", f"PYTHON={sys.executable}", *arguments, *words, "--", *more]


def run(words: list[str | Path]) -> subprocess.CompletedProcess:
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return done


def stamps(out: Path) -> dict[Path, int]:
    return {result.file: result.file.stat().st_mtime_ns for result in find_results([out])}


def test_a_row_is_fetched_tested_and_judged_and_not_computed_twice(
    arguments: list[str], root: Path, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = command(arguments, "DATASET=coco BACKBONE=resnet50 SHOT=1 FOLDS=1")
    first = run(words)
    assert first.stdout.startswith(
        "2 evaluations of the authors' weights on COCO-20i\n1 files of weights to fetch\nabout "
    )
    assert first.stdout.count("== ") == 2
    results = {result.protocol.name: result for result in find_results([out])}
    assert {name: (r.setting.class_order, r.setting.refine, r.weights) for name, r in results.items()} == {
        "ssp": ("contiguous", True, "authors"), "hsnet": ("interleaved", False, "authors")
    }  # fmt: skip
    assert all(warning.endswith("its episodes are not HSNet's") for r in results.values() for warning in r.warnings)
    assert (out / "authors" / RECORD).is_file()
    wanted = {"dataset": "coco", "shot": 1, "backbone": "resnet50"}
    table = first.stdout.split("\n\n")[-1]
    assert table == verdicts(make_tables(find_results([out]), "authors", **wanted)) + "\n"
    assert all(f"{result.miou:.2f}" in table for result in results.values())
    checkpoint = str(out / "authors" / "coco" / "resnet50_1shot_fold1_ssp.pth")  # of which its record tells the rest
    order = ["--class-order", "contiguous"]
    own = testing.main(["--data-root", str(root), "--checkpoint", checkpoint, *order, *FEW])
    assert own["miou"] == results["ssp"].miou
    before, fetched = stamps(out), len(server.paths)
    again = run(words)
    assert again.stdout.startswith("2 evaluations of the authors' weights on COCO-20i, 2 are finished\n")
    assert again.stdout.split("\n\n")[-1] == table
    assert (stamps(out), len(server.paths)) == (before, fetched)


def test_a_cell_that_fails_does_not_stop_the_others(
    arguments: list[str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A dead link, a file that has changed, a test that fails; then a dataset that is damaged."""
    programs: list[str] = []
    codes = {"prepare.py": 0, "--fold 3": 2}

    def run_program(words: list[str]) -> int:
        programs.append(" ".join(words))
        return next((code for part, code in codes.items() if part in programs[-1]), 0)

    monkeypatch.setattr(program, "run_program", run_program)
    monkeypatch.setattr(program, "describe_work", lambda *_: [])
    names = [f"pascal/resnet50_1shot_fold{fold}_baseline.pth" for fold in range(4)]
    (weights,) = choose((2,), dataset="pascal", method="baseline", shot=1, backbone="resnet50")
    provide(tmp_path / "out" / "authors", weights, server.url)
    with (tmp_path / "out" / "authors" / names[2]).open("ab") as file:
        file.write(b"x")
    monkeypatch.delitem(server.files, names[1])

    def failed() -> list[str]:
        programs.clear()
        with pytest.raises(SystemExit, match="1"):
            program.main(
                ["reproduce.sh", *arguments, "DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=baseline"]
            )
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]

    start = "failed: Pascal-5i, the paper's own protocol: Baseline 1-shot ResNet-50, fold"
    dead, changed, test = failed()
    assert dead.startswith(f"{start} 1: ")
    assert "answered 404 Not Found" in dead
    assert changed.startswith(f"{start} 2: ")
    assert "has changed since it was fetched and checked" in changed
    assert test == f"{start} 3: test.py ended with exit code 2, for the reason above"
    assert ["prepare.py" in words for words in programs] == [True, False, False]  # folds 0 and 3 are tested
    codes["prepare.py"] = 1
    assert failed() == [
        f"{start} {fold}: files of pascal are missing or damaged; mend them, or --no-verify" for fold in range(4)
    ]
    assert len(programs) == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--dataset", "coco"], "rows in HSNet's protocol need --splits"),
        (["--dataset", "fss"], "no such row is published with weights; leave some flags out, or pass --train"),
        (["--data-root", "."], ".: holds none of VOC2012, COCO2014, FSS-1000"),
        (["--folds", "0", "7"], "argument --folds: invalid choice: 7"),
    ],
)
def test_what_cannot_be_done_is_one_line_at_once(
    flags: list[str], says: str, root: Path, tmp_path: Path, one_line_error: OneLine
) -> None:
    line = one_line_error(program.main, ["--data-root", str(root), "--out", str(tmp_path / "out"), *flags])
    assert line.startswith(f"error: {says}")


@pytest.mark.slow
def test_killed_and_started_again(arguments: list[str], tmp_path: Path) -> None:
    """Kill -9 in the middle: the next run computes what is missing, and its table is that of an undisturbed run."""
    out = tmp_path / "out"
    words = command(arguments, "DATASET=pascal BACKBONE=resnet50 SHOT=1 METHOD=ssp FOLDS=0,1,2")
    process = subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not list((out / "results").glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = stamps(out)
    assert 1 <= len(before) < 3
    run(words)
    after = stamps(out)
    assert len(after) == 3
    assert before.items() <= after.items()
    tables = make_tables(find_results([out]), "authors", dataset="pascal", shot=1)
    assert [cell.measured is not None for table in tables for row in table.rows for cell in row.cells].count(True) == 3


@pytest.mark.slow
def test_rows_are_trained_instead(arguments: list[str], tmp_path: Path) -> None:
    """A training for each protocol of coco, whose classes differ; the second time both are finished."""
    quick = (
        "--pretrained none --crop-size 65 --episode 4 --snapshot 4 --batch-size 2 --test-episodes 2 --seeds 1 "
        "--workers 0 --device cpu"
    ).split()
    words = command(arguments, "DATASET=coco BACKBONE=resnet50 SHOT=1 FOLDS=1 TRAIN=1", quick)
    first = run(words)
    assert first.stdout.startswith("2 trainings on COCO-20i\nabout ")
    results = [r for r in find_results([tmp_path / "out"]) if r.weights == "own"]
    kinds = {(r.protocol.name, r.setting.class_order, r.setting.refine) for r in results}
    assert {("ssp", "contiguous", True), ("hsnet", "interleaved", False)} <= kinds
    table = first.stdout.split("\n\n")[-1]
    assert any("other data" in line for line in table.splitlines())
    again = run(words)
    assert again.stdout.startswith("2 trainings on COCO-20i, 2 are finished\n")
    assert again.stdout.split("\n\n")[-1] == table
