"""reproduce.sh on the toy datasets, from weights that a server on this machine gives: fetched, tested, judged."""

from __future__ import annotations

import io
import json
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
import report
import reproduce as program
import test as testing
from engine.evaluation.result import find_results
from engine.recorded import RECORD
from model import build_model
from tables.authors import choose
from tables.tables import make_tables
from tables.verdict import verdicts
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


def reproduce(
    root: Path, splits: Path, server: Server, out: Path, *settings: str, more: list[str] = FEW
) -> list[str | Path]:
    python = f"PYTHON={sys.executable}"
    where = [
        f"DATA_ROOT={root}",
        f"SPLITS={splits}",
        f"MIRROR={server.url}",
        f"AUTHORS={out / 'authors'}",
        f"OUT={out}",
    ]
    return [CHECKOUT / "reproduce.sh", python, *where, *settings, "--", *more]


def run(words: list[str | Path]) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=1200)


def test_a_row_is_fetched_tested_and_judged_and_not_computed_twice(
    root: Path, splits: Path, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = reproduce(root, splits, server, out, "DATASET=coco", "BACKBONE=resnet50", "SHOT=1", "FOLDS=1")
    first = run(words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(
        "2 evaluations of the authors' weights on COCO-20i\n1 files of weights to fetch\nabout "
    )
    assert first.stdout.count("== ") == 2
    results = find_results([out])
    assert len(results) == 2
    assert {(r.protocol.name, r.setting.class_order, r.setting.refine, r.weights) for r in results} == {
        ("ssp", "contiguous", True, "authors"), ("hsnet", "interleaved", False, "authors")
    }  # fmt: skip
    assert all(warning.endswith("its episodes are not HSNet's") for r in results for warning in r.warnings)
    table = first.stdout.split("\n\n")[-1]
    assert table == verdicts(_coco(out)) + "\n"
    for result in results:
        assert f"{result.miou:.2f}" in table
    stamps = {r.file: r.file.stat().st_mtime_ns for r in results}
    fetched = len(server.paths)
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 evaluations of the authors' weights on COCO-20i, 2 are finished\n")
    assert again.stdout.split("\n\n")[-1] == table
    assert {r.file: r.file.stat().st_mtime_ns for r in find_results([out])} == stamps
    assert len(server.paths) == fetched


def _coco(out: Path) -> list:
    tables = make_tables(find_results([out]), "coco", 1, "resnet50", "authors")
    return [table._replace(rows=table.rows) for table in tables]


def test_the_numbers_are_those_of_test_py(root: Path, splits: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = reproduce(
        root, splits, server, out, "DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=ssp", "FOLDS=3"
    )
    done = run(words)
    assert done.returncode == 0, done.stderr
    (result,) = find_results([out / "results"])
    name = "pascal/resnet50_1shot_fold3_ssp.pth"
    own = testing.main(["--data-root", str(root), "--checkpoint", str(out / "authors" / name), *FEW])
    assert own["miou"] == result.miou  # of the record's setting: pascal, fold 3, refine
    assert result.setting.refine
    assert result.warnings == ()
    assert (out / "authors" / RECORD).is_file()
    shown = json.loads(result.file.read_text())
    assert shown["weights"] == "authors"


@pytest.mark.slow
def test_a_dead_link_is_named_and_does_not_stop_the_others(
    root: Path, splits: Path, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    name = "pascal/resnet50_1shot_fold1_baseline.pth"
    kept = server.files.pop(name)
    try:
        settings = ["DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=baseline", "FOLDS=0 1 2"]
        done = run(reproduce(root, splits, server, out, *settings))
    finally:
        server.files[name] = kept
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("failed: Pascal-5i, the paper's own protocol: Baseline 1-shot ResNet-50, fold 1: ")
    assert "answered 404 Not Found" in last
    assert {r.setting.fold for r in find_results([out])} == {0, 2}


def test_what_cannot_be_done_is_one_line_at_once(root: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    def line(*flags: str) -> str:
        return one_line_error(program.main, ["--data-root", str(root), "--out", str(tmp_path / "out"), *flags])

    assert "rows in HSNet's protocol need --splits" in line("--dataset", "coco")
    assert "no such row is published with weights; leave some flags out, or pass --train" in line("--dataset", "fss")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds none of VOC2012, COCO2014, FSS-1000" in line("--data-root", str(empty))


@pytest.mark.slow
def test_a_damaged_dataset_is_not_measured(toy_copy: Path, splits: Path, server: Server, tmp_path: Path) -> None:
    next((toy_copy / "SegmentationClassAug").glob("*.png")).write_bytes(b"no mask")
    out = tmp_path / "out"
    settings = ["DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=baseline", "FOLDS=0"]
    done = run(reproduce(toy_copy.parent, splits, server, out, *settings))
    assert done.returncode == 1
    assert "files of pascal are missing or damaged; mend them, or --no-verify" in done.stderr.splitlines()[-1]
    assert find_results([out]) == []


@pytest.mark.slow
def test_killed_and_started_again(root: Path, splits: Path, server: Server, tmp_path: Path) -> None:
    """Kill -9 in the middle: the next run computes what is missing, and its table is that of an undisturbed run."""
    settings = ["DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=ssp", "FOLDS=0 1 2"]
    out = tmp_path / "killed"
    process = subprocess.Popen(
        reproduce(root, splits, server, out, *settings), cwd=CHECKOUT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 200
    while not list((out / "results").glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {r.file: r.file.stat().st_mtime_ns for r in find_results([out])}
    assert 1 <= len(before) < 3
    done = run(reproduce(root, splits, server, out, *settings))
    assert done.returncode == 0, done.stderr
    after = {r.file: r.file.stat().st_mtime_ns for r in find_results([out])}
    assert len(after) == 3
    assert before.items() <= after.items()
    tables = report.main([str(out), "--weights", "authors", "--dataset", "pascal", "--shot", "1"])
    measured = [row for table in tables for row in table.rows if row.cells[0].measured is not None]
    assert len(measured) == 1


@pytest.mark.slow
def test_rows_are_trained_instead(root: Path, splits: Path, server: Server, tmp_path: Path) -> None:
    """A training for each protocol of coco, whose classes differ; the second time both are finished."""
    out = tmp_path / "out"
    quick = (
        "--pretrained none --crop-size 65 --episode 4 --snapshot 4 --batch-size 2 --test-episodes 2 --seeds 1 "
        "--workers 0 --device cpu"
    ).split()
    words = reproduce(
        root, splits, server, out, "DATASET=coco", "BACKBONE=resnet50", "SHOT=1", "FOLDS=1", "TRAIN=1", more=quick
    )
    first = run(words)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("2 trainings on COCO-20i\nabout ")
    results = [r for r in find_results([out]) if r.weights == "own"]
    kinds = {(r.protocol.name, r.setting.class_order, r.setting.refine) for r in results}
    assert {("ssp", "contiguous", True), ("hsnet", "interleaved", False)} <= kinds
    table = first.stdout.split("\n\n")[-1]
    assert [line.split()[:2] for line in table.splitlines() if "outside" in line or "within" in line] != []
    again = run(words)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("2 trainings on COCO-20i, 2 are finished\n")
    assert again.stdout.split("\n\n")[-1] == table


@pytest.mark.slow
def test_weights_that_changed_are_named_and_not_tested(
    root: Path, splits: Path, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = ["DATASET=pascal", "BACKBONE=resnet50", "SHOT=1", "METHOD=baseline", "FOLDS=0"]
    words = reproduce(root, splits, server, out, *settings)
    assert run(words).returncode == 0
    with (out / "authors" / "pascal" / "resnet50_1shot_fold0_baseline.pth").open("ab") as file:
        file.write(b"x")
    done = run(words)
    assert done.returncode == 1
    assert "has changed since it was fetched and checked" in done.stderr.splitlines()[-1]
