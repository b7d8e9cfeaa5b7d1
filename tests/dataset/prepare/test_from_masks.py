"""Folders of masks by hand: which of the layouts it is, which image a mask belongs to, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset.prepare.from_masks import read_masks
from tests.dataset.prepare.sources import collect, save
from tests.files import write
from util.errors import UserError

LABELS = np.array([[0, 1, 1], [2, 255, 0]], np.uint8)
OBJECT = np.array([[0, 255, 255], [0, 0, 0]], np.uint8)
FIRST, SECOND, IGNORED = [".##", "..."], ["...", "#.."], ["...", ".#."]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.jpg", LABELS.shape)
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("text", "classes"),
    [(None, ["1", "2"]), ("cat\ndog\n", ["cat", "dog"]), ("background\ncat\ndog\n", ["cat", "dog"])],
)
def test_masks_of_labels(tmp_path: Path, images: Path, text: str | None, classes: list[str]) -> None:
    save(tmp_path / "masks" / "a.png", LABELS)
    if text is not None:
        write(tmp_path / "masks" / "classes.txt", text)
    source = read_masks(tmp_path / "masks", images)
    assert source.classes == classes
    assert source.notes == [f"{images}: 1 images left out, which have no mask"]
    expected = {"a": {classes[0]: FIRST, classes[1]: SECOND, "ignored": IGNORED}}
    assert collect(source) == collect(source) == (expected, [])


def lay_roboflow(folder: Path, **tables: str) -> Path:
    """Its layout of semantic masks: of each list a folder with images, masks and a table of the classes."""
    for name, table in tables.items():
        save(folder / name / f"{name}_jpg.rf.0a1b.jpg", LABELS.shape)
        save(folder / name / f"{name}_jpg.rf.0a1b_mask.png", LABELS)
        write(folder / name / "_classes.csv", table)
    return folder


TABLE = "Pixel Value, Class\n0, background\n1, traffic light\n2, dog\n"


def test_masks_with_a_table_of_classes(tmp_path: Path) -> None:
    folder = lay_roboflow(tmp_path, train=TABLE, valid=TABLE.replace(", ", ","))
    source = read_masks(folder, folder)
    assert source.classes == ["traffic light", "dog"]
    masks = {"traffic light": FIRST, "dog": SECOND, "ignored": IGNORED}
    assert collect(source) == ({f"{name}/{name}_jpg.rf.0a1b": masks for name in ("train", "valid")}, [])


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (TABLE.replace("dog", "cat"), "names other classes than"),
        (TABLE.replace("2, dog", "dog, 2"), "line 4 is not a number and a name"),
        (TABLE.replace("2, dog", "2"), "line 4 is not a number and a name"),
        (TABLE.replace("2, dog", "256, dog"), "line 4 is not a number and a name"),
        (TABLE.replace("2, dog", "2,"), "line 4 is not a number and a name"),
    ],
)
def test_tables_of_classes_that_are_wrong(tmp_path: Path, table: str, says: str) -> None:
    folder = lay_roboflow(tmp_path, train=TABLE, valid=table)
    with pytest.raises(UserError, match=f"valid/_classes.csv: {says}"):
        read_masks(folder, folder)


@pytest.mark.parametrize("ones", [255, 1])
@pytest.mark.parametrize(("text", "name"), [(None, "1"), ("lung\n", "lung")])
def test_masks_of_one_object(tmp_path: Path, images: Path, ones: int, text: str | None, name: str) -> None:
    """Where the labels are 0 and 255 alone, 255 is the object."""
    save(tmp_path / "masks" / "a.png", np.minimum(OBJECT, ones))
    save(tmp_path / "masks" / "b.png", 0 * OBJECT)
    if text is not None:
        write(tmp_path / "masks" / "classes.txt", text)
    source = read_masks(tmp_path / "masks", images)
    assert source.classes == [name]
    assert collect(source) == ({"a": {name: FIRST}, "b": {}}, [])


@pytest.mark.parametrize(("suffix", "ones"), [(".png", 255), (".bmp", 255), (".PNG", 1), (".png", 200)])
def test_a_folder_a_class(tmp_path: Path, images: Path, suffix: str, ones: int) -> None:
    """Classes may overlap; shades are cut in the middle."""
    save(tmp_path / "masks" / "cat" / f"a{suffix}", np.minimum(OBJECT, ones))
    save(tmp_path / "masks" / "dog" / f"a{suffix}", np.full((2, 3), ones))
    save(tmp_path / "masks" / "dog" / f"b{suffix}", np.minimum(OBJECT, ones))
    source = read_masks(tmp_path / "masks", images)
    assert source.classes == ["cat", "dog"]
    assert collect(source) == ({"a": {"cat": FIRST, "dog": ["###", "###"]}, "b": {"dog": FIRST}}, [])


@pytest.mark.parametrize("split", ["train", "TEST", "images"])
def test_folders_that_are_no_classes(tmp_path: Path, split: str) -> None:
    save(tmp_path / "photos" / split / "a.jpg", LABELS.shape)
    save(tmp_path / "masks" / split / "a.png", LABELS)
    source = read_masks(tmp_path / "masks", tmp_path / "photos")
    assert collect(source) == ({f"{split}/a": {"1": FIRST, "2": SECOND, "ignored": IGNORED}}, [])


def test_folders_of_label_masks_are_no_classes(tmp_path: Path) -> None:
    """As Cityscapes has one of each town."""
    for town in ("aachen", "ulm"):
        save(tmp_path / "photos" / town / "a.png", LABELS.shape)
        save(tmp_path / "masks" / town / "a_labelIds.png", LABELS)
    source = read_masks(tmp_path / "masks", tmp_path / "photos")
    assert source.classes == ["1", "2"]
    assert list(collect(source)[0]) == ["aachen/a", "ulm/a"]


def test_a_name_has_the_longest_ending_that_leaves_an_image(tmp_path: Path, images: Path) -> None:
    save(images / "c_mask.jpg", LABELS.shape)
    save(tmp_path / "masks" / "a_mask.png", LABELS)
    save(tmp_path / "masks" / "b_instance_color_RGB.png", LABELS)
    save(tmp_path / "masks" / "c_mask.png", LABELS)
    found, faults = collect(read_masks(tmp_path / "masks", images))
    assert (list(found), faults) == (["a", "b", "c_mask"], [])
    save(images / "c.jpg", LABELS.shape)
    assert list(collect(read_masks(tmp_path / "masks", images))[0]) == ["a", "b", "c"]


def test_masks_in_the_folder_of_the_images(tmp_path: Path, images: Path) -> None:
    save(images / "a.png", LABELS)
    assert list(collect(read_masks(images, images))[0]) == ["a"]
    save(images / "masks" / "b.png", LABELS)
    assert list(collect(read_masks(images / "masks", images))[0]) == ["b"]


def test_files_that_are_wrong(tmp_path: Path, images: Path) -> None:
    masks = tmp_path / "masks"
    for name in ("a", "b", "b_mask", "c", "alone"):
        save(masks / f"{name}.png", LABELS)
    write(masks / "d.png", "")
    for name in ("c.jpg", "c.png", "d.jpg"):
        save(images / name, LABELS.shape)
    found, faults = collect(read_masks(masks, images))
    assert list(found) == ["a"]
    assert [fault.removeprefix(f"{tmp_path}/").split(";")[0] for fault in faults] == [
        "masks/b.png: b_mask.png is a mask of the same image",
        f"images/c.jpg: {images}/c.png is an image of the same name",
        "masks/d.png: empty",
        "masks/alone.png: a mask without an image",
    ]


def test_objects_that_are_wrong(tmp_path: Path, images: Path) -> None:
    save(tmp_path / "masks" / "cat" / "a.png", OBJECT)
    save(tmp_path / "masks" / "dog" / "a.png", (3, 3))
    save(tmp_path / "masks" / "dog" / "b.png", np.minimum(OBJECT, 38))
    found, faults = collect(read_masks(tmp_path / "masks", images))
    assert found == {}
    assert "of another size than" in faults[0]
    assert faults[1].endswith("b.png: holds 38, the mask of an object is 0 and 255, or 0 and 1; save it so")


def test_a_mask_of_two_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "images" / split / "a.jpg", LABELS.shape)
    save(tmp_path / "masks" / "a.png", LABELS)
    save(tmp_path / "masks" / "val" / "a.png", LABELS)
    found, (fault,) = collect(read_masks(tmp_path / "masks", tmp_path / "images"))
    assert list(found) == ["val/a"]
    assert fault.endswith("a.png: a mask of train/a or of val/a? Rename one of the two")


def test_labels_without_a_name_and_shades(tmp_path: Path, images: Path) -> None:
    save(tmp_path / "masks" / "a.png", LABELS)
    write(tmp_path / "masks" / "classes.txt", "cat\n")
    _, (fault,) = collect(read_masks(tmp_path / "masks", images))
    assert fault.endswith(f"holds the label 2, which has no name; add it to {tmp_path}/masks/classes.txt")
    save(tmp_path / "shades" / "a.png", [list(range(200))])
    with pytest.raises(UserError, match=r"shades: the masks hold 199 numbers, more than classes"):
        read_masks(tmp_path / "shades", images)


@pytest.mark.parametrize(
    ("masks", "images", "said"),
    [
        ("gone", "images", "gone: no such folder"),
        ("masks", "gone", "gone: no such folder"),
        ("images", "masks", "masks: holds no image"),
        ("masks", "images", "masks: holds no mask"),
        ("other", "images", "other: c.png: a mask without an image"),
    ],
)
def test_folders_that_are_wrong(tmp_path: Path, masks: str, images: str, said: str) -> None:
    (tmp_path / "masks").mkdir()
    save(tmp_path / "images" / "a.jpg", LABELS.shape)
    save(tmp_path / "other" / "c.png", LABELS)

    with pytest.raises(UserError, match=r"\A[^\n]*\Z") as raised:
        read_masks(tmp_path / masks, tmp_path / images)
    assert str(raised.value).startswith(f"{tmp_path}/{said}")
