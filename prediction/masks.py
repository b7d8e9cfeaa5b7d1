"""The mask of a user's own support: a PNG of any kind, or shapes drawn in LabelMe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dataset.labels import BLURRED, LOSSY
from prediction.files import Turn, find_turn, open_picture, read_with_turn
from prediction.mask_labels import find_label
from prediction.object_masks import find_object
from util.errors import UserError, refusal
from util.files import read_json

SIDEWAYS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)
OTHER_COLOURS = ("CMYK", "HSV", "LAB", "YCbCr")  # in which black is not 0
LABELME_BYTES = 2**28  # of a LabelMe file, which may hold the image
FURTHEST = 1e6  # pixels, of a point that anybody drew
WIDEST = 2e5  # pixels, radius of a circle: of a larger one every row takes long
MOST_POINTS = 10**5  # of all shapes


def read_support(
    image_path: str | Path, mask_path: str | Path, label: str | None = None
) -> tuple[Image.Image, np.ndarray]:
    """A support: its image, RGB and upright, and its mask (H, W) uint8, 1 the object, 0 background, 255 neither.

    In a mask image of few values every non-zero pixel belongs to the object (in RGB, every pixel that is not black);
    shades are cut at half; prediction.object_masks has the rule. With a label the pixels of that number, colour or name
    do, and 255 is neither object nor background. In a LabelMe JSON all shapes belong to the object, or those of the
    label.

    Arguments:
        image_path: the image; its EXIF turn is applied.
        mask_path: the mask, which fits the image as it is shown or as it is stored.
        label: a pixel value, a colour (#rrggbb), a class by its labelmap.txt or of VOC's, or the label of LabelMe's
            shapes; None for all.
    Raises:
        UserError: names the file that is missing, damaged, of another size, without object, background or the label.
    """
    picture, turn = read_with_turn(image_path)
    mask, shapes = None, []
    if Path(mask_path).suffix.lower() == ".json":
        size, shapes = read_labelme(mask_path, label)
        size = size or picture.size
    else:
        mask = read_object(mask_path, label)
        size = mask.size
    if size == picture.size:
        turn = None
    elif turn not in SIDEWAYS or size[::-1] != picture.size:
        (width, height), shown = size, f"{picture.width}x{picture.height}"
        wrong = f"mask of {width}x{height} pixels for an image of {shown}, {image_path}"
        raise UserError(f"{mask_path}: {wrong}; replace one of the two")
    mask = draw_shapes(mask_path, size, shapes) if mask is None else mask
    mask = np.array(mask if turn is None else mask.transpose(turn))
    if not (mask == 1).any():
        raise UserError(f"{mask_path}: marks no object; mark it, or leave the support out")
    if not (mask == 0).any():
        raise UserError(f"{mask_path}: leaves no background; mark the object alone, or leave the support out")
    return picture, mask


# Images


def read_object(path: str | Path, label: str | None) -> Image.Image:
    """A mask image, upright, of mode L with 1 the object, 0 background, 255 neither."""
    with open_picture(path, "mask") as image:
        image.load()
        is_blurred, turn = image.format in LOSSY, find_turn(image)
        image = image.convert("RGB") if image.mode in OTHER_COLOURS else image.copy()
    if label is not None and is_blurred:
        raise UserError(f"{path}: {BLURRED}")
    found = find_object(image, path, is_blurred) if label is None else find_label(image, path, label)
    mask = Image.fromarray(found)
    return mask if turn is None else mask.transpose(turn)


# LabelMe


def read_labelme(path: str | Path, label: str | None) -> tuple[tuple[int, int] | None, list[dict[str, Any]]]:
    """The (width, height) that a LabelMe file states, None if it does not, and its shapes: all, or those of a label."""
    try:
        content = read_json(path, LABELME_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such mask") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON, or damaged ({error}); save it again in LabelMe") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise UserError(f"{path}: not a LabelMe file, it holds no list of shapes; save it in LabelMe")
    size = content.get("imageWidth"), content.get("imageHeight")
    if label is not None:
        names = sorted({str(shape.get("label")) for shape in shapes})
        shapes = [shape for shape in shapes if str(shape.get("label")) == label]
        if not shapes:
            raise UserError(f"{path}: no shape has --label {label}; it holds {', '.join(names) or 'none'}")
    return (size if all(type(side) is int for side in size) else None), shapes


def draw_shapes(path: str | Path, size: tuple[int, int], shapes: list[dict[str, Any]]) -> Image.Image:
    """LabelMe's shapes as an image of mode L, 1 inside and on the outline, as LabelMe itself draws them."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    points_of = [_read_points(shape.get("points")) for shape in shapes]
    if sum(map(len, points_of)) > MOST_POINTS:
        raise UserError(f"{path}: its shapes have more than {MOST_POINTS} points; save the mask as PNG")
    for shape, points in zip(shapes, points_of, strict=True):
        kind = shape.get("shape_type") or "polygon"
        if kind == "polygon" and len(points) >= 3:
            draw.polygon(points, fill=1, outline=1)
        elif kind == "rectangle" and len(points) >= 2:  # two corners, or all four
            columns, rows = zip(*points, strict=True)
            draw.rectangle((min(columns), min(rows), max(columns), max(rows)), fill=1, outline=1)
        elif kind == "circle" and len(points) == 2 and math.dist(*points) <= WIDEST:  # its centre and a point on it
            (x, y), radius = points[0], math.dist(*points)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
        elif kind in ("polygon", "rectangle", "circle"):
            raise UserError(
                f"{path}: damaged: a {kind} with the points {str(shape.get('points'))[:60]}; draw it again in LabelMe"
            )
        else:
            raise UserError(
                f"{path}: holds a shape of type {kind!r:.60}; polygons, rectangles and circles are read "
                "(--label NAME takes those of one label)"
            )
    return mask


def _read_points(points: Any) -> list[tuple[float, float]]:
    """A shape's points; none where they are no list of pairs of sensible numbers."""
    try:
        found = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        return []
    return found if all(abs(value) <= FURTHEST for point in found for value in point) else []
