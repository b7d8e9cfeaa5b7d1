"""VOC's layout by hand: what names the classes, labels as numbers and colours, lists, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.labels import VOC_PALETTE, voc_colour
from dataset.prepare.from_voc import read_voc
from dataset.prepare.own import Labelled
from tests.dataset.prepare.sources import collect, save
from tests.files import write
from util.errors import UserError

LABELS = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)
FIRST, SECOND, IGNORED = [".##", "..."], ["...", "#.."], ["...", ".#."]
LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:10,20,30::\ndog:200,0,0::\n"
COLOURS = {0: (0, 0, 0), 1: (10, 20, 30), 2: (200, 0, 0), 255: (224, 224, 192)}


def paint(labels: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> np.ndarray:
    return np.array([[colours[int(label)] for label in row] for row in labels], np.uint8)


def make(root: Path, mask: np.ndarray = LABELS, folder: str = "SegmentationClass", **files: str) -> Path:
    """An image a and its mask; files: texts by name without suffix."""
    save(root / "JPEGImages" / "a.jpg", mask.shape[:2])
    save(root / folder / "a.png", mask)
    for name, text in files.items():
        write(root / f"{name}.txt", text)
    return root


@pytest.mark.parametrize("mode", ["grey", "palette", "colours"])
def test_without_names_the_classes_are_voc_s(tmp_path: Path, mode: str) -> None:
    make(tmp_path / "VOCdevkit" / "VOC2012", folder="SegmentationClassAug")
    image = Image.fromarray(LABELS)
    if mode != "grey":
        image.putpalette(VOC_PALETTE)
    image = image.convert("RGB") if mode == "colours" else image
    image.save(tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClassAug" / "a.png")
    source = read_voc(tmp_path)
    assert len(source.classes) == 20
    expected = {"aeroplane": FIRST, "bicycle": SECOND, "ignored": IGNORED}
    assert collect(source) == ({"a": expected}, [])


@pytest.mark.parametrize(
    ("file", "text", "classes"),
    [
        ("class_names", "_background_\ncat\ndog\n", ["cat", "dog"]),
        ("class_names", "__ignore__\n_background_\ncat\ndog\n", ["cat", "dog"]),
        ("classes", "background\ncat\ndog\nbird\n", ["cat", "dog", "bird"]),
        ("classes", "cat\ndog\n", ["cat", "dog"]),
    ],
)
def test_a_list_of_names_numbers_the_labels(tmp_path: Path, file: str, text: str, classes: list[str]) -> None:
    source = read_voc(make(tmp_path, folder="SegmentationClassPNG", **{file: text}))
    assert source.classes == classes
    assert collect(source) == ({"a": {"cat": FIRST, "dog": SECOND, "ignored": IGNORED}}, [])


@pytest.mark.parametrize("name", ["void", "ignore", "Ignored", "__ignore__"])
def test_labels_that_are_ignored_by_name(tmp_path: Path, name: str) -> None:
    source = read_voc(make(tmp_path, classes=f"cat\n{name}\n"))
    assert source.classes == ["cat"]
    assert collect(source) == ({"a": {"cat": FIRST, "ignored": ["...", "##."]}}, [])


@pytest.mark.parametrize("mode", ["colours", "palette", "grey"])
def test_a_label_map(tmp_path: Path, mode: str) -> None:
    root = make(tmp_path, LABELS if mode == "grey" else paint(LABELS, COLOURS), labelmap=LABEL_MAP)
    if mode == "palette":  # whose indices are in another order
        with Image.open(root / "SegmentationClass" / "a.png") as image:
            image.convert("P", palette=Image.Palette.ADAPTIVE).save(root / "SegmentationClass" / "a.png")
    source = read_voc(root)
    assert source.classes == ["cat", "dog"]
    assert collect(source) == ({"a": {"cat": FIRST, "dog": SECOND, "ignored": IGNORED}}, [])


def test_a_label_map_without_colours_and_with_a_class_to_ignore(tmp_path: Path) -> None:
    mask = paint(LABELS, {label: voc_colour(label) for label in (0, 1, 2, 255)})
    source = read_voc(make(tmp_path, mask, labelmap="background:::\ncat:::\nignored:0,128,0::\n"))
    assert source.classes == ["cat"]
    assert collect(source) == ({"a": {"cat": FIRST, "ignored": ["...", "##."]}}, [])


def test_images_without_a_mask_are_counted_and_lists_kept(tmp_path: Path) -> None:
    root = make(tmp_path, classes="cat\ndog\n")
    for name in ("b", "c"):
        save(root / "JPEGImages" / f"{name}.jpg", LABELS.shape)
        save(root / "SegmentationClass" / f"{name}.png", LABELS)
    save(root / "JPEGImages" / "d.jpg", LABELS.shape)
    source = read_voc(root)
    assert (source.lists, source.count) == (None, 3)
    assert source.notes == [f"{root / 'JPEGImages'}: 1 images left out, which have no mask"]
    write(root / "ImageSets" / "Segmentation" / "val.txt", "b\nd\n")
    assert read_voc(root).lists == {"train": ["a", "c"], "val": ["b"]}
    write(root / "ImageSets" / "Segmentation" / "train.txt", "a\nb\n")
    source = read_voc(root)
    assert source.lists == {"train": ["a"], "val": ["b"]}
    assert source.notes[1] == f"{root / 'ImageSets'}: 1 images with a mask are in none of its lists"


def test_folders_are_part_of_an_images_id(tmp_path: Path) -> None:
    """As Datumaro and CVAT write a task with folders: the same name in two of them, masks in folders alone."""
    labelmap = "# label:color_rgb:parts:actions\nbackground:::\ncat:::\ndog:::\n"
    write(tmp_path / "labelmap.txt", labelmap)
    for name in ("a", "day/a", "night/a", "night/b"):
        save(tmp_path / "JPEGImages" / f"{name}.jpg", LABELS.shape)
    mask = paint(LABELS, {label: voc_colour(label) for label in (0, 1, 2)} | {255: (224, 224, 192)})
    for name in ("day/a", "night/a", "night/b"):
        save(tmp_path / "SegmentationClass" / f"{name}.png", mask)
    write(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "day/a\n")
    val = "night/a\nJPEGImages/night/b.jpg SegmentationClass/night/b.png\nnight/a\na\n"
    write(tmp_path / "ImageSets" / "Segmentation" / "val.txt", val)
    source = read_voc(tmp_path)
    expected = {"cat": FIRST, "dog": SECOND, "ignored": IGNORED}
    assert collect(source) == (dict.fromkeys(("day/a", "night/a", "night/b"), expected), [])
    assert source.lists == {"train": ["day/a"], "val": ["night/a", "night/b"]}


def test_a_folder_of_the_same_name_is_an_archives(tmp_path: Path) -> None:
    save(tmp_path / "JPEGImages" / "JPEGImages" / "a.jpg", LABELS.shape)
    save(tmp_path / "SegmentationClass" / "SegmentationClass" / "a.png", LABELS)
    assert list(collect(read_voc(tmp_path))[0]) == ["a"]


@pytest.mark.parametrize(
    ("files", "mask", "said"),
    [
        ({}, [[0, 21, 0]], "holds the label 21, which has no name; add it to ROOT/classes.txt"),
        ({"classes": "cat\n"}, [[2, 0, 0]], "holds the label 2, which has no name; add it to ROOT/classes.txt"),
        ({"labelmap": LABEL_MAP}, [[[1, 2, 3]]], "holds the colour #010203, which is not in ROOT/labelmap.txt"),
        ({}, [[[1, 2, 3]]], "holds the colour #010203, which is none of VOC's"),
    ],
)
def test_masks_that_are_wrong(tmp_path: Path, files: dict[str, str], mask: list, said: str) -> None:
    found, (fault,) = collect(read_voc(make(tmp_path, np.array(mask, np.uint8), **files)))
    assert found == {}
    assert fault.startswith(f"{tmp_path}/SegmentationClass/a.png: {said.replace('ROOT', str(tmp_path))}")


def test_files_that_are_wrong(tmp_path: Path) -> None:
    root = make(tmp_path, classes="cat\ndog\n")
    write(root / "SegmentationClass" / "empty.png", "")
    save(root / "JPEGImages" / "empty.jpg", (2, 3))
    save(root / "SegmentationClass" / "alone.png", LABELS)
    save(root / "SegmentationClass" / "twice.png", LABELS)
    save(root / "JPEGImages" / "twice.jpg", (2, 3))
    save(root / "JPEGImages" / "twice.png", (2, 3))
    found, faults = collect(read_voc(root))
    assert list(found) == ["a"]
    assert [fault.removeprefix(f"{tmp_path}/").split(";")[0] for fault in faults] == [
        "SegmentationClass/alone.png: a mask without an image",
        "SegmentationClass/empty.png: empty",
        f"JPEGImages/twice.jpg: {tmp_path}/JPEGImages/twice.png is an image of the same name",
    ]


def test_the_size_is_that_of_the_mask(tmp_path: Path) -> None:
    """So whoever takes the image compares the two."""
    save(make(tmp_path, classes="cat\ndog\n") / "JPEGImages" / "a.jpg", (30, 40))
    (item,) = read_voc(tmp_path).images()
    assert isinstance(item, Labelled)
    assert item.size == (2, 3)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"labelmap": "cat:1,2::\n"}, "labelmap.txt: cat has '1,2' for a colour; write it as 128,0,0"),
        ({"labelmap": "cat:1,2,300::\n"}, "labelmap.txt: cat has '1,2,300' for a colour"),
        ({"labelmap": "a:1,2,3::\nb:1,2,3::\n"}, "labelmap.txt: b has the colour of another class"),
        ({"classes": ""}, "classes.txt: the list is empty"),
        ({"classes": "\n".join(map(str, range(300)))}, "classes.txt: 300 names, a mask tells at most 254 classes"),
    ],
)
def test_names_that_are_wrong(tmp_path: Path, files: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        read_voc(make(tmp_path, **files))
    assert str(raised.value).startswith(f"{tmp_path}/{said}")


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder JPEGImages in it; it is empty"):
        read_voc(tmp_path)
    save(tmp_path / "JPEGImages" / "a.jpg", (2, 3))
    with pytest.raises(UserError, match=r"no folder SegmentationClass with the masks"):
        read_voc(tmp_path)
    write(tmp_path / "SegmentationClass" / "a.npy", b"\x93NUMPY")
    with pytest.raises(UserError, match=r"holds no mask \(\.png\); its \.npy are not read; run labelme2voc"):
        read_voc(tmp_path)
