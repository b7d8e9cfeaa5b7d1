"""Images with masks beside them, as most published datasets have them: a mask of labels an image, or a mask a class.

Which of the two it is, the masks say. Where they hold nothing but 0 and one of 1 and 255, or where they lie in folders
and the images do not, each is a mask of one class, which the folder names: that of the mask, else that of the image.
Else each holds a label a pixel, and 255 counts for nothing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.formats import list_suffixes
from dataset.images import read_histogram, read_mask
from dataset.labels import IGNORE
from dataset.lists import read_lines
from dataset.prepare.from_voc import BACKGROUND, Labels, collect_labels, label_pair, number_names
from dataset.prepare.own import SPLITS, Fault, Labelled, Source
from dataset.prepare.source_files import encode, index_images, list_files
from util.errors import UserError
from util.processes import map_files

MASK_SUFFIXES = (".png", ".bmp")
PHOTO_SUFFIXES = (".jpg", ".jpeg")  # of images in one folder with their masks
# What a mask's name may have behind its image's
ENDINGS = (
    "_mask", "_masks", "_segmentation", "_seg", "_label", "_labels", "_gt", "_groundtruth", "_labelIds",
    "_labelTrainIds", "_instance_color_RGB", "",
)  # fmt: skip
KINDS = ("images", "masks", "labels", "origin", "groundtruth")  # folders that tell images from masks, and no class
CLASSES, CSV = "classes.txt", "_classes.csv"  # the latter is Roboflow's, in the folder of each list
MOST_LABELS = 90  # without names; more are shades of grey


class _Mask(NamedTuple):
    """A mask, and the image that it belongs to."""

    path: Path
    image: str  # id
    folder: str  # of its class; "" if no folder names one


def read_masks(folder: Path, images: Path) -> Source:
    """The labelled images of a folder of masks, PNG or BMP, named as their images, with one of ENDINGS or without.

    Arguments:
        folder: of the masks, and of what may name their labels: classes.txt, from 1 or, with a background, from 0; or
            _classes.csv, with lines of "number, name", also in folders below.
        images: of the images. If it is the folder of the masks, the images are the JPEGs there.
    Raises:
        UserError: a folder is not there, holds nothing, no mask has an image, or the names cannot be read.
    """
    folder, images = Path(os.path.abspath(folder)), Path(os.path.abspath(images))
    files = _list_images(folder, images)
    masks, faults = _pair(folder, list_files(folder, MASK_SUFFIXES, without=_below(images, folder)), files)
    if not masks:
        raise UserError(f"{folder}: {faults[0].what.removeprefix(f'{folder}{os.sep}') if faults else 'holds no mask'}")
    without = len(files.keys() - {mask.image for mask in masks})
    notes = [f"{images}: {without} images left out, which have no mask"] if without else []
    of_image: dict[str, list[_Mask]] = {}
    for mask in sorted(masks, key=lambda mask: (mask.image, mask.folder, mask.path)):
        of_image.setdefault(mask.image, []).append(mask)
    file, named = _read_names(folder)
    by_folder = all(_folder_of(folder, mask.path) and not _class_folder(mask.image.split("/")[:-1]) for mask in masks)
    values = set() if by_folder else _list_values(masks)
    if by_folder or values <= {0, IGNORE} or (values <= {0, 1} and len(named) < 2):
        classes = sorted({mask.folder or _only_name(named) for mask in masks})
        give = _give_objects(of_image, files, named)
    else:
        labels = _name_labels(file, named, values)
        classes = [name for label, name in sorted(labels.names.items()) if name and label not in labels.ignored]
        give = _give_labels(of_image, files, labels)

    def give_all() -> Iterator[Labelled | Fault]:
        yield from give()
        yield from faults

    return Source(classes, len(of_image) + len(faults), give_all, None, notes)


def _list_images(folder: Path, images: Path) -> dict[str, list[Path]]:
    """The files of each image, one unless something is wrong."""
    for place in (folder, images):
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; name those of the masks and of the images")
    suffixes = PHOTO_SUFFIXES if folder == images else list_suffixes()
    files = index_images(images, suffixes, without=_below(folder, images))
    if not files:
        raise UserError(f"{images}: holds no image; name the folder of the images with --images")
    return files


def _below(place: Path, folder: Path) -> Path | None:
    """A place that lies in a folder; None of another, or the folder itself."""
    return place if place != folder and place.is_relative_to(folder) else None


# Which image, which class


def _pair(folder: Path, paths: list[Path], files: Mapping[str, Any]) -> tuple[list[_Mask], list[Fault]]:
    """The image of each mask, and the masks that have none."""
    of_stem: dict[str, list[str]] = {}
    for image in files:
        of_stem.setdefault(image.rpartition("/")[2], []).append(image)
    masks, faults = [], []
    for path in paths:
        endings = sorted((ending for ending in ENDINGS if path.stem.endswith(ending)), key=len, reverse=True)
        stems = (path.stem.removesuffix(ending) for ending in endings)
        folders = list(path.relative_to(folder).parts[:-1])
        fitting = next((some for stem in stems if (some := of_stem.get(stem))), [])
        fitting = [image for image in fitting if _agree(folders, image.split("/")[:-1])]
        if len(fitting) == 1:
            name = _folder_of(folder, path) or _class_folder(fitting[0].split("/")[:-1])
            masks.append(_Mask(path, fitting[0], name))
        elif fitting:
            faults.append(Fault(f"{path}: a mask of {fitting[0]} or of {fitting[1]}? Rename one of the two", "mask"))
        else:
            faults.append(Fault(f"{path}: a mask without an image; add the image, or remove the mask", "no such image"))
    return masks, faults


def _agree(mask: list[str], image: list[str]) -> bool:
    """Whether the folders of a mask can be those of an image: one has all that the other has, but for KINDS."""
    mask, image = ([part for part in folders if part not in KINDS] for folders in (mask, image))
    return set(mask) <= set(image) or set(image) <= set(mask)


def _folder_of(folder: Path, path: Path) -> str:
    """What names the class of a mask below a folder; "" if nothing does."""
    return _class_folder(list(path.relative_to(folder).parts[:-1]))


def _class_folder(folders: list[str]) -> str:
    """What names a class in a path; "" if nothing does."""
    return "/".join(part for part in folders if part not in KINDS and part.lower() not in SPLITS)


def _only_name(named: Mapping[int, str]) -> str:
    """The name of the only class, which no folder names."""
    classes = [name for name in named.values() if name]
    return classes[0] if len(classes) == 1 else "1"


def _read_names(folder: Path) -> tuple[Path, dict[int, str]]:
    """The file that names the labels, or should, and the name of each, "" of background; none if there is no file."""
    tables = [(path, _read_table(path)) for path in list_files(folder, [CSV]) if path.name == CSV]
    if (folder / CLASSES).is_file():
        return folder / CLASSES, number_names(read_lines(folder / CLASSES, ""))
    file, names = tables[0] if tables else (folder / CLASSES, {})
    for other, table in tables:
        if table != names:
            raise UserError(f"{other}: names other classes than {file}; make them the same, or write {CLASSES}")
    return file, names


def _read_table(path: Path) -> dict[int, str]:
    """The name of each label, "" of background, in a table of "Pixel Value, Class"."""
    names = {}
    for line, row in enumerate(csv.reader(read_lines(path, "")[1:], skipinitialspace=True), start=2):
        number, name = row if len(row) == 2 else ("", "")
        if not (number.strip().isdecimal() and int(number) <= IGNORE and name.strip()):
            raise UserError(f"{path}: line {line} is not a number and a name, such as 1, cat; mend it")
        names[int(number)] = "" if name.strip().lower() in BACKGROUND else name.strip()
    return names


# A mask of labels


def _list_values(masks: list[_Mask]) -> set[int]:
    """The numbers of all masks but those that cannot be read."""
    paths = [mask.path for mask in masks]
    return set().union(*map_files(_read_values, paths, count=len(paths), what="looking at masks", unit="mask"))


def _read_values(path: Path) -> set[int]:
    try:
        return set(read_histogram(path)[1])
    except UserError:  # of which the image's fault will tell
        return set()


def _name_labels(file: Path, named: dict[int, str], values: set[int]) -> Labels:
    if named:
        return collect_labels(file, named, read_mask)
    labels = sorted(values - {0, IGNORE})
    if len(labels) > MOST_LABELS:
        what = f"the masks hold {len(labels)} numbers, more than classes"
        raise UserError(f"{file.parent}: {what}; save them without shades, or name the classes in {CLASSES} there")
    names = {label: str(label) for label in labels}
    return Labels(file, names, {IGNORE}, read_mask)


def _give_labels(of_image: Mapping[str, list[_Mask]], files: Mapping[str, list[Path]], labels: Labels) -> Any:
    def give() -> Iterator[Labelled | Fault]:
        for image, masks in of_image.items():
            if len(masks) > 1:
                yield _two_masks(masks)
            else:
                yield label_pair(image, files[image], masks[0].path, labels)

    return give


def _two_masks(masks: list[_Mask]) -> Fault:
    return Fault(f"{masks[0].path}: {masks[1].path.name} is a mask of the same image; leave one of the two", "mask")


# A mask a class


def _give_objects(
    of_image: Mapping[str, list[_Mask]], files: Mapping[str, list[Path]], named: Mapping[int, str]
) -> Any:
    def give() -> Iterator[Labelled | Fault]:
        for image, masks in of_image.items():
            yield _label_objects(image, files[image], masks, named)

    return give


def _label_objects(image: str, files: list[Path], masks: list[_Mask], named: Mapping[int, str]) -> Labelled | Fault:
    if len(files) > 1:
        return Fault(f"{files[0]}: {files[1]} is an image of the same name; leave one of the two", "image twice")
    if len({mask.folder for mask in masks}) < len(masks):
        return _two_masks(masks)
    classes, sizes = {}, {}
    for mask in masks:
        try:
            drawn = _read_object(mask.path)
        except UserError as error:
            return Fault(str(error), "mask")
        sizes[drawn.shape] = mask.path
        if drawn.any():
            classes[mask.folder or _only_name(named)] = encode(drawn)
    if len(sizes) > 1:
        one, other = list(sizes.values())[:2]
        return Fault(f"{one}: of another size than {other}, a mask of the same image; replace one of the two", "mask")
    return Labelled(image, files[0], next(iter(sizes)), classes)


def _read_object(path: Path) -> np.ndarray:
    """Where an object is (H, W), bool: 1 in a mask that holds nothing higher, else what is nearer to 255 than to 0."""
    numbers = read_mask(path)
    highest = int(numbers.max())
    if 1 < highest < 128:
        raise UserError(f"{path}: holds {highest}, the mask of an object is 0 and 255, or 0 and 1; save it so")
    return numbers == 1 if highest == 1 else numbers >= 128
