"""The entries of a JSON in COCO's form, each checked before it is used, and their segmentations as run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coding

from dataset.run_lengths import run_lengths

FARTHEST_POINT = 10**5  # coordinate of a polygon's point, pixels
FEWEST_NUMBERS = 6  # of a polygon: three points


def read_value(entry: Any, number: int, kind: str, key: str) -> Any:
    """A field of an image, a category or an annotation. Raises ValueError naming the entry where it has none."""
    if not isinstance(entry, dict):
        raise ValueError(f"{kind} number {number + 1} is no entry of COCO's")
    if entry.get(key) is None:
        which = f"{kind} {entry['id']}" if entry.get("id") is not None else f"{kind} number {number + 1}"
        raise ValueError(f"{which} has no {key}")
    return entry[key]


def read_number(entry: Any, number: int, kind: str, key: str) -> int:
    """A field that is a whole number, also as a text such as "12", which sorts otherwise. Raises ValueError."""
    value = read_value(entry, number, kind, key)
    try:
        if (found := int(value)) == float(value):
            return found
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(f"{kind} number {number + 1}: its {key} is {str(value)[:40]!r}, no whole number")


def encloses_nothing(segmentation: Any) -> bool:
    """Whether a segmentation has polygons only of fewer than three points, or none."""
    return isinstance(segmentation, list) and all(
        isinstance(part, list) and len(part) < FEWEST_NUMBERS for part in segmentation
    )


def encode_box(box: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A box, as x, y, width and height, as a run-length code. Raises ValueError if it is none."""
    x, y, width, height = map(float, box)
    return encode_segmentation([[x, y, x + width, y, x + width, y + height, x, y + height]], size)


def encode_segmentation(segmentation: list | dict, size: tuple[int, int]) -> dict[str, Any]:
    """A segmentation as a run-length code. What pycocotools would take amiss is met by a ValueError before."""
    if isinstance(segmentation, list):
        if segmentation and not any(isinstance(part, list) for part in segmentation):
            raise ValueError("one flat list; a polygon is a list in a list of parts, [[x, y, x, y, x, y]]")
        parts = [np.asarray(part, float) for part in segmentation]
        for part in parts:
            if part.ndim != 1 or len(part) % 2 or not (np.abs(part) <= FARTHEST_POINT).all():
                raise ValueError("a polygon is no flat list of x, y near the image")
        parts = [part.tolist() for part in parts if len(part) >= FEWEST_NUMBERS]  # four numbers would be a box
        if not parts:
            return coding.encode(np.zeros(size, np.uint8, order="F"))
        return coding.merge(coding.frPyObjects(parts, *size))
    counts = segmentation["counts"]
    height, width = segmentation["size"]
    if (height, width) != size:
        raise ValueError("its size is not the image's")
    compressed = isinstance(counts, (str, bytes))
    lengths = run_lengths(counts.encode() if isinstance(counts, str) else counts).tolist() if compressed else counts
    if not all(isinstance(n, int) and n >= 0 for n in lengths) or sum(lengths) != height * width:
        raise ValueError("the run lengths do not fill the image")
    return segmentation if compressed else coding.frPyObjects(segmentation, height, width)
