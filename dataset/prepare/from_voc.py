"""Labelled images in Pascal VOC's layout: of VOC itself, and as CVAT, Datumaro and LabelMe's labelme2voc write it.

The masks hold labels as numbers or as colours. labelmap.txt (CVAT, Datumaro), class_names.txt (labelme2voc) or
classes.txt names the classes; without one they are VOC's. What is called ignore or void, and 255, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.folders import describe_folder, find_folder, holds_files
from dataset.formats import list_suffixes
from dataset.images import MASKS, open_image_file, read_mask
from dataset.labels import BLURRED, IGNORE, LOSSY, colour_codes, voc_colour
from dataset.lists import image_path, read_class_names, read_image_lines, read_lines
from dataset.pascal import MASK_FOLDERS, Pascal
from dataset.prepare.own import Fault, Labelled, Source
from dataset.prepare.source_files import encode_labels, id_below, index_images, list_files
from util.errors import UserError

FOLDERS = (*MASK_FOLDERS, "SegmentationClassPNG")  # the last is that of older versions of labelme2voc
LABEL_MAP, CLASS_LISTS = "labelmap.txt", ("class_names.txt", "classes.txt")
BACKGROUND = ("background", "_background_", "__background__")
IGNORED = ("ignore", "ignored", "__ignore__", "void")
BLACK, BORDER = 0x000000, 0xE0E0C0  # in VOC's colours


class Labels(NamedTuple):
    """What the labels of the masks mean."""

    file: Path  # that says it, or should
    names: dict[int, str]  # of classes; "" of background
    ignored: set[int]
    read: Callable[[Path], np.ndarray]  # a mask's labels (H, W)


def read_voc(folder: Path) -> Source:
    """The labelled images of a folder in VOC's layout, those of JPEGImages that have a mask.

    Arguments:
        folder: holds JPEGImages and SegmentationClassAug, SegmentationClass or SegmentationClassPNG; or one above it.
    Raises:
        UserError: a folder is not there, there is no mask, or the file that names the classes is damaged.
    """
    root = find_folder(folder, lambda below: (below / "JPEGImages").is_dir(), Pascal.folder)
    if root is None:
        what = describe_folder(folder) if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: no folder JPEGImages in it; {what}")
    place = _find_masks(root)
    masks = {id_below(place, path): path for path in list_files(place, MASKS[:1])}
    top = _unpack(root / "JPEGImages")
    images = index_images(top, list_suffixes())
    labels = _read_labels(root)
    without = len(images.keys() - masks.keys())
    notes = [f"{top}: {without} images left out, which have no mask"] if without else []
    classes = [name for label, name in sorted(labels.names.items()) if name and label not in labels.ignored]

    def give() -> Iterator[Labelled | Fault]:
        for image, mask in masks.items():
            yield label_pair(image, images.get(image, []), mask, labels)

    return Source(list(dict.fromkeys(classes)), len(masks), give, _read_lists(root, masks, notes), notes)


def label_pair(image: str, files: list[Path], mask: Path, labels: Labels) -> Labelled | Fault:
    """An image with its label mask. files: of the image, one if nothing is wrong."""
    if not files:
        return Fault(f"{mask}: a mask without an image; add the image, or remove the mask", "no such image")
    if len(files) > 1:
        return Fault(f"{files[0]}: {files[1]} is an image of the same name; leave one of the two", "image twice")
    try:
        numbers = labels.read(mask)
        classes, ignored = encode_labels(numbers, labels.names, labels.ignored)
    except UserError as error:
        return Fault(str(error), "mask")
    except KeyError as error:
        return Fault(f"{mask}: holds the label {error}, which has no name; add it to {labels.file}", "unknown class")
    return Labelled(image, files[0], numbers.shape, classes, ignored)


def number_names(names: list[str]) -> dict[int, str]:
    """The name of each label of a list of names: from 0 if it holds the background, else from 1; 255 is ignored.

    labelme2voc's __ignore__ before the background is the label -1, which is saved as 255.
    """
    if names[0].lower() in IGNORED and len(names) > 1 and names[1].lower() in BACKGROUND:
        names = names[1:]
    start = 0 if any(name.lower() in BACKGROUND for name in names) else 1
    return {label: "" if name.lower() in BACKGROUND else name for label, name in enumerate(names, start)}


def _find_masks(root: Path) -> Path:
    places = [_unpack(root / name) for name in FOLDERS if (root / name).is_dir()]
    if not places:
        raise UserError(f"{root}: no folder SegmentationClass with the masks; {describe_folder(root)}")
    found = next((place for place in places if list_files(place, MASKS[:1])), None)
    if found is None:
        arrays = any(holds_files(place, ".npy") for place in places)
        way_out = "its .npy are not read; run labelme2voc.py again, which writes both" if arrays else "add the masks"
        raise UserError(f"{places[0]}: holds no mask (.png); {way_out}")
    return found


def _unpack(folder: Path) -> Path:
    """The folder, or the one of the same name that an archive has put into it. Other folders in it are of the ids."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def _read_labels(root: Path) -> Labels:
    if (root / LABEL_MAP).is_file():
        return _read_label_map(root / LABEL_MAP)
    file = next((path for name in CLASS_LISTS if (path := root / name).is_file()), None)
    if file is None:
        # A toy dataset names its own
        return Labels(root / CLASS_LISTS[1], read_class_names(root, Pascal.class_names), {IGNORE}, _read_voc_mask)
    return collect_labels(file, number_names(read_lines(file, "")), _read_voc_mask)


