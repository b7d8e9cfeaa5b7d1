"""The mask of a user's own support: a PNG of any kind, or shapes drawn in LabelMe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dataset.images import BLURRED, IGNORE, LOSSY
from prediction.files import Turn, find_turn, open_picture, read_with_turn
from util.errors import UserError, refusal
from util.files import read_json

SIDEWAYS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
OTHER_COLOURS = ("CMYK", "HSV", "LAB", "YCbCr")  # in which black is not 0
LABELME_BYTES = 2**28  # of a LabelMe file, which may hold the image
FURTHEST = 1e6  # pixels, of a point that anybody drew
WIDEST = 2e5  # pixels, radius of a circle: of a larger one every row takes long
MOST_POINTS = 10**5  # of all shapes


def read_support(
    image_path: str | Path, mask_path: str | Path, label: str | None = None
) -> tuple[Image.Image, np.ndarray]:
    """A support: its image, RGB and upright, and its mask (H, W) uint8, 1 the object, 0 background, 255 neither.

    In a mask image every non-zero pixel belongs to the object (in RGB, every pixel that is not black). With a label
    the pixels of that number do, and 255 is neither object nor background. In a LabelMe JSON all shapes belong to the
    object, or those of the label.

    Arguments:
        image_path: the image; its EXIF turn is applied.
        mask_path: the mask, which fits the image as it is shown or as it is stored.
        label: a pixel value, or the label of LabelMe's shapes; None for all.
    Raises:
        UserError: names the file that is missing, damaged, of another size, without object, or without the label.
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
    return picture, mask


# Images


def read_object(path: str | Path, label: str | None) -> Image.Image:
    """A mask image, upright, of mode L with 1 the object, 0 background, 255 neither."""
    with open_picture(path, "mask") as image:
        image.load()
        kind, turn = image.format, find_turn(image)
        image = image.convert("RGB") if image.mode in OTHER_COLOURS else image
        mode, values = image.mode, np.array(image)
    if kind in LOSSY:
        raise UserError(f"{path}: {BLURRED}")
    mask = find_objects(values, mode) if label is None else find_label(values, mode, label, path)
    mask = Image.fromarray(mask.astype(np.uint8))
    return mask if turn is None else mask.transpose(turn)


def find_objects(values: np.ndarray, mode: str) -> np.ndarray:
    """Where pixels (H, W) or (H, W, channels) are not 0, in any channel, nor transparent: (H, W) bool."""
    if mode in ALPHA:
        return values[..., :-1].any(-1) & (values[..., -1] > 0)
    return values.any(-1) if values.ndim == 3 else values != 0


def find_label(values: np.ndarray, mode: str, label: str, path: str | Path) -> np.ndarray:
    """Find the pixels of a label.

    Arguments:
        values: (H, W) or (H, W, channels) of the mask.
        mode: Pillow's, of the mask.
        label: the number, as text.
        path: of the mask, for messages.
    Returns:
        (H, W) uint8: 1 for the label, 255 for 255, else 0.
    Raises:
        UserError: the mask has colours, or no pixel of the label.
    """
    if values.ndim == 3:
        colours = values[..., :-1] if mode in ALPHA else values
        if (colours != colours[..., :1]).any():
            raise UserError(
                f"{path}: a mask in colours has no labels; leave --label out, or save it as grey or palette"
            )
        values = colours[..., 0]
    found = np.unique(values).astype(int).tolist()
    if label not in map(str, found):
        listed = ", ".join(map(str, found[:20])) + (" ..." if len(found) > 20 else "")
        raise UserError(f"{path}: no pixel has --label {label}; it holds {listed}")
    chosen = values == int(label)
    return np.where(chosen, 1, np.where(values == IGNORE, IGNORE, 0)).astype(np.uint8)


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
