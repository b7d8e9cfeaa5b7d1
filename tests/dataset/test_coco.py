"""COCO-20i: the folds of both class orders, both layouts, and what is named when folders or masks are missing."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import pytest

from dataset import Coco, open_fold
from tests.dataset.layouts import COCO_NAMES, failure, lay_out_coco
from tests.files import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out_coco(tmp_path)


@pytest.fixture
def authors(tmp_path: Path) -> Path:
    """The same as the authors lay it out, with lists in an order of their own."""
    root = tmp_path / "COCO2014"
    for split, names in COCO_NAMES.items():
        for name in names:
            write(root / f"{split}_coco" / "JPEGImages" / f"{name}.jpg")
            write(root / f"{split}_coco" / "SegmentationClassAug" / f"{name}.png")
        write(root / f"{split}_coco" / "ImageSets" / f"{split}.txt", "\n".join(names[::-1]))
    return root


# The folds


def test_folds_by_hand() -> None:
    with pytest.raises(ValueError, match=r"^class_order None is not one of"):
        Coco.novel_classes(0, None)
    interleaved = [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61, 65, 69, 73, 77]
    for fold, (first, last) in enumerate(((1, 20), (21, 40), (41, 60), (61, 80))):
        assert Coco.novel_classes(fold, "contiguous") == list(range(first, last + 1))
        assert Coco.novel_classes(fold, "interleaved") == [cls + fold for cls in interleaved]


def test_folds_of_the_two_orders_share_five_classes() -> None:
    for one, other in product(range(4), repeat=2):
        assert len({*Coco.novel_classes(one, "contiguous")} & {*Coco.novel_classes(other, "interleaved")}) == 5


def test_class_names() -> None:
    assert list(Coco.class_names) == list(range(1, 81))
    by_hand = {1: "person", 12: "stop sign", 13: "parking meter", 25: "backpack", 61: "dining table", 80: "toothbrush"}
    assert {cls: Coco.class_names[cls] for cls in by_hand} == by_hand


@pytest.mark.parametrize("order", Coco.class_orders)
def test_a_fold_trains_on_its_sixty_other_classes(root: Path, order: str) -> None:
    fold = open_fold("coco", root, 2, order)
    assert fold.test.classes == fold.val.classes == Coco.novel_classes(2, order)
    assert fold.train.classes == [cls for cls in range(1, 81) if cls not in Coco.novel_classes(2, order)]
    assert fold.train.names()[0] == "person"
    assert (fold.train.min_pixels, fold.test.min_pixels) == (2048, 2048)


# Layouts


def test_a_fold(root: Path) -> None:
    fold = open_fold("coco", root, 0, "contiguous")
    assert list(fold.train.images.ids) == COCO_NAMES["train"]
    assert list(fold.test.images.ids) == COCO_NAMES["val"]
    image = COCO_NAMES["val"][2]
    assert Path(fold.test.images.image_path(image)) == root / "val2014" / f"{image}.jpg"
    assert Path(fold.test.images.mask_path(image)) == root / "annotations" / "val2014" / f"{image}.png"


@pytest.mark.parametrize("masks", ["SegmentationClassAug", "SegmentationClass"])
@pytest.mark.parametrize("listed", [True, False])
def test_the_authors_layout(authors: Path, masks: str, listed: bool) -> None:
    for split in COCO_NAMES:
        theirs = authors / f"{split}_coco"
        (theirs / "SegmentationClassAug").rename(theirs / masks)
        if not listed:
            shutil.rmtree(theirs / "ImageSets")
    fold = open_fold("coco", authors, 3, "interleaved")
    for split, part in (("train", fold.train), ("val", fold.test)):
        names = COCO_NAMES[split][::-1] if listed else COCO_NAMES[split]
        assert list(part.images.ids) == names
        assert part.images.name == f"coco {split}"
        assert Path(part.images.image_path(names[0])) == authors / f"{split}_coco" / "JPEGImages" / f"{names[0]}.jpg"
        assert Path(part.images.mask_path(names[0])) == authors / f"{split}_coco" / masks / f"{names[0]}.png"


def test_which_of_several_folders_is_taken(root: Path, authors: Path) -> None:
    """COCO's own layout before the authors', augmented masks before others."""
    (authors / "val_coco" / "SegmentationClass").mkdir()
    assert Coco(root).open_list("val").images == root / "val2014"
    shutil.rmtree(root / "annotations")
    assert Coco(root).open_list("val").images == authors / "val_coco" / "JPEGImages"
    assert Coco(authors).open_list("val").masks == authors / "val_coco" / "SegmentationClassAug"


def test_a_list_chooses_images_and_gives_their_order(root: Path) -> None:
    nine, ten, thirty, _ = COCO_NAMES["train"]
    write(root / "ImageSets" / "train.txt", f"{thirty}\n{nine}\n# a note\n\n{ten}\n")
    assert Coco(root).open_list("train").ids == (thirty, nine, ten)
    assert list(Coco(root).open_list("val").ids) == COCO_NAMES["val"]


def test_other_files_are_no_images(root: Path) -> None:
    write(root / "val2014" / "readme.txt")
    write(root / "annotations" / "val2014" / ".COCO_val2014_000000000009.png.77.ssp-tmp")
    assert list(Coco(root).open_list("val").ids) == COCO_NAMES["val"]


# What is missing


def test_images_without_masks(root: Path) -> None:
    folder = root / "annotations" / "val2014"
    for name in COCO_NAMES["val"][:3]:
        (folder / f"{name}.png").unlink()
    listed = root / "ImageSets" / "val.txt"
    assert failure("coco", root) == (
        f"{folder}: 3 of the 4 images in val2014 have no mask there; python prepare.py coco makes them, "
        f"or {listed} can list the images to use"
    )
    write(listed, COCO_NAMES["val"][3])
    assert Coco(root).open_list("val").ids == (COCO_NAMES["val"][3],)


def test_missing_folders_are_named(root: Path) -> None:
    shutil.rmtree(root / "annotations" / "train2014")
    expected = f"{root}: no masks in annotations/train2014; make them: python prepare.py coco --data-root {root}"
    assert failure("coco", root) == expected
    shutil.rmtree(root / "train2014")
    way_out = "the data root must be COCO2014 or the folder that holds it; it holds annotations/, val2014/"
    assert failure("coco", root) == f"{root}: no folder train2014 (nor train_coco); {way_out}"
