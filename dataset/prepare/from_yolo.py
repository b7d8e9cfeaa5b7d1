"""Labelled images in YOLO's segmentation format: data.yaml, images, and a polygon a line in a text beside each.

A polygon fills the pixels that COCO's own tools fill. Its fractions are of the sides of the image as viewers show it,
turned by its EXIF orientation, for so YOLO's own code reads them; the mask is that of the image as it is stored. A line
of four numbers is a box, and no mask: where the image has polygons of its class too, its pixels count for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coding

from dataset.folders import describe_folder, find_folder, holds_files
from dataset.formats import list_suffixes
from dataset.images import open_image_file
from dataset.lists import read_lines
from dataset.prepare.own import Fault, Labelled, Source, join_regions
from dataset.prepare.source_files import list_files
from dataset.turns import TURNS, find_turn
from util.errors import UserError, first_line, refusal
from util.files import JSON_BYTES, read_within

IMAGES, LABELS = "images", "labels"  # folders whose paths differ by this name alone
SPLITS = ("train", "val", "test")
YAML = (".yaml", ".yml")
LIST = ".txt"
NOT_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt")  # what tools put beside labels
# What is said of boxes
BOXES = "boxes left out, which are no masks, in images without a polygon of their class"
BOXES_IGNORED = "boxes left out, which are no masks; beside polygons of their class their pixels count for nothing"
FARTHEST = 1.0  # pixels that a point may lie outside, as rounding leaves it; it is moved to the border


class _Data(NamedTuple):
    """What a data.yaml says."""

    file: Path
    names: dict[int, str]  # by class number
    root: Path
    entries: dict[str, list[str]]  # of each split: folders, or lists of images


def read_yolo(folder: Path) -> Source:
    """The labelled images of a data.yaml.

    Arguments:
        folder: holds data.yaml, or a YAML of another name; or that file.
    Raises:
        UserError: there is none, PyYAML is not installed, it is damaged, or no image that it names is there.
    """
    data = _read_data(_find_yaml(folder))
    notes: list[str] = []
    of_split = {split: _list_images(data, entries, notes) for split, entries in data.entries.items()}
    images = sorted({path for paths in of_split.values() for path in paths}, key=lambda path: path.parts)
    if not images:
        raise UserError(f"{data.file}: no image is there that it names; mend train, val and path in it")
    labels = {path: _label_path(data.root, path) for path in images}
    if not any(path.is_file() for path in labels.values()):
        raise UserError(f"{labels[images[0]]}: no such labels, nor those of another image; put labels/ beside images/")
    ids = {path: _image_id(data.root, path) for path in images}
    lists = _make_lists({split: [ids[path] for path in paths] for split, paths in of_split.items()}, notes)
    folders = dict.fromkeys(path.parent for path in labels.values())
    texts = [path for place in folders if place.is_dir() for path in sorted(place.glob(f"*{LIST}"))]
    orphans = [path for path in texts if path not in set(labels.values()) and path.name not in NOT_LABELS]
    found = tuple(notes)

    def give() -> Iterator[Labelled | Fault]:
        left_out: Counter[str] = Counter()
        for path in images:
            yield _label(ids[path], path, labels[path], data.names, left_out)
        for path in orphans:
            yield Fault(f"{path}: labels without an image; add the image, or remove them", "no such image")
        notes[:] = [*found, *(f"{data.file}: {count} {what}" for what, count in left_out.items())]

    return Source(list(dict.fromkeys(data.names.values())), len(images) + len(orphans), give, lists, notes)


# data.yaml


def _find_yaml(folder: Path) -> Path:
    if folder.is_file():
        return folder
    place = find_folder(folder, lambda below: holds_files(below, YAML))
    if place is None:
        what = describe_folder(folder) if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: no data.yaml, which names YOLO's classes and images; {what}")
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in YAML)
    usual = [path for path in found if path.stem.lower() == "data"]
    if len(usual or found) > 1:
        raise UserError(f"{place}: {found[0].name} or {found[1].name}? Name the file itself with --yolo")
    return (usual or found)[0]


def _read_data(file: Path) -> _Data:
    try:
        import yaml
    except ImportError as error:
        raise UserError(f"{file}: to read it, install PyYAML (pip install pyyaml)") from error
    try:
        content = yaml.safe_load(read_within(file, JSON_BYTES))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {refusal(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: damaged, or no YAML ({first_line(error)}); mend it") from error
    if not isinstance(content, dict) or "names" not in content:
        raise UserError(f"{file}: has no names, those of the classes; name the data.yaml of a dataset with --yolo")
    if "kpt_shape" in content:
        raise UserError(f"{file}: labels of poses, not of masks; export it for segmentation")
    return _Data(file, _read_names(file, content["names"]), _find_root(file, content), _read_entries(file, content))


def _read_names(file: Path, names: Any) -> dict[int, str]:
    """The names of the classes by number; a list counts from 0."""
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else ()))
    found = {}
    for key, name in pairs:
        if not isinstance(name, (str, int)) or isinstance(name, bool):  # yes and no are YAML's truth values
            raise UserError(f'{file}: names has {name} for the class {key}; write it in quotes, as "{name}"')
        if isinstance(key, bool) or not f"{key}".isdecimal():
            raise UserError(f"{file}: names has the class {key!r:.40}; number the classes")
        found[int(key)] = str(name).strip()
    if not found:
        raise UserError(f"{file}: names is empty; write the names of the classes there")
    return dict(sorted(found.items()))


def _find_root(file: Path, content: Mapping[str, Any]) -> Path:
    """The folder that ``path`` names; that of the file where it is not there, as on another machine."""
    named = content.get("path")
    root = file.parent / named if isinstance(named, str) else file.parent
    return (root if root.is_dir() else file.parent).resolve()


def _read_entries(file: Path, content: Mapping[str, Any]) -> dict[str, list[str]]:
    entries = {}
    for split in SPLITS:
        entry = content.get(split) or []
        entries[split] = [entry] if isinstance(entry, str) else entry
        if not isinstance(entries[split], list) or not all(isinstance(one, str) for one in entries[split]):
            raise UserError(f"{file}: {split} is no folder, list of images, or several of them; mend it")
    return entries


def _list_images(data: _Data, entries: list[str], notes: list[str]) -> list[Path]:
    """The images of a split; those that a list names need not be there."""
    images = []
    for entry in entries:
        place = _locate(entry, data.root, data.file.parent)
        if place.is_dir():
            images += list_files(place, list_suffixes())
        elif place.suffix.lower() == LIST and place.is_file():
            images += [_locate(line, place.parent, data.root) for line in read_lines(place, "")]
        else:
            notes.append(f"{data.file}: names {entry}, which is not there")
    return list(dict.fromkeys(images))


def _locate(entry: str, *places: Path) -> Path:
    """What an entry names in one of some folders.

    Of a path of another machine, or one that leads above the folder, the longest end is taken that is there: Roboflow
    writes ../train/images for train/images. It has two parts at least, so that no other folder of images is meant.
    """
    entry = entry.replace("\\", "/")
    parts = [part for part in entry.split("/") if part not in ("", ".", "..")]
    ends = [entry, *("/".join(parts[start:]) for start in range(max(1, len(parts) - 1)))]
    tried = [Path(*_without_dots(place / end)) for end in ends for place in places]
    return next((path for path in tried if path.exists()), tried[0])


def _without_dots(path: Path) -> list[str]:
    """The parts of a path in which ".." has taken back the one before it."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." and len(parts) > 1 else [*parts, part]
    return parts


