"""prepare.py: what each command makes, that a second run changes nothing, and that a killed one is gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

import prepare
from dataset import open_fold, open_split
from dataset.hsnet import is_generated
from model import build_model
from tests.dataset.layouts import lay_out_pascal
from tests.engine.test_checkpoint import assert_landed, constants, flat, imagenet, torchvision
from tests.files import OneLine, write
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
    assert "arguments are required: --out" in one_line_error(prepare.main, ["splits", "--from", "."])


# coco


@pytest.fixture
def bare(toy_coco_copy: Path) -> Path:
    """The toy dataset as it is before prepare.py: images and annotations, no masks, no lists."""
    for split in ("train", "val"):
        shutil.rmtree(toy_coco_copy / "annotations" / f"{split}2014")
        (toy_coco_copy / "ImageSets" / f"{split}.txt").unlink()
    return toy_coco_copy


@pytest.mark.parametrize("workers", [0, 2])
def test_coco_from_annotations_to_folds(
    bare: Path, toy_coco: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("util.processes.CHUNK", 8)  # else there are too few images for two
    run("coco", "--data-root", bare.parent if workers else bare, "--workers", workers)
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


@pytest.mark.parametrize("missing", [(), (0, 17, 39)])
def test_only_missing_masks_are_made(
    toy_coco: Path, toy_coco_copy: Path, capsys: pytest.CaptureFixture[str], missing: tuple[int, ...]
) -> None:
    folder = toy_coco_copy / "annotations" / "train2014"
    names = {f"COCO_train2014_{number:012d}.png" for number in missing}
    before = times(folder)
    for name in names:
        (folder / name).unlink()
    run("coco", "--data-root", toy_coco_copy)
    assert f"{folder}: {len(names)} masks made, {40 - len(names)} were there\n" in capsys.readouterr().out
    assert contents(toy_coco_copy) == contents(toy_coco)
    assert {name for name, stamp in times(folder).items() if before[name] != stamp} == names


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
    assert len(open_split("coco", bare, "test", 0, "contiguous").images.ids) == 40


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


def test_the_authors_layout_again_and_the_other_way(bare: Path, one_line_error: OneLine) -> None:
    def build(how: str) -> None:
        run("coco", "--data-root", bare, "--split", "val", "--authors", how)

    images = bare / "val_coco" / "JPEGImages"
    build("link")
    build("link")
    moved = bare.rename(bare.parent / "moved")  # a link survives a move of the whole
    assert len(list((moved / "val_coco" / "JPEGImages").iterdir())) == 40
    moved.rename(bare)
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


def block(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("mine")


INSTANCES = "annotations/instances_train2014.json"
NO_IMAGES = "{}/train2014: no such folder; unpack train2014.zip of COCO there"
REFUSALS: dict[str, tuple[Callable[[Path], object], str, str]] = {  # what is done to the folder, flags, the line
    "no images to link": (lambda root: shutil.rmtree(root / "train2014"), "--authors link", NO_IMAGES),
    "no images to copy": (lambda root: shutil.rmtree(root / "train2014"), "--authors copy", NO_IMAGES),
    "a file for masks": (
        lambda root: block(root / "annotations/train2014"),
        "",
        "cannot write to {}/annotations/",
    ),
    "a file for lists": (lambda root: block(root / "ImageSets"), "", "cannot write {}/ImageSets/train.txt: "),
    "a file to copy to": (lambda root: block(root / "train_coco"), "--authors copy", "cannot write to {}/train_coco/"),
    "a file to link to": (lambda root: block(root / "train_coco"), "--authors link", "cannot write to {}/train_coco"),
    "no annotations": (lambda root: (root / INSTANCES).unlink(), "", f"{{}}/{INSTANCES}: no such file; unpack "),
    "half of them": (lambda root: (root / INSTANCES).write_text('{"images": ['), "", f"{{}}/{INSTANCES}: damaged "),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_coco_that_cannot_be_made(bare: Path, one_line_error: OneLine, name: str) -> None:
    damage, flags, says = REFUSALS[name]
    damage(bare)
    kept = {name: data for name, data in contents(bare).items() if data == b"mine"}
    line = one_line_error(prepare.main, ["coco", "--data-root", str(bare), *flags.split()])
    assert line.startswith(f"error: {says.format(bare)}")
    assert kept.items() <= contents(bare).items()


# pascal


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Six images with masks (empty files) and VOC's own list of two for validation."""
    root = lay_out_pascal(tmp_path)
    shutil.rmtree(root / "ImageSets")
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
    assert open_split("pascal", voc, "train", 0).images.ids == ("a", "c", "d", "f")
    assert capsys.readouterr().out == ""


