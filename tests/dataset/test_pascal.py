"""Pascal-5i's layouts: where folders and lists may lie, and what is named when they do not."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from dataset import Pascal, class_index, open_fold
from tests.dataset.layouts import failure, lay_out_pascal
from tests.files import CHECKOUT, write
from tests.real_data import REAL_DATA


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out_pascal(tmp_path)


def test_a_fold(root: Path) -> None:
    fold = open_fold("pascal", root, 1)
    assert fold.train.images.ids == ("d", "a", "c", "b")
    assert fold.test.images.ids == ("f", "e")
    assert Path(fold.test.images.image_path("e")) == root / "JPEGImages" / "e.jpg"
    assert Path(fold.test.images.mask_path("e")) == root / "SegmentationClassAug" / "e.png"
    assert fold.test.classes == [6, 7, 8, 9, 10]
    assert fold.train.classes == [1, 2, 3, 4, 5, *range(11, 21)]


def test_augmented_masks_are_preferred(root: Path) -> None:
    (root / "SegmentationClass").mkdir()
    assert Pascal(root).open_list("val").masks == root / "SegmentationClassAug"
    shutil.rmtree(root / "SegmentationClassAug")
    assert Pascal(root).open_list("val").masks == root / "SegmentationClass"


def test_missing_folders_are_named(root: Path) -> None:
    (root / "JPEGImages").rename(root / "Images")
    assert (
        failure("pascal", root)
        == f"{root}: no folder JPEGImages; the data root must be VOC2012 or the folder that holds it; "
        "it holds ImageSets/, Images/, SegmentationClassAug/"
    )
    (root / "Images").rename(root / "JPEGImages")
    (root / "SegmentationClassAug").rename(root / "Masks")
    missing = "no folder SegmentationClassAug (or SegmentationClass) with the masks"
    assert failure("pascal", root) == f"{root}: {missing}; it holds ImageSets/, JPEGImages/, Masks/"


def test_missing_lists_are_named(root: Path) -> None:
    (root / "ImageSets" / "train.txt").unlink()
    shutil.move(root / "ImageSets" / "val.txt", root / "val.txt")
    message = failure("pascal", root)
    assert message.startswith(f"{root / 'ImageSets' / 'val.txt'}: no such list")
    assert "ImageSets/Segmentation/val.txt" in message


def test_lists_are_derived_from_vocs_own(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(root / "ImageSets", root / "lists")
    write(root / "ImageSets" / "Segmentation" / "val.txt", "e\nb\n")
    write(root / "SegmentationClassAug" / "readme.txt", "not a mask")
    assert Pascal(root).open_list("val").ids == ("e", "b")
    assert capsys.readouterr().out == f"{root / 'ImageSets' / 'val.txt'}: no such list, derived: 2 val images\n"
    assert Pascal(root).open_list("train").ids == ("a", "c", "d", "f")
    assert capsys.readouterr().out == f"{root / 'ImageSets' / 'train.txt'}: no such list, derived: 4 train images\n"


@pytest.mark.parametrize(("missing", "train", "val"), [("val", "dacb", "eb"), ("train", "abcd", "fe")])
def test_one_list_may_be_derived(root: Path, missing: str, train: str, val: str) -> None:
    """A derived train list leaves out the val list that is in use, not VOC's."""
    write(root / "ImageSets" / "Segmentation" / "val.txt", "e\nb\n")
    (root / "ImageSets" / f"{missing}.txt").unlink()
    assert Pascal(root).open_list("train").ids == tuple(train)
    assert Pascal(root).open_list("val").ids == tuple(val)


def test_masks_of_the_val_list_only_leave_nothing_to_train_on(root: Path) -> None:
    shutil.move(root / "ImageSets", root / "lists")
    write(root / "ImageSets" / "Segmentation" / "val.txt", "\n".join("abcdef"))
    assert "holds no mask that is not in" in failure("pascal", root)


def test_folds_and_class_names() -> None:
    folds = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15], [16, 17, 18, 19, 20]]
    assert [Pascal.novel_classes(fold) for fold in range(4)] == folds
    assert Pascal.episodes == 1000
    assert list(Pascal.class_names) == list(range(1, 21))
    assert [Pascal.class_names[cls] for cls in (1, 5, 15, 20)] == ["aeroplane", "bottle", "person", "tvmonitor"]


@pytest.mark.skipif(not (REAL_DATA / "minivoc").is_dir(), reason="needs VOC's masks")
def test_real_masks_have_the_known_counts() -> None:
    content = json.loads(gzip.decompress((CHECKOUT / "tests" / "golden" / "pascal_index.json.gz").read_bytes()))
    known = {**content["train"], **content["val"]}
    images = open_fold("pascal", REAL_DATA / "minivoc", 0).test.images
    index = class_index(images)
    assert len(index) == 154
    for image, pixels in index.items():  # mirror images are named ...m
        assert pixels == {int(cls): count for cls, count in known[image.removesuffix("m")].items()}
    picture, labels = images.load(images.ids[0])
    assert picture.size == labels.shape[::-1]