def _inside(root: Path, path: Path) -> tuple[str, ...]:
    """The folders of an image below the root, or below the top where it lies elsewhere."""
    return path.relative_to(root if path.is_relative_to(root) else path.anchor).parts[:-1]


def _image_id(root: Path, path: Path) -> str:
    """train/a of images/train/a.jpg as of train/images/a.jpg."""
    folders = list(_inside(root, path))
    if IMAGES in folders:
        del folders[len(folders) - 1 - folders[::-1].index(IMAGES)]
    return "/".join([*folders, path.stem])


def _label_path(root: Path, path: Path) -> Path:
    """labels/train/a.txt of images/train/a.jpg; beside the image where no folder is called images."""
    folders = list(path.parts[:-1])
    if IMAGES in _inside(root, path):
        folders[len(folders) - 1 - folders[::-1].index(IMAGES)] = LABELS
    return Path(*folders, f"{path.stem}{LIST}")


def _make_lists(of_split: Mapping[str, list[str]], notes: list[str]) -> dict[str, list[str]] | None:
    """Images to train on, and those of val and test, which none of the former may be; None where nothing tells them."""
    held_out = list(dict.fromkeys([*of_split["val"], *of_split["test"]]))
    train = [image for image in of_split["train"] if image not in set(held_out)]
    if not train or not held_out:
        return None
    if twice := len(of_split["train"]) - len(train):
        notes.append(f"{twice} images are in train and in val or test; they are not trained on")
    return {"train": train, "val": held_out}


