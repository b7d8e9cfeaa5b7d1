"""Labelled images of a JSON in COCO's form: of COCO, LVIS, and what Roboflow, CVAT, Label Studio and others export.

What other readers disagree on is settled thus. A crowd is of its class. Categories of one name are one class; one that
is called background is none. A box without an outline is no mask: where the image has outlines of its class too, its
pixels count for nothing. An image with an annotation that cannot be read is left out as a whole, for the object would
pass for background.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset.images import most_pixels, read_size
from dataset.prepare.coco_entries import encloses_nothing, encode_box, encode_segmentation, read_number, read_value
from dataset.prepare.from_voc import BACKGROUND
from dataset.prepare.own import Fault, Labelled, Source, join_regions
from util.errors import UserError, printable, refusal
from util.files import is_name, read_json

JSON_BYTES = 2**31  # LVIS's largest has 1.1 GB
LISTS = ("images", "annotations", "categories")
# Why annotations are left out
BOXES = "with a box alone, in images without an outline of their class"
BOXES_IGNORED = "with a box alone, whose pixels count for nothing beside outlines of their class"


class _Image(NamedTuple):
    """An image as the JSON lists it."""

    names: tuple[str, ...]  # what it is called there, a part for each folder
    size: tuple[int, int] | None  # height, width


def read_coco(file: Path, images: Path) -> Source:
    """The labelled images of a JSON in COCO's form.

    Arguments:
        file: the JSON. Segmentations are polygons or run lengths, compressed or not.
        images: the folder of the image files, or one above it.
    Raises:
        UserError: the JSON is damaged or of another form, or no annotation has an outline.
    """
    content = _read(file)
    try:
        classes = _read_classes(content["categories"])
        listed = _read_images(content["images"])
        annotations = _sort_annotations(content["annotations"])
    except ValueError as error:
        raise UserError(f"{file}: damaged, or not in COCO's form: {error}; export it again") from error
    outlined = [entry for some in annotations.values() for entry in some if entry.get("segmentation")]
    if not outlined and annotations:
        raise UserError(f"{file}: boxes alone, without a segmentation; export polygons or masks")
    if not os.path.isdir(images):
        raise UserError(f"{images}: no such folder; name with --images the folder of the images")
    notes: list[str] = []

    def give() -> Iterator[Labelled | Fault]:
        left_out: Counter[str] = Counter()
        files = _index_files(images)
        for id_, image in listed.items():
            yield _label(file, images, image, annotations.get(id_, ()), classes, files, left_out)
        orphans = sum(len(some) for id_, some in annotations.items() if id_ not in listed)
        left_out["of images that it does not list"] = orphans
        notes[:] = [f"{file}: {count} annotations left out, {why}" for why, count in left_out.items() if count]

    names = [name for name in dict.fromkeys(classes.values()) if name.lower() not in BACKGROUND]
    return Source(names, len(listed), give, notes=notes)


def _read(file: Path) -> dict[str, list[Any]]:
    try:
        content = read_json(file, JSON_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; name with --coco the JSON of the annotations") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{file}: damaged, or not JSON ({error}); export it again") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in LISTS):
        lists = ", ".join(LISTS)
        raise UserError(f"{file}: not annotations in COCO's form, which has lists of {lists}; export it as COCO")
    return content


def _read_classes(categories: Sequence[Any]) -> dict[int, str]:
    """The name of each category, in order of their ids."""
    names = {}
    for number, category in enumerate(categories):
        id_ = read_number(category, number, "category", "id")
        name = str(read_value(category, number, "category", "name")).strip()
        if names.setdefault(id_, name) != name:
            raise ValueError(f"two categories have the id {id_}, {names[id_]} and {name}")
    return dict(sorted(names.items()))


def _read_images(images: Sequence[Any]) -> dict[int, _Image]:
    listed = {}
    for number, image in enumerate(images):
        id_ = read_number(image, number, "image", "id")
        if id_ in listed:
            raise ValueError(f"two images have the id {id_}")
        # LVIS has the address in COCO's own place, and no file_name
        key = "file_name" if image.get("file_name") or not image.get("coco_url") else "coco_url"
        name = str(read_value(image, number, "image", key))
        size = None
        if image.get("height") is not None and image.get("width") is not None:
            size = (read_number(image, number, "image", "height"), read_number(image, number, "image", "width"))
        listed[id_] = _Image(split_name(name), size)
    return listed


def split_name(name: str) -> tuple[str, ...]:
    """The folders and the name of a file that a JSON names: the parts behind the last that is no name, such as "..".

    So what a JSON says leads nowhere else, and of an address or a path of another machine the part is left that the
    folder of images may have.
    """
    parts = name.replace("\\", "/").split("/")
    wrong = [number for number, part in enumerate(parts) if not is_name(part) or part.endswith(":")]
    return tuple(parts[wrong[-1] + 1 :] if wrong else parts)


def _sort_annotations(annotations: Sequence[Any]) -> dict[int, list[Mapping[str, Any]]]:
    """The annotations of each image, by its id."""
    of_image = defaultdict(list)
    for number, annotation in enumerate(annotations):
        of_image[read_number(annotation, number, "annotation", "image_id")].append(
            {
                "id": annotation.get("id", f"number {number + 1}"),
                "category_id": read_number(annotation, number, "annotation", "category_id"),
                "segmentation": annotation.get("segmentation"),
                "bbox": annotation.get("bbox"),
            }
        )
    return dict(of_image)


def _index_files(folder: Path) -> dict[str, list[tuple[str, ...]]]:
    """Where the images of a folder and of those in it lie, by their names."""
    found = defaultdict(list)
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        above = Path(place).relative_to(folder).parts
        for name in names:
            if not name.startswith("."):
                found[name].append((*above, name))
    return found


def _find_file(names: tuple[str, ...], files: Mapping[str, Sequence[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """The files that may be meant: those that share the most of the path that the JSON says."""
    there = files.get(names[-1], ()) if names else ()
    if names in there:
        return [names]
    for length in range(len(names), 0, -1):
        if found := [parts for parts in there if parts[-length:] == names[-length:]]:
            return found
    return []


def _prefer(file: Path, folder: Path, names: tuple[str, ...], places: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Of several files the one that lies so beside the JSON, or in a folder that the JSON is called by; else all.

    So train/_annotations.coco.json names the images in train, and instances_train.json those in images/train.
    """
    if len(places) == 1:
        return places
    said = os.path.abspath(file.parent.joinpath(*names))
    beside = [parts for parts in places if os.path.abspath(folder.joinpath(*parts)) == said]
    above = len(names) + 1  # so many parts from the end is the folder in which the JSON's path begins
    called = [
        parts
        for parts in places
        if len(parts) >= above and parts[1 - above :] == names and file.stem.endswith(f"_{parts[-above]}")
    ]
    return next((some for some in (beside, called) if len(some) == 1), places)


