"""FSS-1000: parts, numbers of classes, order of files, object masks of any mode, and lists that are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from dataset import Fss, class_index, open_fold, open_pool, open_split
from dataset.check import find_notes
from dataset.fss import FILE_ORDER, FIRST_CLASSES
from dataset.images import resize_labels
from dataset.index import cache_path, read_object, read_pairs
from dataset.samples import whole_image
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
    assert images.mask_of(labels, 761).tolist() == labels.tolist()


def test_one_pixel_is_enough_for_a_support(root: Path) -> None:
    for number in range(2, 11):
        save_object(root / "cup" / f"{number}.png", 1, "L")
    assert open_pool(open_split("fss", root, "test"), 1, workers=0).large[761].sum() == 10


def test_a_mask_without_an_object(root: Path) -> None:
    for number in (2, 3):
        save_object(root / "cup" / f"{number}.png", 24, "L", values=(127, 0))
    split = open_split("fss", root, "test")
    assert class_index(split.images, workers=0)["cup/2"] == {}
    with pytest.raises(UserError, match=r"cup/2\.png: shows no object, no value is .* \(and 1 more findings\)"):
        open_pool(split, 1, workers=0)


# Masks as published: of another size, or none


def test_a_mask_of_another_size_is_resized(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """To 6x4 pixels from 3x2: each pixel becomes a square of four."""
    Image.fromarray(np.array([[255, 255, 0], [255, 0, 0]], np.uint8)).save(root / "cup" / "1.png")
    split = open_split("fss", root, "test")
    for _ in range(2):
        assert split.images.load("cup/1")[1].tolist() == [[1, 1, 1, 1, 0, 0]] * 2 + [[1, 1, 0, 0, 0, 0]] * 2
        assert class_index(split.images, workers=0)["cup/1"] == {761: 12}
        open_pool(split, 1, workers=0)
    printed = capfd.readouterr().out.splitlines()
    what = "1 mask of another size, resized to their images by the nearest pixel, as in HSNet: cup/1"
    assert [line for line in printed if "another size" in line] == [f"note: {root}: {what}"]


@pytest.mark.parametrize("size", [(6, 4), (5, 3), (11, 7), (300, 400), (1, 1)])
@pytest.mark.parametrize("own", [(3, 2), (7, 11), (375, 500)])
def test_labels_are_resized_as_by_torch(own: tuple[int, int], size: tuple[int, int]) -> None:
    labels = np.random.RandomState(0).randint(0, 256, own, np.uint8)
    expected = interpolate(torch.from_numpy(labels)[None, None].float(), size[::-1], mode="nearest")
    assert np.array_equal(resize_labels(labels, size), expected[0, 0].numpy())


def test_hsnets_square_is_of_the_masks_own_pixels(root: Path) -> None:
    """Resized once, not by way of the image's size."""
    labels = np.random.RandomState(0).randint(0, 2, (33, 47), np.uint8)
    Image.fromarray(labels * 255).save(root / "cup" / "1.png")
    images = open_split("fss", root, "test").images
    expected = interpolate(torch.from_numpy(labels)[None, None].float(), (400, 400), mode="nearest")
    assert np.array_equal(whole_image(images, "cup/1", [761], 400)[1][0], expected[0, 0].numpy())


GREYS = np.random.RandomState(0).randint(0, 256, (64, 64), np.uint8)
RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
DISC = (np.hypot(*np.mgrid[-32:32, -32:32]) < 20).astype(np.uint8)
MASKS = {
    "photograph": (GREYS, False),
    "ramp": (RAMP, False),
    "0 and 255": (255 * DISC, True),
    "16 and 235": (16 + 219 * DISC, True),
    "1 and 128": (1 + 127 * DISC, True),
    "noise of JPEG": (np.clip(255 * DISC.astype(int) + GREYS // 16 - 8, 0, 255).astype(np.uint8), True),
    "soft edges": (np.clip(128 + 60 * (20 - np.hypot(*np.mgrid[-32:32, -32:32])), 0, 255).astype(np.uint8), True),
    "only the object": (np.full((64, 64), 255, np.uint8), True),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_photograph_is_told_from_a_mask(name: str, root: Path) -> None:
    grey, is_mask = MASKS[name]
    path = root / "cup" / "1.png"
    Image.fromarray(grey).save(path)
    assert read_object(str(path))[2] == is_mask
    images = open_split("fss", root, "test").images.listed("one", ["cup/1"])
    notes = list(find_notes(images, read_pairs(images, 0)))
    assert any("many grey values" in note and note.endswith(": cup/1") for note in notes) != is_mask
    assert any("1 mask without background, used as in HSNet: cup/1" in note for note in notes) == (grey.min() >= 128)


def test_the_two_indices_of_a_folder_do_not_mix(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataset.index.SETTLED_NS", -(10**10))  # keep what was written just now
    save_object(root / "cup" / "1.png", 3, "L", values=(200, 9))
    objects = open_split("fss", root, "test").images
    labels = replace(objects.listed("labels", ["cup/1"]), binary=False)
    for _ in range(2):
        assert class_index(objects, workers=0)["cup/1"] == {761: 3}
        assert class_index(labels, workers=0)["cup/1"] == {200: 3, 9: 21}
    assert cache_path(root, "binary").is_file()
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
