"""prepare.py: what each command makes, that a second run changes nothing, and that a killed one is gone on with."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import prepare
from dataset import open_fold, open_part
from dataset.hsnet import is_generated
from dataset.prepare.coco_masks import read_instances
from dataset.prepare.toy import COCO_CATEGORY_IDS
from model import build_model
from tests.engine.test_checkpoint import assert_landed, constants, flat, imagenet, torchvision
from tests.files import CHECKOUT, OneLine, write
from util.files import temporary_name
from util.launch import command


def run(*flags: object) -> None:
    prepare.main([str(flag) for flag in flags])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """What would tell that a file was written anew."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def test_a_command_is_required(one_line_error: OneLine) -> None:
    expected = f"error: the following arguments are required: {prepare.COMMANDS} (see "
    assert one_line_error(prepare.main, []).startswith(expected)
    assert "invalid choice: 'voc'" in one_line_error(prepare.main, ["voc"])
    for name in ("coco", "pascal", "fss", "verify"):
        assert "arguments are required: --data-root" in one_line_error(prepare.main, [name])


# coco


@pytest.fixture
def bare(toy_coco_copy: Path) -> Path:
    """The toy dataset as it is before prepare.py: images and annotations, no masks, no lists."""
    for split in ("train", "val"):
        shutil.rmtree(toy_coco_copy / "annotations" / f"{split}2014")
        (toy_coco_copy / "ImageSets" / f"{split}.txt").unlink()
    return toy_coco_copy


@pytest.mark.parametrize("above", [False, True])
def test_coco_from_annotations_to_folds(
    bare: Path, toy_coco: Path, capsys: pytest.CaptureFixture[str], above: bool
) -> None:
    run("coco", "--data-root", bare.parent if above else bare)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if not line.startswith("reading ")] == [
        f"{bare / 'annotations' / 'train2014'}: 40 masks made, 0 were there",
        f"{bare / 'ImageSets' / 'train.txt'}: 40 images",
        f"{bare / 'annotations' / 'val2014'}: 40 masks made, 0 were there",
        f"{bare / 'ImageSets' / 'val.txt'}: 40 images",
    ]
    assert contents(bare) == contents(toy_coco)
    fold = open_fold("coco", bare, 0, "contiguous")
    assert list(fold.test.images.ids) == [f"COCO_val2014_{number:012d}" for number in range(40, 80)]
    assert fold.test.images.load(fold.test.images.ids[0])[1].shape == (129, 129)


