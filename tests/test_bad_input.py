"""Whatever is wrong with files and flags: one line that names it, exit code 2, and nothing half-written."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import main as training
import test as testing
from dataset import open_fold
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model import build_model
from tests.files import CHECKOUT, OneLine


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """SSP's keys and shapes, all zero, from one number in memory so that files stay small."""
    return {key: torch.zeros((), dtype=x.dtype).expand(x.shape) for key, x in build_model("ssp").state_dict().items()}


@pytest.fixture
def checkpoint(weights: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    info = {"dataset": "pascal", "fold": 0, "shot": 1, "refine": True, "base_classes": list(range(6, 21))}
    save_checkpoint(tmp_path / "given.ckpt", Checkpoint(weights, info))
    return tmp_path / "given.ckpt"


def assert_nothing_written(out: Path) -> None:
    assert [path for path in out.rglob("*") if path.is_file()] == []


# The data


def clear(folder: Path, suffix: str = "") -> None:
    for path in folder.glob(f"*{suffix}"):
        path.unlink()


def truncate_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shrink_all(folder: Path) -> None:
    for path in folder.iterdir():
        Image.new("RGB", (100, 90)).save(path)


def listed(root: Path, *names: str) -> None:
    for split in ("train", "val"):
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


LAST = "toy_00099"  # of the val list, and made a training image by the damages below

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no root": (shutil.rmtree, r"VOC2012: no such folder; the data root must be"),
    "empty lists": (listed, r"ImageSets/(train|val)\.txt: the list is empty"),
    "image missing": (
        lambda root: (root / "JPEGImages" / f"{LAST}.jpg").unlink(),
        rf"{LAST}\.jpg: no such image, but the list of pascal val names it",
    ),
    "images truncated": (
        lambda root: truncate_all(root / "JPEGImages"),
        r"JPEGImages/toy_\d+\.jpg: damaged or not an image, fetch it again",
    ),
    "mask in colour": (
        lambda root: Image.new("RGB", (129, 129), "#010203").save(root / "SegmentationClassAug" / f"{LAST}.png"),
        rf"SegmentationClassAug/{LAST}\.png: holds the colour #010203, which is none of VOC's",
    ),
    "other sizes": (
        lambda root: shrink_all(root / "JPEGImages"),
        r"SegmentationClassAug/toy_\d+\.png: mask of 129x129 pixels, image of 100x90 \(and \d+ more findings\); mend "
        r"it; prepare\.py verify lists all",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_data(
    toy_copy: Path, tmp_path: Path, quick: list[str], checkpoint: Path, one_line_error: OneLine, name: str
) -> None:
    damage, says = DAMAGES[name]
    damage(toy_copy)
    out = tmp_path / "out"
    few = ["--checkpoint", str(checkpoint), "--json", str(out / "r.json"), "--episodes", "2", "--workers", "0"]
    for main, flags in ((training.main, ["--out", str(out), *quick]), (testing.main, few)):
        assert re.search(says, one_line_error(main, ["--data-root", str(toy_copy), *flags]))
        assert_nothing_written(out)


def test_images_that_only_the_evaluation_opens(
    toy_copy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    """Headers are read before the run: whole ones of truncated images let it start."""
    for name in (toy_copy / "ImageSets" / "val.txt").read_text().split():
        path = toy_copy / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    flags = ["--data-root", str(toy_copy), "--out", str(tmp_path / "out"), *quick]
    assert ".jpg: damaged or not an image" in one_line_error(training.main, flags)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["resnet50_1shot.last"]


def large_enough(root: Path, split: str, cls: int) -> int:
    """Images of a list in which a class covers 2,048 pixels, counted afresh."""
    names = (root / "ImageSets" / f"{split}.txt").read_text().split()
    masks = (np.asarray(Image.open(root / "SegmentationClassAug" / f"{name}.png")) for name in names)
    return sum(int((mask == cls).sum() >= 2048) for mask in masks)


def class_name(root: Path, cls: int) -> str:
    return open_fold("pascal", root, 0).test.images.class_names[cls]


def test_a_novel_class_with_too_few_images(
    toy: Path, tmp_path: Path, quick: list[str], checkpoint: Path, one_line_error: OneLine
) -> None:
    have = large_enough(toy, "val", 1)
    expected = (
        f"error: pascal val: class 1 ({class_name(toy, 1)}) has {have} images with at least 2048 pixels of it, "
        "90-shot episodes need 91 (a query and its supports)"
    )
    flags = ["--data-root", str(toy), "--out", str(tmp_path / "out")]
    assert one_line_error(training.main, [*flags, *quick, "--shot", "90"]) == expected
    assert one_line_error(testing.main, [*flags, "--checkpoint", str(checkpoint), "--shot", "90"]) == expected
    assert_nothing_written(tmp_path / "out")


def test_a_base_class_with_too_few_images(
    toy_copy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    names = (toy_copy / "ImageSets" / "train.txt").read_text().split()
    masks = {name: np.asarray(Image.open(toy_copy / "SegmentationClassAug" / f"{name}.png")) for name in names}
    kept = [name for name in names if (masks[name] != 9).all()]
    kept.append(names[8])  # the nearest object of image n is of class n % 20 + 1
    (toy_copy / "ImageSets" / "train.txt").write_text("\n".join(kept))
    flags = ["--data-root", str(toy_copy), "--out", str(tmp_path / "out"), *quick]
    line = one_line_error(training.main, flags)
    has = f"pascal train: class 9 ({class_name(toy_copy, 9)}) has 1 images with at least 2048 pixels of it"
    assert f"{has}, 1-shot episodes need 2" in line
    assert_nothing_written(tmp_path / "out")


# The flags


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--batch-size 3", "--batch-size 3 is larger than --snapshot 2"),
        ("--snapshot 5", "--snapshot 5 is larger than --episode 4"),
        ("--method baseline --refine", "--refine belongs to --method ssp"),
        ("--learning-rate 1", "unrecognized arguments: --learning-rate 1"),
    ],
)
def test_wrong_flags(
    toy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine, flags: str, says: str
) -> None:
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), *quick, *flags.split()]
    assert one_line_error(training.main, argv).startswith(f"error: {says}")
    assert not (tmp_path / "out").exists()


