"""Pascal-5i: PASCAL VOC 2012 with the augmented masks, four folds of five classes (docs/method.md, section 5)."""

from __future__ import annotations

from pathlib import Path

from dataset.episodes import MIN_PIXELS
from dataset.images import ImageSet, Part, need_folders
from dataset.lists import class_names, read_ids
from util.distributed import say
from util.errors import UserError

CLASS_NAMES = dict(
    enumerate(
        "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor".split(),
        start=1,
    )
)
FOLDER = "VOC2012"  # inside a folder that holds several datasets
PARTS = ("train", "test")  # the release chooses its best weights on the test classes
COUNTS = {"train": 10582, "val": 1449}  # images with an augmented mask, 12,031 in all
EPISODES = 1000  # of one evaluation seed
CROP_SIZE = 473


def novel_classes(fold: int) -> list[int]:
    """The five classes 5k+1 .. 5k+5 that a fold tests on."""
    return list(range(5 * fold + 1, 5 * fold + 6))


def open_part(root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
    """The "train" or "test" part of a fold; there is but one class order."""
    novel = novel_classes(fold)
    images = image_set(root, "val" if part == "test" else "train")
    return Part(images, [cls for cls in images.class_names if (cls in novel) == (part == "test")], MIN_PIXELS)


def any_image(root: Path) -> ImageSet:
    """Every image by its name; ids are left empty."""
    need_folders(root, FOLDER, "JPEGImages")
    return ImageSet("pascal", (), root / "JPEGImages", mask_folder(root), class_names(root, CLASS_NAMES))


def image_set(root: Path, split: str) -> ImageSet:
    """The "train" or "val" images of a VOC2012 folder. Raises UserError naming what is missing.

    A list that is missing is derived: val is VOC's own segmentation val list, train every other mask.
    """
    everything = any_image(root)
    listed = root / "ImageSets" / f"{split}.txt"
    if listed.is_file():
        ids = read_ids(listed)
    else:
        ids = derive_list(root, split)
        say(f"{listed}: no such list, derived: {len(ids)} {split} images")
    return everything.listed(f"pascal {split}", ids)


def mask_folder(root: Path) -> Path:
    """SegmentationClassAug, or where there is none SegmentationClass."""
    folders = [root / name for name in ("SegmentationClassAug", "SegmentationClass")]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise UserError(f"{root}: no folder SegmentationClassAug (or SegmentationClass) with the masks")
    return found


def derive_list(root: Path, split: str) -> tuple[str, ...]:
    """VOC's own list of validation images, or every image that has a mask and is not in the val list."""
    val, own = (root / "ImageSets" / name for name in ("val.txt", "Segmentation/val.txt"))
    if not val.is_file() and not own.is_file():
        raise UserError(f"{val}: no such list, and no ImageSets/Segmentation/val.txt to derive it from")
    held_out = read_ids(val if val.is_file() else own)
    if split == "val":
        return held_out
    masks = mask_folder(root)
    ids = tuple(sorted({path.stem for path in masks.glob("*.png")} - set(held_out)))
    if not ids:
        raise UserError(f"{masks}: holds no mask that is not in the val list, so no image is left to train on")
    return ids
