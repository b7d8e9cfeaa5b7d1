"""Pascal-5i: PASCAL VOC 2012 with the augmented masks, four folds of five classes (design, 5 and 7)."""

from __future__ import annotations

from pathlib import Path

from dataset.images import ImageSet, need_folders
from util.errors import UserError

CLASS_NAMES = dict(
    enumerate(
        "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor".split(),
        start=1,
    )
)
FOLDER = "VOC2012"  # inside a folder that holds several datasets
EPISODES = 1000  # of one evaluation seed


def novel_classes(fold: int) -> list[int]:
    """The five classes 5k+1 .. 5k+5 that a fold tests on."""
    return list(range(5 * fold + 1, 5 * fold + 6))


def any_image(root: Path) -> ImageSet:
    """Every image by its name; ids are left empty."""
    images, masks = _folders(root)
    return ImageSet("pascal", (), images, masks, _class_names(root))


def image_sets(root: Path) -> dict[str, ImageSet]:
    """The "train" and "val" images of a VOC2012 folder. Raises UserError naming what is missing.

    Where ImageSets/{train,val}.txt are missing they are derived: val is VOC's own segmentation val
    list, train every other mask.
    """
    images, masks = _folders(root)
    return {
        split: ImageSet(f"pascal {split}", ids, images, masks, _class_names(root))
        for split, ids in _lists(root, masks).items()
    }


def _folders(root: Path) -> tuple[Path, Path]:
    """The folders of the images and of the masks."""
    need_folders(root, FOLDER, "JPEGImages")
    folders = [root / name for name in ("SegmentationClassAug", "SegmentationClass")]
    masks = next((folder for folder in folders if folder.is_dir()), None)
    if masks is None:
        raise UserError(f"{root}: no folder SegmentationClassAug (or SegmentationClass) with the masks")
    return root / "JPEGImages", masks


def _class_names(root: Path) -> dict[int, str]:
    """VOC's, or those that the toy dataset gives its own classes."""
    own = root / "ImageSets" / "classes.txt"
    if not own.is_file():
        return CLASS_NAMES
    try:
        names = own.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{own}: cannot be read as a list of class names ({error})") from error
    if len(names) != len(CLASS_NAMES):
        raise UserError(f"{own}: {len(names)} lines, expected the names of {len(CLASS_NAMES)} classes; or remove it")
    return dict(enumerate(names, start=1))


def _lists(root: Path, masks: Path) -> dict[str, tuple[str, ...]]:
    """The ids of ImageSets/{train,val}.txt; a list that is missing is derived."""
    sets = root / "ImageSets"
    train, val, own = sets / "train.txt", sets / "val.txt", sets / "Segmentation" / "val.txt"
    missing = [path for path in (train, val) if not path.is_file()]
    if not val.is_file() and not own.is_file():
        raise UserError(f"{val}: no such list, and no ImageSets/Segmentation/val.txt to derive it from")
    held_out = _read_list(val if val.is_file() else own)
    if train.is_file():
        kept = _read_list(train)
    else:
        kept = tuple(sorted({path.stem for path in masks.glob("*.png")} - set(held_out)))
        if not kept:
            raise UserError(f"{masks}: holds no mask that is not in the val list, so no image is left to train on")
    if missing:
        names = " and ".join(path.name for path in missing)
        print(f"{sets}: no {names}, derived: {len(kept)} train and {len(held_out)} val images")
    return {"train": kept, "val": held_out}


def _read_list(path: Path) -> tuple[str, ...]:
    """The image ids of a list, one a line; also the "JPEGImages/ID.jpg SegmentationClassAug/ID.png" form."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list of image ids ({error})") from error
    ids = tuple(Path(line.split()[0]).stem for line in lines if line.strip())
    if not ids:
        raise UserError(f"{path}: the list is empty")
    if len(set(ids)) < len(ids):
        twice = next(image for number, image in enumerate(ids) if image in ids[:number])
        raise UserError(f"{path}: lists {twice} twice")
    return ids
