"""Labelled images of LabelMe's JSONs: each beside its image, or with the image in it.

Shapes are drawn in their order, as LabelMe draws them: what it calls background or ignored takes its pixels from the
objects before it. Objects of different classes may overlap. Shapes without an area are no masks, and left out.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coding

from dataset.folders import find_file
from dataset.images import PICTURES, most_pixels, open_image_file
from dataset.labelme import (
    OTHER_LABELS,
    POINTS,
    check_bounds,
    clean_label,
    draw_shape,
    find_kind,
    list_shapes,
    open_labelme,
    read_points,
    read_size,
)
from dataset.prepare.own import Fault, Labelled, Source, encode_union
from dataset.turns import find_turn
from util.errors import UserError
from util.files import is_name

WITHOUT_AREA = ("point", "points", "line", "linestrip")  # types of shapes that are no masks


def read_labelme(folder: Path, images: Path | None = None) -> Source:
    """The labelled images of LabelMe's JSONs in a folder and in those in it.

    Arguments:
        folder: holds the JSONs.
        images: where the image of a JSON is looked for that is not beside it.
    Raises:
        UserError: a folder is not there, or holds no JSON.
    """
    for place in filter(None, (folder, images)):
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; name the one that LabelMe wrote to")
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: holds no JSON; name the folder that LabelMe wrote to")
    classes = _list_classes(folder, paths)
    notes: list[str] = []

    def give() -> Iterator[Labelled | Fault]:
        left_out: Counter[str] = Counter()
        for path in paths:
            yield _label(path, folder, images, left_out)
        notes[:] = [f"{count} shapes left out, {why}" for why, count in left_out.items()]

    return Source(classes, len(paths), give, notes=notes)


def _list_classes(folder: Path, paths: list[Path]) -> list[str]:
    """The labels of all shapes, sorted: LabelMe has no list of them."""
    found = set()
    for path in paths:
        try:
            shapes = list_shapes(open_labelme(path))
        except UserError:  # of which the image's fault will tell
            continue
        found |= {clean_label(shape.get("label")) for shape in shapes or () if find_kind(shape) not in WITHOUT_AREA}
    names = sorted(name for name in found if name.lower() not in OTHER_LABELS)
    if not names:
        raise UserError(f"{folder}: no JSON there holds a shape with an area; name a folder that LabelMe wrote to")
    return names


def _label(path: Path, folder: Path, images: Path | None, left_out: Counter[str]) -> Labelled | Fault:
    """The image of a JSON; left_out counts the shapes that are no masks."""
    try:
        content = open_labelme(path)
        shapes = list_shapes(content)
        if shapes is None:
            raise UserError(f"{path}: not a LabelMe file, it holds no list of shapes; move it away")
        check_bounds(path, shapes)
    except UserError as error:
        return Fault(str(error), "JSON")
    stated = f"{content.get('imagePath')}".replace("\\", "/").rpartition("/")[2]
    file, image = _find_image(path, stated, folder, images)
    try:
        turned = file is not None and _is_turned(file)
        decode = None
        if (file is None or turned) and isinstance(content.get("imageData"), str):
            # LabelMe shows an image upright, and keeps it so: the shapes were drawn on this one.
            decode, turned = partial(_decode_image, path), False
            image = os.path.splitext(path.relative_to(folder).as_posix())[0] if file is None else image
            file = path
        if file is None:
            what = f"its image {stated!r:.60} is not beside it; add it, or name its folder with --images"
            return Fault(f"{path}: {what}", "no such image")
        if turned:
            what = "LabelMe drew on it as its EXIF turns it; save the image upright, without EXIF"
            return Fault(f"{file}: {what}", "turned image")
        width, height = _measure(file, content, decode)
        codes, ignored = _draw_classes(shapes, (width, height), left_out)
    except UserError as error:
        return Fault(str(error), "image")
    except ValueError as error:
        return Fault(f"{path}: {error}; mend it in LabelMe, or leave the image out", "shape")
    return Labelled(image, file, (height, width), codes, ignored, decode)


def _find_image(path: Path, stated: str, folder: Path, images: Path | None) -> tuple[Path | None, str]:
    """The image of a JSON and its id: of the name that it states, else of its own, beside it, else in ``images``."""
    for place, top in ((path.parent, folder), (images, images)):
        if place is None:
            continue
        same = find_file(str(place / path.stem), PICTURES)
        for file in (place / stated if is_name(stated) else None, Path(same) if same else None):
            if file is not None and file.is_file():
                return file, os.path.splitext(file.relative_to(top).as_posix())[0]
    return None, ""


def _is_turned(file: Path) -> bool:
    with open_image_file(file, "image", whole=False) as image:
        return find_turn(image) is not None


def _decode_image(path: Path) -> bytes:
    """The image file in a JSON."""
    try:
        return b64decode(open_labelme(path)["imageData"])
    except ValueError as error:
        raise UserError(f"{path}: its imageData is damaged ({error}); put the image beside it") from error


def _measure(file: Path, content: dict[str, Any], decode: Any) -> tuple[int, int]:
    """The (width, height) that a JSON states, else that of its image."""
    width, height = read_size(content)
    if width is None or height is None:
        if decode is not None:
            raise ValueError("states no imageWidth and imageHeight")
        with open_image_file(file, "image", whole=False) as image:
            return image.size
    if width != int(width) or height != int(height) or min(width, height) < 1 or width * height > most_pixels():
        raise ValueError(f"states an image of {width}x{height} pixels")
    return int(width), int(height)


def _draw_classes(
    shapes: list[dict[str, Any]], size: tuple[int, int], left_out: Counter[str]
) -> tuple[dict[str, bytes], bytes | None]:
    """The run lengths of each class, and of what is ignored. Raises ValueError naming a shape that cannot be drawn.

    size: (width, height) of the image.
    """
    canvases: dict[str, Image.Image] = {}
    ignored = Image.new("L", size)
    for shape in shapes:
        kind, name = find_kind(shape), clean_label(shape.get("label"))
        other = OTHER_LABELS.get(name.lower())
        if kind in WITHOUT_AREA:
            left_out[f"of type {kind}, which has no area"] += 1
        elif kind in POINTS and 0 < len(read_points(shape)) < POINTS[kind][0]:
            left_out[f"of type {kind} with too few points"] += 1
        elif other is None:
            draw_shape(canvases.setdefault(name, Image.new("L", size)), 1, shape)
        else:
            draw_shape(ignored, int(other > 0), shape)
            for canvas in canvases.values():
                draw_shape(canvas, 0, shape)
    codes = {name: _encode(canvas) for name, canvas in canvases.items()}
    return {name: counts for name, counts in codes.items() if counts}, _encode(ignored) or None


def _encode(canvas: Image.Image) -> bytes:
    return encode_union([coding.encode(np.asfortranarray(canvas))])