def collect_labels(file: Path, names: dict[int, str], read: Callable[[Path], np.ndarray]) -> Labels:
    """What labels mean of which a file holds the names, "" of background."""
    if len(names) > IGNORE:
        raise UserError(f"{file}: {len(names)} names, a mask tells at most {IGNORE - 1} classes apart; shorten it")
    ignored = {IGNORE, *(label for label, name in names.items() if name.lower() in IGNORED)}
    return Labels(file, names, ignored, read)


def _read_voc_mask(path: Path) -> np.ndarray:
    return read_mask(path, voc_colours=True)


def _read_label_map(file: Path) -> Labels:
    """Lines of "name:red,green,blue:parts:actions"; a class without a colour has VOC's of its place."""
    lines = [line.split(":") for line in read_lines(file, "")]
    numbers = number_names([line[0].strip() for line in lines])
    own: dict[int, int] = {}
    for label, (name, colour, *_) in zip(numbers, ([*line, ""] for line in lines[-len(numbers) :]), strict=True):
        code = _parse_colour(colour, file, name) if colour.strip() else _code(voc_colour(label))
        if code in own:
            raise UserError(f"{file}: {name} has the colour of another class; give it one of its own")
        own[code] = label
    labels_of = {BLACK: 0, BORDER: IGNORE, **own}

    def read(path: Path) -> np.ndarray:
        return _read_colours(path, labels_of, file)

    found = collect_labels(file, numbers, read)
    if (black := own.get(BLACK)) is not None:  # the background, whatever it is called
        found.names[black] = ""
    return found


def _parse_colour(text: str, file: Path, name: str) -> int:
    try:
        colour = [int(part) for part in text.split(",")]
        if len(colour) == 3 and all(0 <= part <= 255 for part in colour):
            return _code(colour)
    except ValueError:
        pass
    raise UserError(f"{file}: {name} has {text!r:.40} for a colour; write it as 128,0,0")


def _code(colour: tuple[int, ...] | list[int]) -> int:
    return int(colour_codes(np.array(colour)))


def _read_colours(path: Path, labels_of: Mapping[int, int], file: Path) -> np.ndarray:
    """The labels (H, W) of a mask in colours, also those of a palette; grey numbers are labels.

    Raises UserError on a colour that labelmap.txt lacks.
    """
    with open_image_file(path, "mask") as image:
        if image.format in LOSSY:
            raise UserError(f"{path}: {BLURRED}")
        if image.mode not in ("RGB", "RGBA", "P"):
            return read_mask(path)
        codes = colour_codes(np.array(image.convert("RGB")))
    shown, places = np.unique(codes, return_inverse=True)
    if strange := [code for code in shown if int(code) not in labels_of]:
        raise UserError(f"{path}: holds the colour #{strange[0]:06x}, which is not in {file}; add it there")
    return np.array([labels_of[int(code)] for code in shown], np.uint8)[places].reshape(codes.shape)


def _read_lists(root: Path, masks: Mapping[str, Path], notes: list[str]) -> dict[str, list[str]] | None:
    """The images of train.txt and val.txt that have a mask; those of val alone, and all others."""
    found = {}
    for name in ("train", "val"):
        places = [root / "ImageSets" / f"{name}.txt", root / "ImageSets" / "Segmentation" / f"{name}.txt"]
        if path := next((path for path in places if path.is_file()), None):
            named = (_find_mask(line, masks) for line in read_image_lines(path))
            found[name] = [image for image in dict.fromkeys(named) if image is not None]
    if not found.get("val"):
        return None
    held_out = set(found["val"])
    train = [image for image in found.get("train", masks) if image not in held_out]
    if rest := len(masks) - len(train) - len(found["val"]):
        notes.append(f"{root / 'ImageSets'}: {rest} images with a mask are in none of its lists")
    return {"train": train, "val": found["val"]}


def _find_mask(line: str, masks: Mapping[str, Path]) -> str | None:
    """The image that a line of a list names, by the longest end of its path that has a mask; None if none has."""
    parts = image_path(line).split("/")
    return next((end for start in range(len(parts)) if (end := "/".join(parts[start:])) in masks), None)
