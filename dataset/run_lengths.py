"""Labels of one's own data: COCO's run lengths for each image and class, a line of JSON an image (docs/own.md).

Classes may overlap, and there may be thousands. What an image shows is known from the lengths alone: no mask is
decoded for it, and it is kept in the user's cache folder for as long as the file stays as it is.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.cache import SETTLED_NS, cache_path
from dataset.labels import IGNORE
from util.distributed import say
from util.errors import UserError, refusal
from util.fields import check_fields, dict_of, list_of, optional, text, whole
from util.files import atomic_write, check_regular, is_name

ANNOTATIONS = "annotations.jsonl"
LONGEST_SIDE = 2**16  # of an image, pixels
RULES = {
    "image": lambda value: text(value) and all(map(is_name, value.split("/"))),
    "size": lambda value: list_of(whole(1, LONGEST_SIDE))(value) and len(value) == 2,
    "classes": dict_of(text),
    "ignored": optional(text),
}
VERSION = 1


class Regions(NamedTuple):
    """What is labelled in an image."""

    size: tuple[int, int]  # height, width
    classes: dict[str, str]  # COCO's compressed run lengths of each class, by its name
    ignored: str | None  # those of pixels that count for nothing


class Place(NamedTuple):
    """Where a line is in its file, bytes."""

    offset: int
    length: int


class Shown(NamedTuple):
    """What the line of an image says without the run lengths themselves."""

    place: Place
    size: tuple[int, int]  # width, height
    pixels: dict[str, int]  # of each class, by its name


@dataclass(frozen=True)
class Annotations:
    """The lines of a file, found by image."""

    path: Path
    lines: dict[str, Shown]
    numbers: Mapping[str, int]  # of the classes, by name

    def shown(self, image: str) -> Shown:
        """What is known of an image. Raises UserError if the file has no line of it."""
        try:
            return self.lines[image]
        except KeyError:
            raise UserError(f"{self.path}: has no line of the image {image}; run prepare.py own again") from None

    def pixels(self, image: str) -> dict[int, int]:
        """The pixels of each class in an image, by its number; of classes that dataset.json does not name none."""
        found = self.shown(image).pixels
        return {self.numbers[name]: count for name, count in found.items() if name in self.numbers}

    def read(self, image: str) -> Regions:
        """What is labelled in an image."""
        return read_regions(self.path, self.place(image))

    def place(self, image: str) -> Place:
        """Where the line of an image is. Errors as :meth:`shown`."""
        return self.shown(image).place

    def mask(self, regions: Regions, cls: int) -> np.ndarray:
        """The mask (H, W) uint8 of a class: 1 where it is, else 255 where pixels count for nothing, else 0."""
        name = next(name for name, number in self.numbers.items() if number == cls)
        found = [regions.ignored, regions.classes.get(name)]
        mask = np.zeros(regions.size, np.uint8)
        for code, value in zip(found, (IGNORE, 1), strict=True):
            if code is not None:
                mask[decode_mask(code, regions.size, self.path)] = value
        return mask


def read_regions(path: Path, place: Place) -> Regions:
    """What is labelled in the image of a line. Raises UserError if there is no such line now."""
    try:
        with path.open("rb") as file:
            file.seek(place.offset)
            content = _parse(file.read(place.length))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: changed while it was read ({error}); start again") from error
    return Regions(tuple(content["size"]), content["classes"], content.get("ignored"))


def decode_mask(code: str, size: tuple[int, int], path: Path) -> np.ndarray:
    """The pixels (H, W) bool of run lengths in a file. Raises UserError naming it unless they fill the size."""
    try:
        return decode(code, size)
    except ValueError as error:
        raise UserError(f"{path}: {error}; run prepare.py own again") from error


def decode(code: str, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool of compressed run lengths. Raises ValueError unless they fill the size."""
    from pycocotools import mask as coding

    lengths = run_lengths(code.encode())
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:  # pycocotools may not look
        raise ValueError("run lengths that do not fill their image")
    return coding.decode({"size": list(size), "counts": code}).astype(bool)


