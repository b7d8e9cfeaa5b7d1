"""What was found as numbers, for other programs: results.json, and one file in COCO's form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coding

from prediction.frames import Frame
from util.files import atomic_write

CATEGORY = 1  # the only one
NOBODY = "object"  # what the category is called if no name is known


class Found(NamedTuple):
    """Where the object is in an image or a frame."""

    picture: Path  # the image, or the file that the frame was written to, if it was
    fields: Mapping[str, Any]  # of results.json


def describe_found(path: Path, frame: Frame | None, mask: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """What a mask (H, W) bool says of an image or a frame of a video: size, share, box, score, segmentation.

    Sizes are (width, height). The box is x, y, width and height, in pixels; the score is the mean of the probability
    (H, W) in the mask. Both are 0 where nothing was found. The segmentation holds COCO's compressed run lengths.
    """
    code = coding.encode(np.asfortranarray(mask, dtype=np.uint8))
    of_film = {} if frame is None else {"frame": frame.number, "seconds": round(float(frame.seconds), 6)}
    return {
        "image": str(path),
        **of_film,
        "size": [mask.shape[1], mask.shape[0]],
        "share": float(mask.mean()),
        "box": [int(side) for side in coding.toBbox(code)],
        "score": float(probability[mask].mean()) if mask.any() else 0.0,
        "segmentation": {"size": list(mask.shape), "counts": code["counts"].decode()},
    }


def write_results(path: Path, made: Mapping[str, Any], found: Sequence[Found]) -> None:
    """Write what was found, numbered from 1, behind what made it.

    An entry is one of COCO's results (image_id, category_id, segmentation, score) with more fields. Its box is not
    called bbox: pycocotools would take the area of that for the mask's.
    """
    numbered = [{"image_id": number, "category_id": CATEGORY, **x.fields} for number, x in enumerate(found, 1)]
    head = json.dumps(made, indent=1).removesuffix("\n}")
    lines = ",\n  ".join(map(json.dumps, numbered))  # a line each
    with atomic_write(path) as file:
        file.write(f'{head},\n "results": [\n  {lines}\n ]\n}}\n'.encode())


def write_coco(path: Path, description: str, label: str, found: Sequence[Found]) -> Path:
    """Write a dataset in COCO's form: all images, the numbers as in results.json, an annotation where there is one.

    Returns the folder below which the images are: their names are relative to it.
    """
    files = [os.path.abspath(x.picture) for x in found]
    folder = Path(os.path.commonpath([os.path.dirname(file) for file in files]))
    images, annotations = [], []
    for number, (file, x) in enumerate(zip(files, found, strict=True), 1):
        (width, height), code = x.fields["size"], x.fields["segmentation"]
        name = Path(file).relative_to(folder).as_posix()
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        if area := int(coding.area(code)):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": CATEGORY, "segmentation": code,
                    "area": area, "bbox": x.fields["box"], "iscrowd": 0,
                }
            )  # fmt: skip
    content = {
        "info": {"description": description},
        "licenses": [],
        "images": images,
        "categories": [{"id": CATEGORY, "name": label, "supercategory": ""}],
        "annotations": annotations,
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())
    return folder
