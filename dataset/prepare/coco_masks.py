"""COCO's label masks from its instance annotations (docs/data.md).

Where objects overlap, COCO does not say which is in front, and its order of annotations is arbitrary. The rule
here: crowds first, then objects from the largest to the smallest, of equal ones the higher id last. So a tie on a
shirt or a cup on a table is not lost under the larger object, which the annotators almost always drew straight
through it, and a loosely outlined crowd hides nothing. Other known sets of COCO masks paint in the order of
annotations, which buries some small objects; the two differ only where objects of different classes overlap.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coding

from dataset.coco import OTHER_YEAR, Coco
from dataset.images import most_pixels
from dataset.lists import image_id
from dataset.prepare.coco_entries import encloses_nothing, encode_segmentation, read_number, read_value
from util.errors import UserError, refusal
from util.files import atomic_write, is_name, read_json
from util.processes import map_files

INSTANCES_BYTES = 2**30  # an instances JSON may have so many; COCO's largest has 333 MB
FIELDS = ("images", "annotations", "categories")  # of an instances JSON


class Instances(NamedTuple):
    """What an instances JSON says of one split."""

    sizes: dict[str, tuple[int, int]]  # image name without suffix -> (height, width), sorted by name
    annotations: dict[str, list[dict[str, Any]]]  # for each image that has some
    classes: dict[int, int]  # category id -> class 1..80
    notes: list[str]  # annotations that are left out


def read_instances(path: Path) -> Instances:
    """Read instances_{train,val}2014.json. Raises UserError if it is missing, damaged or another kind of file.

    As in COCO's own tools, annotations of images that the file does not list are left out, and those that enclose
    nothing; notes count them.
    """
    try:
        content = read_json(path, INSTANCES_BYTES)
    except FileNotFoundError as error:
        other = path.with_name(path.name.replace("2014", "2017"))
        there = f"; {other.name} is there, but {OTHER_YEAR}" if other.is_file() else ""
        raise UserError(
            f"{path}: no such file; unpack COCO's annotations_trainval2014.zip there, from the download page of COCO"
            f"{there}"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged or not COCO's instances, unpack it again ({error})") from error
    if other := other_kind(content):
        raise UserError(f"{path}: {other}; COCO's instances are wanted, {path.name} of annotations_trainval2014.zip")
    try:
        return _sort_instances(content, path)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: damaged or not COCO's instances, unpack it again: {error}") from error


def other_kind(content: Any) -> str:
    """What a JSON is, if not instances in COCO's form; "" if it may be."""
    if isinstance(content, list):
        keys = content[0].keys() if content and isinstance(content[0], dict) else set()
        is_result = "image_id" in keys and keys & {"score", "caption"}
        return "a list of results, which a detector wrote" if is_result else "a list, not annotations of COCO"
    if not isinstance(content, dict):
        return "not annotations of COCO"
    if not all(isinstance(content.get(name, []), list) for name in FIELDS):
        return f"not annotations of COCO: one of {', '.join(FIELDS)} is no list"
    annotations, categories = content.get("annotations", []), content.get("categories", [])
    first = next(iter(annotations), {})
    keys = first.keys() if isinstance(first, dict) else set()
    if "segmentation" not in keys:  # which instances, keypoints and stuff have
        kinds = {"caption": "COCO's captions", "segments_info": "COCO's panoptic annotations"}
        if kind := next((kind for key, kind in kinds.items() if key in keys), ""):
            return f"{kind}, not instances"
    if "keypoints" in keys or any("keypoints" in category for category in categories if isinstance(category, dict)):
        return "COCO's keypoints of persons, not instances of all categories"
    if missing := [name for name in FIELDS if name not in content]:
        return f"has no {' and no '.join(missing)}{', as a list of test images' if 'annotations' in missing else ''}"
    if len(categories) != len(Coco.class_names):
        is_stuff = any(
            isinstance(each, dict) and str(each.get("supercategory")).endswith("-stuff") for each in categories
        )
        other = "COCO's stuff, not its objects" if is_stuff else "is it another dataset's?"
        return f"{len(categories)} categories, COCO has {len(Coco.class_names)}; {other}"
    if annotations and not any(isinstance(each, dict) and each.get("segmentation") for each in annotations):
        return "boxes alone, without a segmentation"
    return ""