def test_pascal_lists_that_are_there_are_kept(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = write(voc / "ImageSets" / "train.txt", "f\na\n")
    before = times(mine.parent)
    run("pascal", "--data-root", voc.parent)
    assert f"{mine}: there, 2 images\n" in capsys.readouterr().out
    assert mine.read_text() == "f\na\n"
    written = times(mine.parent)
    assert written[mine.name] == before[mine.name]
    run("pascal", "--data-root", voc)
    assert times(mine.parent) == written


OWN = "2913 masks, WARNING: VOC's own masks only; the paper trains on the 12,031 augmented ones (SegmentationClassAug)"
OTHER = "12030 masks, neither the 12,031 augmented ones nor the 2,913 of VOC"


@pytest.mark.parametrize(("count", "says"), [(12031, "12031 masks, the augmented masks"), (2913, OWN), (12030, OTHER)])
def test_pascal_masks_are_counted(
    voc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, count: int, says: str
) -> None:
    monkeypatch.setattr("prepare.list_stems", lambda folder, suffix: tuple(map(str, range(count))))
    run("pascal", "--data-root", voc)
    assert capsys.readouterr().out.endswith(f"{voc / 'SegmentationClassAug'}: {says}\n")


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


def test_fss_lists_from_the_official_one(
    toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the 15 other classes 240 / 760 choose the best weights, which is 4."""
    shutil.rmtree(toy_fss_copy / "splits")
    write(toy_fss_copy / "expected.json", json.dumps({"train": 11, "val": 4, "test": 5}))
    test = ["blue_dots", "red_rings", "green_checks", "magenta_stripes", "yellow_dots"]
    official = write(tmp_path / "list.txt", ", ".join(test))
    run("fss", "--data-root", toy_fss_copy, "--test-list", official, "--workers", 0)
    printed = capsys.readouterr().out
    assert "note: the official list does not say which classes validate; these are not HSNet's 240\n" in printed
    assert printed.endswith("nothing is wrong\n")
    lists = [(toy_fss_copy / "splits" / f"{name}.txt").read_text().split() for name in ("trn", "val", "test")]
    assert [len(names) for names in lists] == [11, 4, 5]
    assert lists[2] == sorted(test)
    others = {path.name for path in toy_fss_copy.iterdir() if path.is_dir()} - {"splits"}
    assert {name for names in lists for name in names} == others
    run("fss", "--data-root", toy_fss_copy, "--test-list", official, "--workers", 0)  # splits/ is no class
    assert [(toy_fss_copy / "splits" / f"{name}.txt").read_text().split() for name in ("trn", "val", "test")] == lists


def test_fss_without_any_list(toy_fss_copy: Path, one_line_error: OneLine) -> None:
    shutil.rmtree(toy_fss_copy / "splits")
    line = one_line_error(prepare.main, ["fss", "--data-root", str(toy_fss_copy)])
    way_out = "no lists there; pass --splits (HSNet's data/splits) or --test-list (the official one)"
    assert line == f"error: {toy_fss_copy / 'splits'}: {way_out}"
    assert not (toy_fss_copy / "splits").exists()


def test_fss_with_something_wrong(toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (toy_fss_copy / "blue_dots" / "7.jpg").unlink()
    official = write(tmp_path / "list.txt", "blue_dots\nabacus\n")
    for flags, says in (((), "1 findings"), (("--test-list", official), "abacus: no such folder of a class")):
        with pytest.raises(SystemExit) as exit_:
            command(lambda flags=flags: run("fss", "--data-root", toy_fss_copy, "--workers", 0, *flags))
        assert exit_.value.code == 1
        printed = capsys.readouterr()
        assert says in printed.out
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
    trained: dict[str, Tensor], tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], one_line_error: OneLine
) -> None:
    mine, theirs = write(out / "resnet50.pth", "mine"), tmp_path / "theirs.pth"
    run("weights", "--out", out)  # and nothing is fetched
    assert capsys.readouterr().out == f"{mine}: is there; --again replaces it\n"
    torch.save(torchvision(flat(trained)), theirs)
    again = ["weights", "--from", str(theirs), "--out", str(out), "--again"]
    line = one_line_error(prepare.main, again)
    assert "torchvision's 7x7 stem" in line
    assert "--pretrained" not in line  # a flag of main.py
    assert contents(out) == {mine.name: b"mine"}
    torch.save(flat(trained), theirs)
    run(*again)
    assert_landed(build_model("ssp", pretrained=mine), trained)


def failing(name: str, pretrained: bool) -> None:
    raise OSError("no route to host\n  in line 3")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (None, "to fetch it, install timm (pip install timm), or name a file with --from"),
        (
            SimpleNamespace(create_model=failing),
            "resnet50s.gluon_in1k cannot be downloaded (no route to host); where there is a network, download "
            "timm/resnet50s.gluon_in1k from the Hugging Face hub in a browser and pass its model.safetensors with "
            "--from",
        ),
    ],
)
def test_weights_that_timm_cannot_fetch(
    out: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace | None, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "timm", module)
    line = one_line_error(prepare.main, ["weights", "--out", str(out)])
    assert line == f"error: {out / 'resnet50.pth'}: {says}"
    assert not any(out.iterdir())


def test_weights_from_timm(
    trained: dict[str, Tensor], out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def create_model(name: str, pretrained: bool) -> SimpleNamespace:
        asked.append((name, pretrained))
        return SimpleNamespace(state_dict=lambda: imagenet(trained, "flat"))

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    run("weights", "--out", out)
    assert asked == [("resnet50s.gluon_in1k", True)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "fetching resnet50s.gluon_in1k"
    assert "all 270 keys of the backbone matched, from timm's resnet50s.gluon_in1k; 4 keys" in printed[1]
    assert_landed(build_model("ssp", pretrained=out / "resnet50.pth"), trained)


# splits


def test_lists_of_an_hsnet_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("trn", "val", "test"):
        write(tmp_path / "splits" / "fss" / f"{name}.txt", f"{name}_class\n")
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


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("weights --out {out}", "cannot write to {out}: "),
        ("splits --dataset fss --data-root {data} --out {out}", "cannot write {out}/lists: Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_made(
    toy_fss: Path, tmp_path: Path, one_line_error: OneLine, flags: str, says: str
) -> None:
    blocked = write(tmp_path / "file", "mine")
    names = {"out": blocked / "out", "data": toy_fss}
    line = one_line_error(prepare.main, [flag.format(**names) for flag in flags.split()])
    assert line.startswith(f"error: {says.format(**names)}")
    assert blocked.read_text() == "mine"
