"""FSS-1000: parts, numbers of classes, order of files, object masks of any mode, and lists that are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import class_index, fss, open_fold, open_part, open_pool
from dataset.fss import class_list, file_order
from dataset.index import cache_path
from tests.files import write
from util.errors import UserError

LISTS = {"trn": ("bus", "apple"), "val": ("crab", "abacus", "zebra"), "test": ("drum", "cup")}
ORDER = ["1", "10", "2", "3", "4", "5", "6", "7", "8", "9"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven classes of ten images of 6x4 pixels; the object of image n of a class covers n pixels."""
    root = tmp_path / "FSS-1000"
    for part, names in LISTS.items():
        write(root / "splits" / f"{part}.txt", "".join(f"{name}\n" for name in names))
        for name in names:
            (root / name).mkdir()
            for number in range(1, 11):
                Image.new("RGB", (6, 4)).save(root / name / f"{number}.jpg")
                save(root / name / f"{number}.png", number, "RGB" if number % 2 else "L")
    return root


def save(path: Path, pixels: int, mode: str, values: tuple[int, int] = (255, 0)) -> None:
    """A mask of 6x4 pixels with an object of some; values: of object and background."""
    grey = np.full(24, values[1], np.uint8)
    grey[:pixels] = values[0]
    Image.fromarray(grey.reshape(4, 6)).convert(mode).save(path)


def failure(root: Path, splits: Path | None = None) -> str:
    with pytest.raises(UserError) as excinfo:
        open_fold("fss", root, splits=None if splits is None else str(splits))
    message = str(excinfo.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("given", ["FSS-1000", "."])
def test_parts_and_numbers(root: Path, given: str) -> None:
    fold = open_fold("fss", root.parent / given)
    assert fold.train.images.class_names == {1: "apple", 2: "bus"}
    assert fold.select.images.class_names == {521: "abacus", 522: "crab", 523: "zebra"}
    assert fold.test.images.class_names == {761: "cup", 762: "drum"}
    assert [part.classes for part in fold] == [[1, 2], [521, 522, 523], [761, 762]]
    assert [part.names() for part in fold] == [["apple", "bus"], ["abacus", "crab", "zebra"], ["cup", "drum"]]
    assert [part.images.name for part in fold] == ["fss train", "fss select", "fss test"]
    assert [part.min_pixels for part in fold] == [1, 1, 1]


def test_file_order(root: Path) -> None:
    assert file_order() == ORDER
    images = open_part("fss", root, "test").images
    assert list(images.ids) == [f"{name}/{number}" for name in ("cup", "drum") for number in ORDER]
    assert Path(images.image_path("cup/10")) == root / "cup" / "10.jpg"
    assert Path(images.mask_path("cup/10")) == root / "cup" / "10.png"


def test_the_index_counts_objects_of_the_folders_class(root: Path) -> None:
    index = class_index(open_part("fss", root, "select").images, workers=0)
    assert index["abacus/10"] == {521: 10}
    assert index["crab/3"] == {522: 3}
    assert index["zebra/1"] == {523: 1}
    assert len(index) == 30


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_an_object_is_128_and_more(root: Path, mode: str) -> None:
    images = open_part("fss", root, "test").images
    save(root / "cup" / "1.png", 7, mode, values=(128, 127))
    labels = images.load("cup/1")[1]
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0] * 6, [0] * 6]
    assert class_index(images, workers=0)["cup/1"] == {761: 7}
    assert images.label_of(761) == 1


def test_a_mask_without_an_object_is_never_drawn(root: Path) -> None:
    save(root / "cup" / "1.png", 24, "RGB", values=(127, 0))
    part = open_part("fss", root, "test")
    assert class_index(part.images, workers=0)["cup/1"] == {}
    names = open_pool(part, 5, workers=0).names
    assert len(names) == 19
    assert "cup/1" not in names


def test_one_pixel_is_enough_for_a_support(root: Path) -> None:
    for number in range(2, 11):
        save(root / "cup" / f"{number}.png", 0, "L")
    part = open_part("fss", root, "test")
    with pytest.raises(UserError, match=r"class 761 \(cup\) has 1 images .* 1 pixels of it, 1-shot episodes need"):
        open_pool(part, 1, workers=0)
    save(root / "cup" / "2.png", 1, "L")
    assert open_pool(part, 1, workers=0).large[761].sum() == 2


def test_the_two_indices_of_a_folder_do_not_mix(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset.index.SETTLED_NS", -(10**10))  # keep what was written just now
    save(root / "cup" / "1.png", 3, "L", values=(200, 9))
    objects = open_part("fss", root, "test").images
    labels = replace(objects.listed("labels", ["cup/1"]), binary=False)
    for _ in range(2):
        assert class_index(objects, workers=0)["cup/1"] == {761: 3}
        assert class_index(labels, workers=0)["cup/1"] == {200: 3, 9: 21}
    assert cache_path(root, binary=True).is_file()
    assert cache_path(root).is_file()


# Lists


def test_lists_of_an_hsnet_checkout(root: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits"
    for part, names in (("trn", "zebra\nbus\n"), ("val", "cup\n"), ("test", "drum\n")):
        write(splits / "fss" / f"{part}.txt", names)
    fold = open_fold("fss", root, splits=str(splits))
    assert [part.images.class_names for part in fold] == [{1: "bus", 2: "zebra"}, {521: "cup"}, {761: "drum"}]


def test_a_class_listed_twice(root: Path) -> None:
    path = write(root / "splits" / "val.txt", "crab\nabacus\ncrab\nzebra\n")
    assert failure(root) == f"{path}: lists crab twice"
    with pytest.raises(UserError, match="lists crab twice"):
        class_list(root / "splits", "select")


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list(root: Path, name: str) -> None:
    path = root / "splits" / f"{name}.txt"
    path.unlink()
    expected = "python prepare.py fss makes it, or pass an HSNet checkout's data/splits"
    assert failure(root) == f"{path}: no such list; {expected}"


def test_a_missing_list_of_splits_is_not_taken_from_the_dataset(root: Path, tmp_path: Path) -> None:
    assert failure(root, tmp_path).startswith(f"{tmp_path / 'fss' / 'trn.txt'}: no such list; ")


def test_an_empty_list(root: Path) -> None:
    path = write(root / "splits" / "test.txt", "\n")
    assert failure(root) == f"{path}: the list is empty"


def test_a_class_without_a_folder(root: Path) -> None:
    write(root / "splits" / "test.txt", "cup\nzoo\n")
    path = root / "zoo" / "1.jpg"
    assert failure(root).startswith(f"{path}: no such image, but the list of fss test names it; add it")


def test_missing_root(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    assert failure(path) == f"{path}: no such folder; the data root must be FSS-1000 or the folder that holds it"


def test_published_numbers() -> None:
    assert fss.COUNTS == {"train": 520, "select": 240, "test": 240}
    assert fss.FIRST == {"train": 1, "select": 1 + 520, "test": 1 + 520 + 240}