def _label(
    file: Path,
    folder: Path,
    image: _Image,
    annotations: Sequence[Mapping[str, Any]],
    classes: Mapping[int, str],
    files: Mapping[str, Sequence[tuple[str, ...]]],
    left_out: Counter[str],
) -> Labelled | Fault:
    """An image with the union of each class's objects; left_out counts the annotations that are none."""
    places = _prefer(file, folder, image.names, _find_file(image.names, files))
    shown = folder.joinpath(*image.names)
    if not places:
        return Fault(f"{printable(str(shown))}: no such image, which {file} lists; add it", "no such image")
    if len(places) > 1:
        first, second = (folder.joinpath(*parts) for parts in places[:2])
        return Fault(f"{shown}: may be {first} or {second}; name with --images one of the folders", "which image")
    place = folder.joinpath(*places[0])
    *above, name = places[0]
    try:
        size = image.size or read_size(place)[::-1]
        if min(size) < 1 or size[0] * size[1] > most_pixels():
            raise ValueError(f"an image of {size[1]}x{size[0]} pixels")
        codes, ignored = _encode_classes(annotations, size, classes, left_out)
    except UserError as error:
        return Fault(str(error), "image")
    except ValueError as error:
        return Fault(f"{file}: {error}, of {place.name}; mend it, or leave the image out", "annotation")
    return Labelled("/".join([*above, os.path.splitext(name)[0]]), place, size, codes, ignored)


def _encode_classes(
    annotations: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    classes: Mapping[int, str],
    left_out: Counter[str],
) -> tuple[dict[str, bytes], bytes | None]:
    """The run lengths of each class, and of what is ignored. Raises ValueError naming an annotation that is damaged."""
    regions, boxes = defaultdict(list), defaultdict(list)
    for annotation in annotations:
        name, segmentation, box = classes.get(annotation["category_id"]), annotation["segmentation"], annotation["bbox"]
        if name is None:
            which = annotation["category_id"]
            raise ValueError(f"annotation {annotation['id']} is of category {which}, which is not listed")
        if name.lower() in BACKGROUND:
            left_out[f"of the category {name}"] += 1
        elif not (segmentation or box):
            left_out["without a segmentation"] += 1
        elif segmentation and encloses_nothing(segmentation):
            left_out["of fewer than three points, which enclose nothing"] += 1
        else:
            try:
                if segmentation:
                    regions[name].append(encode_segmentation(segmentation, size))
                else:
                    boxes[name].append(encode_box(box, size))
            except Exception as error:  # pycocotools raises all sorts of errors
                what = "polygons or run lengths" if segmentation else "box"
                raise ValueError(f"annotation {annotation['id']}: no {what} ({error})") from error
    for name, some in boxes.items():
        left_out[BOXES_IGNORED if name in regions else BOXES] += len(some)
    return join_regions(regions, boxes)