def _sort_instances(content: Mapping[str, list[Any]], path: Path) -> Instances:
    """The annotations of each image. Raises ValueError naming the entry that is damaged."""
    ids = sorted({read_number(entry, number, "category", "id") for number, entry in enumerate(content["categories"])})
    classes = {id_: cls for cls, id_ in enumerate(ids, start=1)}
    if len(classes) != len(Coco.class_names):
        raise ValueError(f"only {len(classes)} categories have an id of their own")
    names: dict[int, str] = {}
    sizes = {}
    for number, image in enumerate(content["images"]):
        id_, height, width = (read_number(image, number, "image", key) for key in ("id", "height", "width"))
        file = read_value(image, number, "image", "file_name")
        names[id_] = image_id(str(file))
        if not is_name(names[id_]):
            raise ValueError(f"image {id_}: its file_name leads out of its folder")
        sizes[names[id_]] = (height, width)
    annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
    orphans, flat = [], []
    for number, annotation in enumerate(content["annotations"]):
        id_, image, category = (
            read_number(annotation, number, "annotation", key) for key in ("id", "image_id", "category_id")
        )
        segmentation = read_value(annotation, number, "annotation", "segmentation")
        if category not in classes:
            raise ValueError(f"annotation {id_} is of category {category}, which the file does not list")
        if image not in names:
            orphans.append(f"annotation {id_} of image {image}")
            continue
        if encloses_nothing(segmentation):
            flat.append(f"annotation {id_}")
        kept = {"id": id_, "category_id": category, "segmentation": segmentation}
        annotations[names[image]].append({**kept, "iscrowd": annotation.get("iscrowd", 0)})
    if orphans and not annotations:
        raise ValueError(f"no annotation is of an image that the file lists, the first is {orphans[0]}")
    left_out = {"of images that it does not list": orphans, "of fewer than three points, which enclose nothing": flat}
    notes = [
        f"{path}: {len(some)} annotations left out, {why}: {some[0]}{', ...' if len(some) > 1 else ''}"
        for why, some in left_out.items()
        if some
    ]
    return Instances(dict(sorted(sizes.items())), dict(annotations), classes, notes)


def paint(annotations: Iterable[Mapping[str, Any]], size: tuple[int, int], classes: Mapping[int, int]) -> np.ndarray:
    """The labels (H, W) uint8 of one image's annotations; what no object covers is 0. size: (H, W).

    A segmentation is a list of polygons (its parts) or a run-length code, compressed or not. Parts of fewer than
    three points enclose nothing. Raises ValueError naming the annotation whose segmentation is none of these.
    """
    regions = []
    for annotation in annotations:
        try:
            region = encode_segmentation(annotation["segmentation"], size)
            area = int(coding.area(region))
        except Exception as error:  # pycocotools raises all sorts of errors
            raise ValueError(f"annotation {annotation['id']}: no polygons or run lengths ({error})") from error
        regions.append((not annotation["iscrowd"], -area, annotation["id"], annotation, region))
    labels = np.zeros(size, np.uint8)
    for *_, annotation, region in sorted(regions, key=lambda entry: entry[:3]):
        labels[coding.decode(region).astype(bool)] = classes[annotation["category_id"]]
    return labels


def make_masks(instances: Instances, folder: Path, again: bool = False, workers: int | None = None) -> tuple[int, int]:
    """Write NAME.png for each image of a split, in parallel and atomically: an interrupted run goes on where it was.

    Returns how many were made, and how many were kept; again: none is kept.
    Raises UserError naming the image whose annotations are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        there = set() if again else {entry.name for entry in entries}
    names = [name for name in instances.sizes if f"{name}.png" not in there]
    write = partial(_write_mask, folder=folder, classes=instances.classes)
    of_image = (instances.annotations.get(name, ()) for name in names)
    arguments = (names, of_image, (instances.sizes[name] for name in names))
    done = map_files(write, *arguments, count=len(names), what=f"masks, {folder.name}", unit="mask", workers=workers)
    for _ in done:
        pass
    return len(names), len(instances.sizes) - len(names)


def _write_mask(
    name: str, annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], folder: Path, classes: Mapping[int, int]
) -> None:
    path = folder / f"{name}.png"
    try:
        if min(size) < 1 or size[0] * size[1] > most_pixels():
            raise ValueError(f"an image of {size[1]}x{size[0]} pixels")
        labels = paint(annotations, size, classes)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be made, the instances JSON is damaged: {error}; unpack it again") from error
    with atomic_write(path) as file:
        Image.fromarray(labels).save(file, "PNG")