# Labels


def _label(image: str, path: Path, labels: Path, names: Mapping[int, str], left_out: Counter[str]) -> Labelled | Fault:
    """An image with its labels; left_out counts what is no mask."""
    try:
        with open_image_file(path, "image", whole=False) as opened:
            size, turn = (opened.height, opened.width), find_turn(opened)
    except UserError as error:
        return Fault(str(error), "image")
    if not labels.is_file():
        left_out["images without labels, taken for images that show no object"] += 1
        return Labelled(image, path, size, {})
    regions: dict[str, list[Any]] = {}
    boxes: dict[str, list[Any]] = {}
    try:
        for line in _read_lines(labels, names):
            polygon = _place(turn_back(line.points, turn), size, f"{labels}: line {line.number}")
            kind = boxes if line.is_box else regions
            kind.setdefault(line.name, []).extend(coding.frPyObjects([polygon.ravel().tolist()], *size))
    except UserError as error:
        return Fault(str(error), "labels")
    for name, some in boxes.items():
        left_out[BOXES_IGNORED if name in regions else BOXES] += len(some)
    return Labelled(image, path, size, *join_regions(regions, boxes))


class _Line(NamedTuple):
    """A line of labels."""

    number: int  # of the line
    name: str  # of the class
    points: np.ndarray  # (N, 2), x and y in fractions
    is_box: bool


def _read_lines(path: Path, names: Mapping[int, str]) -> list[_Line]:
    """The polygons and boxes of a file. Raises UserError naming the file and the line that is neither."""
    try:
        lines = read_within(path, JSON_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: no labels of YOLO ({first_line(error)}); export it again") from error
    found = []
    for line, text in enumerate(lines, start=1):
        try:
            numbers = [float(word) for word in text.split()]
        except ValueError as error:
            raise UserError(f"{path}: line {line}: {first_line(error)}; export it again") from error
        if not numbers:
            continue
        number, *values = numbers
        if number not in names:
            raise UserError(
                f"{path}: line {line}: class {text.split()[0]}, which data.yaml does not name; add its name"
            )
        if is_box := len(values) == 4:
            values = _list_corners(*values)
        if len(values) % 2:
            raise UserError(f"{path}: line {line}: {len(values)} coordinates, of a polygon an even number; mend it")
        if len(values) < 6:
            raise UserError(f"{path}: line {line}: fewer than three points enclose nothing; remove the line")
        found.append(_Line(line, names[int(number)], np.array(values).reshape(-1, 2), is_box))
    return found


def _list_corners(x: float, y: float, width: float, height: float) -> list[float]:
    """The corners of a box of a middle and sides, within the image."""
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    return np.clip([left, top, right, top, right, bottom, left, bottom], 0, 1).tolist()


def turn_back(points: np.ndarray, turn: Image.Transpose | None) -> np.ndarray:
    """Fractions (N, 2), as x and y of an image that was turned upright, in the image as it is stored."""
    x, y = points.T
    turned = {
        TURNS[2]: (1 - x, y), TURNS[3]: (1 - x, 1 - y), TURNS[4]: (x, 1 - y), TURNS[5]: (y, x),
        TURNS[6]: (y, 1 - x), TURNS[7]: (1 - y, 1 - x), TURNS[8]: (1 - y, x),
    }  # fmt: skip
    return np.stack(turned.get(turn, (x, y)), axis=1)


def _place(points: np.ndarray, size: tuple[int, int], where: str) -> np.ndarray:
    """Points (N, 2) in pixels. Raises UserError if one lies outside an image of a size (H, W) by more than FARTHEST."""
    sides = np.array(size[::-1])
    pixels = points * sides
    if not ((pixels >= -FARTHEST) & (pixels <= sides + FARTHEST)).all():  # NaN is neither
        raise UserError(f"{where}: a point outside the image; coordinates are fractions of its sides, 0 to 1")
    return pixels.clip(0, sides)