def test_missing_pretrained_weights(toy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine) -> None:
    path = tmp_path / "resnet50.pth"
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), *quick, "--pretrained", str(path)]
    line = one_line_error(training.main, argv)
    assert line.startswith(f"error: {path}: no weights there: get them with prepare.py weights (timm's resnet50s.gluon")
    assert line.endswith("or start from random weights with --pretrained none")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written(
    toy: Path, tmp_path: Path, quick: list[str], checkpoint: Path, one_line_error: OneLine
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    argv = ["--data-root", str(toy), "--out", str(blocked / "out"), *quick]
    assert one_line_error(training.main, argv).startswith(f"error: cannot write to {blocked / 'out'}")
    argv = ["--data-root", str(toy), "--checkpoint", str(checkpoint), "--json", str(blocked / "r.json")]
    assert one_line_error(testing.main, argv).startswith(f"error: cannot write to {blocked}: ")
    assert blocked.read_text() == "mine"


# A loss that is not finite


def test_a_loss_that_is_not_finite_keeps_the_last_weights(
    toy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), *quick, "--lr", "1e30"]
    line = one_line_error(training.main, argv)
    found = re.match(
        r"error: the loss is (nan|inf) at step 2; try a smaller --lr than 1e\+30; best weights so far: (.*\.pth)$", line
    )
    assert found, line
    kept = Path(found[2])
    assert sorted(path.suffix for path in kept.parent.glob(f"{kept.stem}*")) == [".ckpt", ".pth"]
    assert all(torch.isfinite(value).all() for value in load_checkpoint(kept).state_dict.values())
    assert list(kept.parent.glob("*.json")) == []


def test_a_loss_that_is_not_finite_before_any_weights(
    toy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), *quick, "--snapshot", "4", "--lr", "1e30"]
    assert one_line_error(training.main, argv).endswith("best weights so far: none")
    assert_nothing_written(tmp_path / "out")


# The checkpoint


def refused(toy: Path, one_line_error: OneLine, path: Path, *flags: str) -> str:
    argv = ["--data-root", str(toy), "--checkpoint", str(path), "--episodes", "2", "--workers", "0", *flags]
    line = one_line_error(testing.main, argv)
    assert line.startswith(f"error: {path}: ")
    return line.removeprefix(f"error: {path}: ")


@pytest.mark.parametrize(("flag", "value"), [("--backbone", "resnet101"), ("--method", "baseline")])
def test_a_checkpoint_of_another_network(
    toy: Path, checkpoint: Path, one_line_error: OneLine, flag: str, value: str
) -> None:
    found = {"--backbone": "resnet50", "--method": "ssp"}[flag]
    line = refused(toy, one_line_error, checkpoint, flag, value)
    assert line == f"its {flag[2:]} is {found}, not {value}; leave {flag} out"


class Hostile:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_checkpoint(toy: Path, tmp_path: Path, one_line_error: OneLine, zipped: bool) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "the code ran"
    if zipped:
        torch.save({"state_dict": Hostile(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Hostile(trace)}))
    assert refused(toy, one_line_error, path, "--fold", "0").startswith("refused: ")
    assert not trace.exists()


def test_a_missing_checkpoint(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    assert refused(toy, one_line_error, tmp_path / "w.pth").startswith("no such checkpoint or folder")
    argv = ["--data-root", str(toy), "--out", str(tmp_path / "out"), "--fold", "2"]
    folder = tmp_path / "out" / "models" / "pascal" / "fold_2"
    assert one_line_error(testing.main, argv).startswith(f"error: {folder}: no such checkpoint or folder")
    assert not (tmp_path / "out").exists()


def test_a_process_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "main.py"), "--data-root", str(root), "--out", str(tmp_path / "out")],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {root}: no such folder; the data root must be VOC2012 or the folder that holds it\n"
    assert list(tmp_path.iterdir()) == []
