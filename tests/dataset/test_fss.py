"""FSS-1000: parts, numbers of classes, order of files, object masks of any mode, and lists that are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset import Fss, class_index, open_fold, open_pool, open_split
from dataset.fss import FILE_ORDER, FIRST_CLASSES
from dataset.index import cache_path
from tests.dataset.layouts import FSS_NAMES, failure, lay_out_fss, save_object
from tests.files import write
from util.errors import UserError

ORDER = ["1", "10", "2", "3", "4", "5", "6", "7", "8", "9"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out_fss(tmp_path)


def test_splits_and_numbers_of_classes(root: Path) -> None:
    fold = open_fold("fss", root)
    assert fold.train.images.class_names == {1: "apple", 2: "bus"}
    assert fold.val.images.class_names == {521: "abacus", 522: "crab", 523: "zebra"}
    assert fold.test.images.class_names == {761: "cup", 762: "drum"}
    assert [split.classes for split in fold] == [[1, 2], [521, 522, 523], [761, 762]]
    assert [split.names() for split in fold] == [["apple", "bus"], ["abacus", "crab", "zebra"], ["cup", "drum"]]
    assert [split.images.name for split in fold] == ["fss train", "fss val", "fss test"]


def test_file_order(root: Path) -> None:
    assert FILE_ORDER == ORDER
    images = open_split("fss", root, "test").images
    assert list(images.ids) == [f"{name}/{number}" for name in ("cup", "drum") for number in ORDER]
    assert Path(images.image_path("cup/10")) == root / "cup" / "10.jpg"
    assert Path(images.mask_path("cup/10")) == root / "cup" / "10.png"


def test_the_index_counts_objects_of_the_folders_class(root: Path) -> None:
    index = class_index(open_split("fss", root, "val").images, workers=0)
    assert index["abacus/10"] == {521: 10}
    assert index["crab/3"] == {522: 3}
    assert index["zebra/1"] == {523: 1}
    assert len(index) == 30


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_an_object_is_128_and_more(root: Path, mode: str) -> None:
    images = open_split("fss", root, "test").images
    save_object(root / "cup" / "1.png", 7, mode, values=(128, 127))
    labels = images.load("cup/1")[1]
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0] * 6, [0] * 6]
    assert class_index(images, workers=0)["cup/1"] == {761: 7}
    assert images.label_of(761) == 1


def test_one_pixel_is_enough_for_a_support_and_none_is_never_drawn(root: Path) -> None:
    for number in range(2, 11):
        save_object(root / "cup" / f"{number}.png", 24, "L", values=(127, 0))  # no object
    split = open_split("fss", root, "test")
    assert class_index(split.images, workers=0)["cup/2"] == {}
    with pytest.raises(UserError, match=r"class 761 \(cup\) has 1 images .* 1 pixels of it, 1-shot episodes need"):
        open_pool(split, 1, workers=0)
    save_object(root / "cup" / "2.png", 1, "L")
    pool = open_pool(split, 1, workers=0)
    assert pool.large[761].sum() == 2
    assert [name for name in pool.names if name.startswith("cup/")] == ["cup/1", "cup/2"]


def test_the_two_indices_of_a_folder_do_not_mix(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset.index.SETTLED_NS", -(10**10))  # keep what was written just now
    save_object(root / "cup" / "1.png", 3, "L", values=(200, 9))
    objects = open_split("fss", root, "test").images
    labels = replace(objects.listed("labels", ["cup/1"]), binary=False)
    for _ in range(2):
        assert class_index(objects, workers=0)["cup/1"] == {761: 3}
        assert class_index(labels, workers=0)["cup/1"] == {200: 3, 9: 21}
    assert cache_path(root, binary=True).is_file()
    assert cache_path(root).is_file()


# Lists


def test_lists_of_an_hsnet_checkout(root: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits"
    for file, names in (("trn", "zebra\nbus\n"), ("val", "cup\n"), ("test", "drum\n")):
        write(splits / "fss" / f"{file}.txt", names)
    fold = open_fold("fss", root, hsnet_lists=str(splits))
    assert [split.images.class_names for split in fold] == [{1: "bus", 2: "zebra"}, {521: "cup"}, {761: "drum"}]


@pytest.mark.parametrize("name", FSS_NAMES)
def test_a_missing_list(root: Path, name: str) -> None:
    path = root / "splits" / f"{name}.txt"
    path.unlink()
    expected = "python prepare.py fss makes it, or pass an HSNet checkout's data/splits"
    assert failure("fss", root) == f"{path}: no such list; {expected}"
    nowhere = root.parent / "fss" / "trn.txt"  # of --splits, which the dataset's own do not stand in for
    assert failure("fss", root, root.parent) == f"{nowhere}: no such list; {expected}"


def test_published_numbers() -> None:
    assert Fss.counts == {"train": 520, "val": 240, "test": 240}
    assert FIRST_CLASSES == {"train": 1, "val": 1 + 520, "test": 1 + 520 + 240}
