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

from dataset.coco import Coco
from dataset.images import most_pixels
from dataset.lists import image_id
from util.errors import UserError, refusal
from util.files import atomic_write, is_name, read_json
from util.processes import map_files

INSTANCES_BYTES = 2**30  # an instances JSON may have so many; COCO's largest has 333 MB
FARTHEST_POINT = 10**5  # coordinate of a polygon's point, pixels


class Instances(NamedTuple):
    """What an instances JSON says of one split."""

    sizes: dict[str, tuple[int, int]]  # image name without suffix -> (height, width), sorted by name
    annotations: dict[str, list[dict[str, Any]]]  # for each image that has some
    classes: dict[int, int]  # category id -> class 1..80


def read_instances(path: Path) -> Instances:
    """Read instances_{train,val}2014.json. Raises UserError if it is missing, damaged or no such file."""
    try:
        content = read_json(path, INSTANCES_BYTES)
        categories = sorted({category["id"] for category in content["categories"]})
        classes = {id_: cls for cls, id_ in enumerate(categories, start=1)}
        names = {image["id"]: image_id(image["file_name"]) for image in content["images"]}
        if not all(map(is_name, names.values())):
            raise ValueError("a file_name leads out of its folder")
        sizes = {names[image["id"]]: (int(image["height"]), int(image["width"])) for image in content["images"]}
        annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["category_id"] not in classes:
                raise ValueError(f"annotation {annotation['id']} is of category {annotation['category_id']}")
            kept = {key: annotation[key] for key in ("id", "category_id", "segmentation")}
            annotations[names[annotation["image_id"]]].append({**kept, "iscrowd": annotation.get("iscrowd", 0)})
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; unpack COCO's annotations_trainval2014.zip there, from the download page of COCO"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: damaged or not COCO's instances, unpack it again ({error!r})") from error
    if len(categories) != len(Coco.class_names):
        raise UserError(
            f"{path}: {len(categories)} categories, COCO has {len(Coco.class_names)}; is it another dataset's?"
        )
    return Instances(dict(sorted(sizes.items())), dict(annotations), classes)


def paint(annotations: Iterable[Mapping[str, Any]], size: tuple[int, int], classes: Mapping[int, int]) -> np.ndarray:
    """The labels (H, W) uint8 of one image's annotations; what no object covers is 0. size: (H, W).

    A segmentation is a list of polygons (its parts) or a run-length code, compressed or not. Parts of fewer than
    three points enclose nothing. Raises ValueError naming the annotation whose segmentation is none of these.
    """
    regions = []
    for annotation in annotations:
        try:
            region = _encoded(annotation["segmentation"], size)
            area = int(coding.area(region))
        except Exception as error:  # pycocotools raises all sorts of errors
            raise ValueError(f"annotation {annotation['id']}: no polygons or run lengths ({error})") from error
        regions.append((not annotation["iscrowd"], -area, annotation["id"], annotation, region))
    labels = np.zeros(size, np.uint8)
    for *_, annotation, region in sorted(regions, key=lambda entry: entry[:3]):
        labels[coding.decode(region).astype(bool)] = classes[annotation["category_id"]]
    return labels


def _encoded(segmentation: list | dict, size: tuple[int, int]) -> dict[str, Any]:
    """A segmentation as a run-length code. What pycocotools would take amiss is met by a ValueError before."""
    if isinstance(segmentation, list):
        parts = [np.asarray(part, float) for part in segmentation]
        for part in parts:
            if part.ndim != 1 or len(part) % 2 or not (np.abs(part) <= FARTHEST_POINT).all():
                raise ValueError("a polygon is no flat list of x, y near the image")
        parts = [part.tolist() for part in parts if len(part) >= 6]  # four numbers would be a box
        if not parts:
            return coding.encode(np.zeros(size, np.uint8, order="F"))
        return coding.merge(coding.frPyObjects(parts, *size))
    counts = segmentation["counts"]
    height, width = segmentation["size"]
    if (height, width) != size:
        raise ValueError("its size is not the image's")
    compressed = isinstance(counts, (str, bytes))
    lengths = _lengths(counts) if compressed else counts
    if not all(isinstance(n, int) and n >= 0 for n in lengths) or sum(lengths) != height * width:
        raise ValueError("the run lengths do not fill the image")
    return segmentation if compressed else coding.frPyObjects(segmentation, height, width)


def _lengths(code: str | bytes) -> list[int]:
    """The run lengths of COCO's compressed code: five bits a character, lowest first, from the third run on only
    the difference to the run before the last."""
    lengths: list[int] = []
    value = shift = 0
    for character in code.encode() if isinstance(code, str) else code:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("a run length of more than 60 bits")
        if not bits & 32:  # the last one of a number, whose highest bit is its sign
            value -= (bits & 16) << (shift - 4)
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths


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
