"""The small form of benchmarks.photographs, on the toy set: tables, a second run, and the choice of rate and steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import photographs
from dataset.prepare.toy import make_pascal
from engine.evaluation.compare import compare_results
from engine.evaluation.result import find_results
from tests.files import TOY_SEED, OneLine
from tests.tiny import TINY

SMALL = ["--backbone", TINY, "--weights", "random", "--crop-size", "65", "--test-episodes", "40", "--steps", "1"]


@pytest.fixture(scope="module")
def measured(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("photographs")
    photographs.main([*SMALL, "--data-root", str(toy), "--folds", "0", "1", "--seeds", "0", "1", "--out", str(out)])
    return out


def test_tables(measured: Path) -> None:
    found = json.loads((measured / "photographs.json").read_text())
    results = find_results([measured / "random_frozen_ssp_seed1"])
    assert [result.setting.fold for result in results] == [0, 1]
    rows = {(row["way"], row["network"]): row["miou"] for row in found["rows"]}
    assert len(rows) == 6
    ssp = rows["frozen", "ssp"]
    assert [ssp[fold][1] for fold in "01"] == [result.miou for result in results]
    assert ssp["mean"] == pytest.approx([np.mean([ssp["0"][seed], ssp["1"][seed]]) for seed in (0, 1)])
    lines = (measured / "photographs.md").read_text().splitlines()
    assert len(lines) == 2 + 6 + 1 + 2 + 6
    assert len({line.count("|") for line in lines if line}) == 1


def test_differences(measured: Path) -> None:
    """Those of a fold and one seed are report.py --compare's; the mean's is that of the rows."""
    found = json.loads((measured / "photographs.json").read_text())
    of_network = {row["network"]: row["miou"] for row in found["rows"] if row["way"] == "trained"}
    gain = next(row for row in found["differences"] if row["way"] == "trained")
    assert gain["difference"] == "SSP less baseline"
    for column in ("0", "1", "mean"):
        expected = np.mean(of_network["ssp"][column]) - np.mean(of_network["baseline"][column])
        assert gain[column]["difference"] == pytest.approx(expected)
        assert gain[column]["low"] <= gain[column]["difference"] <= gain[column]["high"]
    first, second = (find_results([measured / f"random_trained_{name}_seed0"])[:1] for name in ("baseline", "ssp"))
    assert photographs.compare_cells(first, second) == compare_results(*first, *second).miou.difference


def test_a_second_run_does_nothing(toy: Path, measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {file: file.stat().st_mtime_ns for file in measured.rglob("*_*.*")}
    table = (measured / "photographs.md").read_text()
    photographs.main(
        [*SMALL, "--data-root", str(toy), "--folds", "0", "1", "--seeds", "0", "1", "--out", str(measured)]
    )
    assert "24 cells, 0 to run\n" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in measured.rglob("*_*.*")} == files
    assert (measured / "photographs.md").read_text() == table


def test_trained_with_one_support_and_tested_with_two(toy: Path, measured: Path, tmp_path: Path) -> None:
    out = shutil.copytree(measured, tmp_path / "out")
    cells = ["--folds", "1", "--seeds", "0", "--networks", "ssp", "--ways", "trained", "--shots", "1", "2"]
    argv = [*SMALL, "--data-root", str(toy), *cells, "--trained-shot", "1", "--out", str(out)]
    photographs.main(argv)
    one, two = json.loads((out / "photographs.json").read_text())["rows"]
    results = [result for result in find_results([out / "random_trained_ssp_seed0"]) if result.setting.fold == 1]
    assert {result.setting.shot: result.file.parent.name for result in results} == {1: "fold_1", 2: "tested_2shot"}
    miou = {result.setting.shot: [result.miou] for result in results}
    assert {row["shot"]: row["miou"]["1"] for row in (one, two)} == miou
    written = {result.file: result.file.stat().st_mtime_ns for result in results}
    photographs.main(argv)
    assert {file: file.stat().st_mtime_ns for file in written} == written


def test_other_flags_are_refused(toy: Path, measured: Path, one_line_error: OneLine) -> None:
    argv = [*SMALL, "--data-root", str(toy), "--folds", "0", "--seeds", "0", "--out", str(measured), "--steps", "2"]
    assert "--episode 8 (was 4)" in one_line_error(photographs.main, [*argv, "--ways", "trained"])


def test_the_choice_sees_base_classes_of_the_training_list_alone(tmp_path: Path) -> None:
    toy, out = tmp_path / "VOC2012", tmp_path / "out"
    make_pascal(toy, train=200, val=2, seed=TOY_SEED)
    argv = [*SMALL, "--data-root", str(toy), "--out", str(out), "--seeds", "0", "--networks", "refine"]
    photographs.main([*argv, "--choose", "--lr", "1e-2", "1e-3"])
    assert {path.name for path in out.iterdir()} == {"choice", "lr_0.01_1_steps", "lr_0.001_1_steps"}
    lists = {name: (out / f"choice/ImageSets/{name}.txt").read_text().split() for name in ("train", "val")}
    listed = (toy / "ImageSets/train.txt").read_text().split()
    assert set(lists["train"]) | set(lists["val"]) <= set(listed)
    for name, images in lists.items():
        assert images
        for image in images:
            shown = {*np.unique(np.asarray(Image.open(toy / f"SegmentationClassAug/{image}.png")))} - {0, 255}
            assert not shown & {1, 2, 3, 4, 5}
            assert bool(shown & {6, 7, 8, 9, 10}) == (name == "val")
    (file,) = (out / "lr_0.01_1_steps").rglob("*_*shot_*.json")
    result = json.loads(file.read_text())
    assert result["trained_with"]["lr"] == 0.01
    assert {int(cls) for cls in result["seeds"][0]["class_iou"]} - {0} <= {6, 7, 8, 9, 10}


def test_wrong_flags(tmp_path: Path, one_line_error: OneLine) -> None:
    argv = ["--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    refused = {
        "--package: name the file": [],
        "holds 0 files .pth; name one with --package": ["--package", str(tmp_path)],
        "--choose compares several": ["--weights", "random", "--lr", "1e-3", "1e-4"],
    }
    for says, flags in refused.items():
        assert says in one_line_error(photographs.main, [*argv, *flags])