def run_lengths(code: bytes) -> np.ndarray:
    """The run lengths (n,) int64 of COCO's compressed code. Raises ValueError if it is none.

    Five bits a character, lowest first; from the third run on the difference to the run before the last.
    """
    characters = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not len(characters) or (characters < 0).any() or (characters > 63).any() or characters[-1] & 32:
        raise ValueError("run lengths that end within a number, or are none of COCO's")
    ends = np.flatnonzero((characters & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(characters)) - np.repeat(starts, ends - starts + 1)
    if places.max() > 6:
        raise ValueError("a run length of more than 35 bits")
    values = np.add.reduceat((characters & 31) << 5 * places, starts)
    values -= np.where(characters[ends] & 16, 1 << 5 * (places[ends] + 1), 0)  # the highest bit is the sign
    for first in (1, 2):
        values[first::2] = values[first::2].cumsum()
    return values


def _parse(line: bytes) -> dict[str, Any]:
    """What a line says. Raises ValueError if it is no line of such a file."""
    content = json.loads(line)
    check_fields(content, {name: RULES[name] for name in ("image", "size", "classes")})
    if not RULES["ignored"](content.get("ignored")):
        raise ValueError("ignored is no run lengths")
    return content


def open_annotations(path: Path, classes: Mapping[int, str]) -> Annotations:
    """The annotations of a file, from the cache if it has not changed. classes: the names that count, by number.

    Raises UserError naming the file and the line that is no good.
    """
    numbers = {name: number for number, name in classes.items()}
    try:
        check_regular(path)
        info = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({refusal(error)}); prepare.py own makes it") from error
    stamp = info.st_size, info.st_mtime_ns, info.st_ctime_ns
    cache = cache_path(path, "runs")
    lines = _load(cache, stamp) if cache else None
    if lines is None:
        started = time.time_ns()
        lines = dict(scan(path))
        if cache and max(stamp[1:]) < started - SETTLED_NS:
            try:
                _save(cache, stamp, lines)
            except UserError as error:
                say(f"note: the index of {path.name} is not kept for the next run: {error}")
    return Annotations(path, lines, numbers)


def scan(path: Path) -> Iterator[tuple[str, Shown]]:
    """Each image of a file of annotations, in order. Raises UserError naming the line that is no good."""
    from pycocotools import mask as coding

    offset, seen = 0, set()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                content = _parse(line)
                image, size = content["image"], content["size"]
                if image in seen:
                    raise ValueError(f"names the image {image} a second time")
                seen.add(image)
                codes = content["classes"]
                areas = coding.area([{"size": size, "counts": code} for code in codes.values()]) if codes else []
                pixels = {name: int(area) for name, area in zip(codes, areas, strict=True)}
                if any(not 0 < area <= size[0] * size[1] for area in pixels.values()):
                    raise ValueError("has run lengths that do not fit its image")
            except Exception as error:  # pycocotools raises all sorts of errors
                raise UserError(f"{path}: line {number}: {error}; run prepare.py own again") from error
            yield image, Shown(Place(offset, len(line)), (size[1], size[0]), pixels)
            offset += len(line)


def _save(path: Path, stamp: tuple[int, int, int], lines: Mapping[str, Shown]) -> None:
    names = list(dict.fromkeys(name for shown in lines.values() for name in shown.pixels))
    rank = {name: number for number, name in enumerate(names)}
    with atomic_write(path) as file:
        np.savez(
            file,
            version=VERSION,
            stamp=np.array(stamp, np.int64),
            names=np.array(names, np.str_),
            images=np.array(list(lines), np.str_),
            places=np.array([(*x.place, *x.size, len(x.pixels)) for x in lines.values()], np.int64),
            classes=np.array([rank[name] for x in lines.values() for name in x.pixels], np.int32),
            pixels=np.array([count for x in lines.values() for count in x.pixels.values()], np.int64),
        )


def _load(path: Path, stamp: tuple[int, int, int]) -> dict[str, Shown] | None:
    """What the cache holds; None if there is none of this file, or it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"] != VERSION or tuple(file["stamp"].tolist()) != stamp:
                return None
            arrays = (file[name] for name in ("names", "images", "places", "classes", "pixels"))
            names, images, places, classes, pixels = (array.tolist() for array in arrays)
        if sum(place[4] for place in places) != len(classes) or len(classes) != len(pixels):
            return None
        named, lines, start = [names[rank] for rank in classes], {}, 0
        for image, (offset, length, width, height, count) in zip(images, places, strict=True):
            stop = start + count
            shown = dict(zip(named[start:stop], pixels[start:stop], strict=True))
            lines[image], start = Shown(Place(offset, length), (width, height), shown), stop
        return lines
    except Exception:  # what a damaged file can raise anywhere in the reader; it is built again
        return None