def test_a_second_run_makes_no_mask(toy_coco_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [toy_coco_copy / "annotations" / f"{split}2014" for split in ("train", "val")]
    before = contents(toy_coco_copy), [times(folder) for folder in folders]
    run("coco", "--data-root", toy_coco_copy)
    printed = capsys.readouterr().out
    for folder in folders:
        assert f"{folder}: 0 masks made, 40 were there\n" in printed
    assert (contents(toy_coco_copy), [times(folder) for folder in folders]) == before


def test_only_missing_masks_are_made(toy_coco: Path, toy_coco_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy_coco_copy / "annotations" / "train2014"
    missing = [f"COCO_train2014_{number:012d}.png" for number in (0, 17, 39)]
    before = times(folder)
    for name in missing:
        (folder / name).unlink()
    run("coco", "--data-root", toy_coco_copy, "--split", "train")
    assert f"{folder}: 3 masks made, 37 were there\n" in capsys.readouterr().out
    assert contents(toy_coco_copy) == contents(toy_coco)
    assert {name for name, stamp in times(folder).items() if before[name] != stamp} == set(missing)


def test_masks_are_made_again_when_asked_for(
    toy_coco: Path, toy_coco_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy_coco_copy / "annotations" / "val2014"
    other = folder / "COCO_val2014_000000000050.png"
    other.write_bytes(b"another rule's mask")
    run("coco", "--data-root", toy_coco_copy)
    assert other.read_bytes() == b"another rule's mask"
    before = times(folder)
    run("coco", "--data-root", toy_coco_copy, "--again")
    assert f"{folder}: 40 masks made, 0 were there\n" in capsys.readouterr().out
    assert contents(toy_coco_copy) == contents(toy_coco)
    assert not set(times(folder).values()) & set(before.values())


def test_one_split_alone(bare: Path) -> None:
    (bare / "annotations" / "instances_train2014.json").unlink()
    run("coco", "--data-root", bare, "--split", "val")
    assert not (bare / "annotations" / "train2014").exists()
    assert not (bare / "ImageSets" / "train.txt").exists()
    assert len(open_part("coco", bare, "test", 0, "contiguous").images.ids) == 40


def test_workers_make_the_same_masks(bare: Path, toy_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("util.processes.CHUNK", 8)  # else there are too few images for two
    run("coco", "--data-root", bare, "--workers", 2)
    assert contents(bare) == contents(toy_coco)


@pytest.mark.parametrize("file", ["annotations/train2014/COCO_train2014_000000000003.png", "ImageSets/train.txt"])
def test_what_a_killed_run_left_is_removed(toy_coco: Path, toy_coco_copy: Path, file: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    path = toy_coco_copy / file
    write(path.with_name(temporary_name(path.name, dead.pid)), "half")
    run("coco", "--data-root", toy_coco_copy)
    assert contents(toy_coco_copy) == contents(toy_coco)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_the_authors_layout(bare: Path, tmp_path: Path, how: str) -> None:
    """Read on its own, in another folder, it is the same dataset."""
    run("coco", "--data-root", bare, "--authors", how)
    assert (bare / "train_coco" / "JPEGImages").is_symlink() == (how == "link")
    alone = tmp_path / "theirs"
    alone.mkdir()
    for split in ("train", "val"):
        (alone / f"{split}_coco").symlink_to(bare / f"{split}_coco")
    shutil.copytree(bare / "ImageSets", alone / "ImageSets", ignore=shutil.ignore_patterns("train.txt", "val.txt"))
    for order in ("contiguous", "interleaved"):
        ours, theirs = open_fold("coco", bare, 1, order), open_fold("coco", alone, 1, order)
        for own, other in zip(ours, theirs, strict=True):
            assert other.images.ids == own.images.ids
            assert other.classes == own.classes
            assert other.images.masks.name == "SegmentationClassAug"
    for image in ours.test.images.ids[:3]:
        (picture, labels), (same, same_labels) = ours.test.images.load(image), theirs.test.images.load(image)
        assert np.array_equal(picture, same)
        assert np.array_equal(labels, same_labels)


def test_links_survive_a_move_of_the_whole(bare: Path, tmp_path: Path) -> None:
    run("coco", "--data-root", bare, "--authors", "link")
    moved = bare.rename(tmp_path / "moved")
    assert len(list((moved / "val_coco" / "JPEGImages").iterdir())) == 40


def test_the_authors_layout_again_and_the_other_way(bare: Path, one_line_error: OneLine) -> None:
    def build(how: str) -> None:
        run("coco", "--data-root", bare, "--split", "val", "--authors", how)

    images = bare / "val_coco" / "JPEGImages"
    build("link")
    build("link")
    whole = contents(bare / "val2014")
    assert images.is_symlink()
    build("copy")
    assert not images.is_symlink()
    assert contents(images) == contents(bare / "val2014") == whole
    before = times(images)
    (images / "COCO_val2014_000000000040.jpg").write_bytes(b"half")
    (images / "COCO_val2014_000000000041.jpg").unlink()
    build("copy")
    assert contents(images) == whole
    assert len(before.items() - times(images).items()) == 2
    line = one_line_error(prepare.main, ["coco", "--data-root", str(bare), "--split", "val", "--authors", "link"])
    assert line == f"error: {images}: is there and is no link; move it away, or use --authors copy"
    assert contents(images) == whole


@pytest.mark.parametrize("how", ["link", "copy"])
def test_the_authors_layout_needs_the_images(bare: Path, one_line_error: OneLine, how: str) -> None:
    shutil.rmtree(bare / "train2014")
    line = one_line_error(prepare.main, ["coco", "--data-root", str(bare), "--authors", how])
    assert line == f"error: {bare / 'train2014'}: no such folder; unpack train2014.zip of COCO there"


@pytest.mark.parametrize(
    ("blocked", "flags", "says"),
    [
        ("annotations/train2014", (), "cannot write to {path}: File exists"),
        ("ImageSets", (), "cannot write {path}/train.txt: "),
        ("train_coco", ("--authors", "copy"), "cannot write to {path}/JPEGImages: "),
        ("train_coco", ("--authors", "link"), "cannot write to {path}"),
    ],
)
def test_a_file_where_a_folder_belongs(
    bare: Path, one_line_error: OneLine, blocked: str, flags: tuple[str, ...], says: str
) -> None:
    path = bare / blocked
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("mine")
    line = one_line_error(prepare.main, ["coco", "--data-root", str(bare), *flags])
    assert line.startswith(f"error: {says.format(path=path)}")
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_dataset_that_cannot_be_written(bare: Path, one_line_error: OneLine) -> None:
    (bare / "annotations").chmod(0o555)
    try:
        line = one_line_error(prepare.main, ["coco", "--data-root", str(bare)])
    finally:
        (bare / "annotations").chmod(0o755)
    assert line.startswith(f"error: cannot write to {bare / 'annotations' / 'train2014'}: ")


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_coco_without_its_annotations(bare: Path, one_line_error: OneLine, damage: str) -> None:
    path = bare / "annotations" / "instances_train2014.json"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100])
    before = contents(bare)
    assert one_line_error(prepare.main, ["coco", "--data-root", str(bare)]).startswith(f"error: {path}: ")
    assert contents(bare) == before


def test_no_coco_at_all(tmp_path: Path, one_line_error: OneLine) -> None:
    line = one_line_error(prepare.main, ["coco", "--data-root", str(tmp_path / "nowhere")])
    assert line.endswith("nowhere: no such folder; the data root must be COCO2014 or the folder that holds it")


# Killed in the middle

IMAGES = 200  # enough for two workers


def leaf(rng: random.Random) -> list[float]:
    """A closed outline of twelve corners."""
    x, y, radius = rng.randrange(300), rng.randrange(300), rng.randrange(10, 90)
    turns = [math.tau * number / 12 for number in range(12)]
    points = ((x + radius * math.cos(turn), y + radius * math.sin(2 * turn)) for turn in turns)
    return [round(value, 1) for point in points for value in point]


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of images that nobody needs, each enough to paint for some milliseconds."""
    rng = random.Random(0)
    names = [f"COCO_train2014_{number:012d}.jpg" for number in range(IMAGES)]
    objects = [
        {"id": 16 * image + number, "image_id": image, "category_id": rng.choice(COCO_CATEGORY_IDS),
         "iscrowd": 0, "segmentation": [leaf(rng)]}
        for image in range(IMAGES)
        for number in range(16)
    ]  # fmt: skip
    content = {
        "images": [{"id": id_, "file_name": name, "height": 300, "width": 300} for id_, name in enumerate(names)],
        "annotations": objects,
        "categories": [{"id": id_} for id_ in COCO_CATEGORY_IDS],
    }
    return write(tmp_path_factory.mktemp("annotations") / "instances_train2014.json", json.dumps(content))


def dataset_of(annotations: Path, folder: Path) -> Path:
    root = folder / "COCO2014"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(annotations, root / "annotations")
    return root


@pytest.fixture(scope="module")
def undisturbed(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file after a run that nothing happened to."""
    root = dataset_of(annotations, tmp_path_factory.mktemp("undisturbed"))
    run("coco", "--data-root", root, "--split", "train", "--workers", 0)
    assert len(read_instances(root / "annotations" / annotations.name).sizes) == IMAGES
    return contents(root)


def state(process: int) -> tuple[str, int] | None:
    """How a process is (Z: ended, and nobody asked about it yet) and its parent."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def is_alive(process: int) -> bool:
    found = state(process)
    return found is not None and found[0] not in ("Z", "X")


def children(parent: int) -> list[int]:
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for process in everyone if (found := state(process)) and found[1] == parent]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def masks(root: Path) -> list[Path]:
    return list((root / "annotations" / "train2014").glob("[!.]*.png"))


def begin(root: Path) -> subprocess.Popen[str]:
    """A process of its own with two workers."""
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "prepare.py"), "coco", "--data-root", str(root), "--split", "train",
         "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def assert_gone_on_with(root: Path, workers: list[int], undisturbed: dict[str, bytes]) -> None:
    """The workers end by themselves, and a second run makes what an undisturbed one does."""
    assert wait_for(lambda: not any(map(is_alive, workers)), 10)
    assert all(path.stat().st_size for path in masks(root))
    run("coco", "--data-root", root, "--split", "train", "--workers", 2)
    assert contents(root) == undisturbed  # so no temporary file either


def kill_at(root: Path, made: int, delay: float, undisturbed: dict[str, bytes]) -> None:
    with begin(root) as process:
        assert wait_for(lambda: len(children(process.pid)) >= 2 and len(masks(root)) >= made)
        workers = children(process.pid)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept = masks(root)
    assert made <= len(kept) < IMAGES
    assert all(undisturbed[str(path.relative_to(root))] == path.read_bytes() for path in kept)
    assert_gone_on_with(root, workers, undisturbed)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("made", [0, 30, 110])
def test_a_killed_run_is_gone_on_with(
    annotations: Path, undisturbed: dict[str, bytes], tmp_path: Path, made: int
) -> None:
    """Only the process itself is killed, as by hand or for lack of memory; its workers are not."""
    kill_at(dataset_of(annotations, tmp_path), made, 0, undisturbed)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_at_any_moment_is_gone_on_with(
    annotations: Path, undisturbed: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    kill_at(dataset_of(annotations, tmp_path), rng.randrange(IMAGES * 3 // 4), rng.uniform(0, 0.02), undisturbed)


@needs_proc
def test_ctrl_c_says_one_word(annotations: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """As a terminal does, to every process of the run."""
    root = dataset_of(annotations, tmp_path)
    with begin(root) as process:
        assert wait_for(lambda: len(masks(root)) >= 1)
        workers = children(process.pid)
        assert len(workers) >= 2
        os.killpg(process.pid, signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    assert len(printed.splitlines()) == 1
    assert printed.startswith("reading ")
    assert not any(map(is_alive, workers))
    assert list((root / "annotations" / "train2014").glob(".*")) == []
    assert not (root / "ImageSets").exists()  # which comes after the last mask
    assert_gone_on_with(root, workers, undisturbed)


# pascal


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Six images with masks (empty files) and VOC's own list of two for validation."""
    root = tmp_path / "VOC2012"
    for name in "abcdef":
        write(root / "JPEGImages" / f"{name}.jpg")
        write(root / "SegmentationClassAug" / f"{name}.png")
    write(root / "ImageSets" / "Segmentation" / "val.txt", "e\nb\n")
    return root


def test_pascal_lists_are_derived(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("pascal", "--data-root", voc)
    lists = {split: voc / "ImageSets" / f"{split}.txt" for split in ("val", "train")}
    assert lists["val"].read_text() == "e\nb\n"
    assert lists["train"].read_text() == "a\nc\nd\nf\n"
    masks = voc / "SegmentationClassAug"
    assert capsys.readouterr().out.splitlines() == [
        f"{lists['val']}: 2 images",
        f"{lists['train']}: 4 images",
        f"{masks}: 6 masks, neither the 12,031 augmented ones nor the 2,913 of VOC",
    ]
    assert open_part("pascal", voc, "train", 0).images.ids == ("a", "c", "d", "f")
    assert capsys.readouterr().out == ""


def test_pascal_lists_that_are_there_are_kept(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(voc / "ImageSets" / "train.txt", "f\na\n")
    before = times(mine.parent)[mine.name]
    run("pascal", "--data-root", voc.parent)
    assert f"{mine}: there, 2 images\n" in capsys.readouterr().out
    assert mine.read_text() == "f\na\n"
    assert times(mine.parent)[mine.name] == before
    val = voc / "ImageSets" / "val.txt"
    before = times(val.parent)[val.name]
    run("pascal", "--data-root", voc)
    assert times(val.parent)[val.name] == before


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (12031, "12031 masks, the augmented masks"),
        (
            2913,
            "2913 masks, WARNING: VOC's own masks only; the paper trains on the 12,031 augmented ones "
            "(SegmentationClassAug)",
        ),
        (12030, "12030 masks, neither the 12,031 augmented ones nor the 2,913 of VOC"),
    ],
)
def test_pascal_masks_are_counted(
    voc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, says: str
) -> None:
    monkeypatch.setattr("dataset.coco.stems", lambda folder, suffix: tuple(map(str, range(count))))
    run("pascal", "--data-root", voc)
    assert capsys.readouterr().out.endswith(f"{voc / 'SegmentationClassAug'}: {says}\n")


def test_pascal_without_lists_to_derive_from(voc: Path, one_line_error: OneLine) -> None:
    shutil.rmtree(voc / "ImageSets")
    line = one_line_error(prepare.main, ["pascal", "--data-root", str(voc)])
    assert line.startswith(f"error: {voc / 'ImageSets' / 'val.txt'}: no such list")
    assert not (voc / "ImageSets").exists()


def test_pascal_without_masks(voc: Path, one_line_error: OneLine) -> None:
    shutil.rmtree(voc / "SegmentationClassAug")
    line = one_line_error(prepare.main, ["pascal", "--data-root", str(voc)])
    assert line == f"error: {voc}: no folder SegmentationClassAug (or SegmentationClass) with the masks"


# fss


def test_fss_lists_of_an_hsnet_checkout(
    toy_fss: Path, toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(toy_fss_copy / "splits", tmp_path / "hsnet" / "fss")
    run("fss", "--data-root", toy_fss_copy, "--splits", tmp_path / "hsnet", "--workers", 0)
    assert contents(toy_fss_copy) == contents(toy_fss)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith("splits: lists written")
    assert printed.splitlines()[1].startswith("split ")
    assert printed.endswith(f"{toy_fss_copy}: nothing is wrong\n")


def test_fss_lists_that_are_there_are_kept(toy_fss: Path, toy_fss_copy: Path) -> None:
    run("fss", "--data-root", toy_fss_copy.parent, "--workers", 0)
    assert contents(toy_fss_copy) == contents(toy_fss)


def test_fss_lists_from_the_official_one(
    toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the 15 other classes 240 / 760 choose the best weights, which is 4."""
    shutil.rmtree(toy_fss_copy / "splits")
    write(toy_fss_copy / "expected.json", json.dumps({"train": 11, "select": 4, "test": 5}))
    test = ["blue_dots", "red_rings", "green_checks", "magenta_stripes", "yellow_dots"]
    official = write(tmp_path / "list.txt", ", ".join(test))
    run("fss", "--data-root", toy_fss_copy, "--test-list", official, "--workers", 0)
    printed = capsys.readouterr().out
    assert "note: the official list does not say which classes validate; these are not HSNet's 240\n" in printed
    assert printed.endswith("nothing is wrong\n")
    lists = [(toy_fss_copy / "splits" / name).read_text().split() for name in ("trn.txt", "val.txt", "test.txt")]
    assert [len(names) for names in lists] == [11, 4, 5]
    assert lists[2] == sorted(test)
    others = {path.name for path in toy_fss_copy.iterdir() if path.is_dir()} - {"splits"}
    assert {name for names in lists for name in names} == others
    before = lists
    run("fss", "--data-root", toy_fss_copy, "--test-list", official, "--workers", 0)  # splits/ is no class
    assert [
        (toy_fss_copy / "splits" / name).read_text().split() for name in ("trn.txt", "val.txt", "test.txt")
    ] == before


def test_fss_with_an_official_list_of_classes_that_are_not_there(
    toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official = write(tmp_path / "list.txt", "blue_dots\nabacus\n")
    with pytest.raises(SystemExit) as exit_:
        run("fss", "--data-root", toy_fss_copy, "--test-list", official, "--workers", 0)
    assert exit_.value.code == 1
    assert f"class folder: {toy_fss_copy / 'abacus'}: no such folder of a class\n" in capsys.readouterr().out


def test_fss_without_any_list(toy_fss_copy: Path, one_line_error: OneLine) -> None:
    shutil.rmtree(toy_fss_copy / "splits")
    line = one_line_error(prepare.main, ["fss", "--data-root", str(toy_fss_copy)])
    way_out = "no lists there; pass --splits (HSNet's data/splits) or --test-list (the official one)"
    assert line == f"error: {toy_fss_copy / 'splits'}: {way_out}"
    assert not (toy_fss_copy / "splits").exists()


def test_fss_with_something_wrong(toy_fss_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy_fss_copy / "blue_dots" / "7.jpg").unlink()
    with pytest.raises(SystemExit) as exit_:
        command(lambda: run("fss", "--data-root", toy_fss_copy, "--workers", 0))
    assert exit_.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.endswith(f"{toy_fss_copy}: 1 findings\n")
    assert printed.err == ""


# weights


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """SSP's keys and shapes, another constant in each, from one number in memory."""
    return constants(build_model("ssp"))


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder for weights, of which each file takes 35 MB."""
    yield tmp_path / "pretrained"
    shutil.rmtree(tmp_path / "pretrained", ignore_errors=True)


@pytest.mark.parametrize("spelling", ["flat", "semseg"])
def test_weights_of_a_file(
    trained: dict[str, Tensor], tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], spelling: str
) -> None:
    source = tmp_path / "theirs.pth"
    torch.save({"state_dict": {f"module.{key}": value for key, value in imagenet(trained, spelling).items()}}, source)
    run("weights", "--from", source, "--out", out)
    assert [path.name for path in out.iterdir()] == ["resnet50.pth"]
    assert_landed(build_model("ssp", pretrained=out / "resnet50.pth"), trained)
    assert torch.load(out / "resnet50.pth", weights_only=True).keys() == flat(trained).keys()
    assert capsys.readouterr().out == (
        f"{out / 'resnet50.pth'}: all 270 keys of the backbone matched, from {source}; "
        "4 keys of layer4 and fc are not used\n"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("torchvision", "its stem has one convolution of shape (64, 3, 7, 7) (torchvision's 7x7 stem), expected the "),
        ("missing key", "1 of 270 keys are missing, layer3.5.conv2.weight the first"),
        ("trained", "is a trained few-shot network, not ImageNet weights"),
        ("text", "cannot be read, it is truncated or not a checkpoint"),
        (None, "no such file"),
    ],
)
def test_wrong_weights_are_refused(
    trained: dict[str, Tensor], tmp_path: Path, out: Path, one_line_error: OneLine, content: str | None, says: str
) -> None:
    source = tmp_path / "theirs.pth"
    if content == "text":
        source.write_bytes(b"")
    elif content:
        state = flat(trained)
        without = {key: value for key, value in state.items() if key != "layer3.5.conv2.weight"}
        torch.save({"torchvision": torchvision(state), "missing key": without, "trained": trained}[content], source)
    line = one_line_error(prepare.main, ["weights", "--from", str(source), "--out", str(out)])
    assert line.startswith(f"error: {source}: {says}")
    assert not any(out.iterdir())


def test_weights_that_are_there_are_kept(
    trained: dict[str, Tensor], tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write(out / "resnet50.pth", "mine")
    run("weights", "--out", out)  # and nothing is fetched
    assert capsys.readouterr().out == f"{mine}: is there; --again replaces it\n"
    assert mine.read_text() == "mine"
    torch.save(flat(trained), tmp_path / "theirs.pth")
    run("weights", "--from", tmp_path / "theirs.pth", "--out", out, "--again")
    assert_landed(build_model("ssp", pretrained=mine), trained)


def test_weights_that_cannot_replace_the_old_leave_them(
    trained: dict[str, Tensor], tmp_path: Path, out: Path, one_line_error: OneLine
) -> None:
    mine = write(out / "resnet50.pth", "mine")
    torch.save(torchvision(flat(trained)), tmp_path / "theirs.pth")
    flags = ["weights", "--from", str(tmp_path / "theirs.pth"), "--out", str(out), "--again"]
    line = one_line_error(prepare.main, flags)
    assert "torchvision's 7x7 stem" in line
    assert "--pretrained" not in line  # a flag of main.py
    assert contents(out) == {mine.name: b"mine"}


def timm(create_model: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(create_model=create_model)


def test_weights_without_timm(out: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    line = one_line_error(prepare.main, ["weights", "--out", str(out)])
    expected = "to fetch it, install timm (pip install timm), or name a file with --from"
    assert line == f"error: {out / 'resnet50.pth'}: {expected}"
    assert not any(out.iterdir())


@pytest.mark.parametrize(("said", "shown"), [("no route to host\n  in line 3", "no route to host"), ("", "OSError")])
def test_weights_that_timm_cannot_fetch(
    out: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch, said: str, shown: str
) -> None:
    def create_model(name: str, pretrained: bool) -> None:
        raise OSError(said)

    monkeypatch.setitem(sys.modules, "timm", timm(create_model))
    line = one_line_error(prepare.main, ["weights", "--backbone", "resnet101", "--out", str(out)])
    expected = (
        f"{out / 'resnet101.pth'}: resnet101s.gluon_in1k cannot be downloaded ({shown}); where there is a network"
    )
    assert line.startswith(f"error: {expected}, download timm/resnet101s.gluon_in1k from ")
    assert line.endswith("pass its model.safetensors with --from")
    assert not any(out.iterdir())


def test_weights_from_timm(
    trained: dict[str, Tensor], out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def create_model(name: str, pretrained: bool) -> SimpleNamespace:
        asked.append((name, pretrained))
        return SimpleNamespace(state_dict=lambda: imagenet(trained, "flat"))

    monkeypatch.setitem(sys.modules, "timm", timm(create_model))
    run("weights", "--out", out)
    assert asked == [("resnet50s.gluon_in1k", True)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "fetching resnet50s.gluon_in1k"
    assert "all 270 keys of the backbone matched, from timm's resnet50s.gluon_in1k; 4 keys" in printed[1]
    assert_landed(build_model("ssp", pretrained=out / "resnet50.pth"), trained)


def test_a_folder_for_weights_that_cannot_be_made(tmp_path: Path, one_line_error: OneLine) -> None:
    blocked = write(tmp_path / "file", "mine")
    line = one_line_error(prepare.main, ["weights", "--out", str(blocked / "pretrained")])
    assert line.startswith(f"error: cannot write to {blocked / 'pretrained'}: ")
    assert blocked.read_text() == "mine"


# splits


def test_lists_of_an_hsnet_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("trn", "val", "test"):
        write(tmp_path / "splits" / "fss" / f"{part}.txt", f"{part}_class\n")
    run("splits", "--from", tmp_path / "splits", "--out", tmp_path / "out")
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out'}: 3 lists written\n"
    assert printed.err == ""
    assert contents(tmp_path / "out") == contents(tmp_path / "splits")


def test_lists_made_from_masks(toy_coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("splits", "--dataset", "coco", "--data-root", toy_coco.parent, "--out", tmp_path / "out", "--workers", 0)
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out'}: 4 lists written\n"
    assert printed.err == "WARNING: made from masks: these episodes are not HSNet's own\n"
    assert all(is_generated(path) for path in (tmp_path / "out" / "coco" / "val").iterdir())


@pytest.mark.parametrize(
    "flags",
    ["", "--from here --dataset pascal", "--dataset pascal", "--data-root here", "--from here --data-root there"],
)
def test_flags_of_splits_that_do_not_fit(tmp_path: Path, one_line_error: OneLine, flags: str) -> None:
    line = one_line_error(prepare.main, ["splits", *flags.split(), "--out", str(tmp_path / "out")])
    expected = "pass either --from (an HSNet checkout's data/splits), or --dataset with --data-root"
    assert line == f"error: {expected}"
    assert not (tmp_path / "out").exists()


def test_lists_need_a_folder_that_can_be_written(toy_fss: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    blocked = write(tmp_path / "file", "mine")
    assert "arguments are required: --out" in one_line_error(prepare.main, ["splits", "--from", str(tmp_path)])
    flags = ["splits", "--dataset", "fss", "--data-root", str(toy_fss), "--out", str(blocked / "out")]
    assert one_line_error(prepare.main, flags).startswith(
        f"error: cannot write {blocked / 'out' / 'lists'}: Not a directory"
    )
    assert blocked.read_text() == "mine"


# verify; more of it in dataset/test_verify.py


def test_verify_ends_with_the_code_of_what_it_found(toy_fss_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["verify", "--dataset", "fss", "--data-root", str(toy_fss_copy), "--workers", "0"]
    command(lambda: prepare.main(flags))  # returns, so the process ends with 0
    assert "nothing is wrong" in capsys.readouterr().out
    Image.new("RGB", (10, 10)).save(toy_fss_copy / "blue_dots" / "7.jpg")
    with pytest.raises(SystemExit) as exit_:
        command(lambda: prepare.main(flags))
    assert exit_.value.code == 1
    assert "blue_dots/7.png: mask of 129x129 pixels, image of 10x10\n" in capsys.readouterr().out


def test_wrong_flags_of_verify(toy: Path, one_line_error: OneLine) -> None:
    for flags, says in (
        (["--dataset", "voc"], "argument --dataset: invalid choice: 'voc'"),
        (["--shot", "0"], "argument --shot: '0' is not a whole number"),
        (["--workers", "-1"], "argument --workers: '-1' is not a whole number"),
    ):
        line = one_line_error(prepare.main, ["verify", "--data-root", str(toy), *flags])
        assert line.startswith(f"error: {says}")
