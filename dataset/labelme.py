"""The shapes of a LabelMe file and their pixels, as LabelMe itself draws them."""

from __future__ import annotations

import math
import unicodedata
from base64 import b64decode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dataset.images import open_image
from dataset.labels import IGNORE
from util.errors import UserError, refusal
from util.files import read_json

LABELME_BYTES = 2**28  # of a LabelMe file, which may hold the image
FURTHEST = 1e6  # pixels, of a point that anybody drew
WIDEST = 2e5  # pixels, radius of a circle: of a larger one every row takes long
MOST_POINTS = 10**5  # of all shapes
MOST_MASKED = 2**29  # pixels of all masks: they unpack to this, whatever the bytes of the file
LINE_WIDTH, POINT_RADIUS = 10, 5  # pixels
OTHER_LABELS = {"_background_": 0, "__ignore__": IGNORE}  # LabelMe's names of what is no object
POINTS = {  # of a shape of each kind: at least and at most
    "polygon": (3, math.inf),
    "rectangle": (2, math.inf),  # two corners, or all four
    "oriented_rectangle": (4, 4),
    "rotation": (4, 4),  # X-AnyLabeling's name for it
    "quadrilateral": (4, 4),  # X-AnyLabeling's
    "circle": (2, 2),  # its centre and a point on it
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
    "mask": (2, 2),  # the first and the last pixel of its box
}


def open_labelme(path: str | Path) -> Any:
    """The content of a JSON that LabelMe may have written. Raises UserError, but FileNotFoundError where none is."""
    try:
        return read_json(path, LABELME_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except UnicodeDecodeError as error:
        way_out = "save it as UTF-8 (from GB18030: iconv -f GB18030 -t UTF-8 OLD > NEW)"
        raise UserError(f"{path}: not text in UTF-8, but in another encoding, or damaged; {way_out}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON, or damaged ({error}); save it again in LabelMe") from error


def list_shapes(content: Any) -> list[dict[str, Any]] | None:
    """The shapes of a LabelMe file, in order; None if it is another JSON."""
    shapes = content.get("shapes") if isinstance(content, dict) else None
    return shapes if isinstance(shapes, list) and all(isinstance(shape, dict) for shape in shapes) else None


def read_size(content: dict[str, Any]) -> tuple[float | None, float | None]:
    """The (width, height) that a LabelMe file states, None where it does not."""
    width, height = (x if type(x) in (int, float) else None for x in map(content.get, ("imageWidth", "imageHeight")))
    return width, height


def clean_label(label: Any) -> str:
    """A label without spaces around it, its accents joined to their letters: macOS takes them apart."""
    return unicodedata.normalize("NFC", str(label).strip())


def check_bounds(path: str | Path, shapes: Sequence[dict[str, Any]]) -> None:
    """Raise UserError if shapes have far too many points or pixels to be drawn."""
    points_of = [read_points(shape) for shape in shapes]
    boxes = [_find_box(points) for x, points in zip(shapes, points_of, strict=True) if find_kind(x) == "mask"]
    if sum(map(len, points_of)) > MOST_POINTS:
        raise UserError(f"{path}: its shapes have more than {MOST_POINTS} points; save the mask as PNG")
    if sum(width * height for _, (width, height) in boxes) > MOST_MASKED:
        raise UserError(f"{path}: its masks have more than {MOST_MASKED} pixels; save them as one PNG")


def find_kind(shape: dict[str, Any]) -> str:
    """The type of a shape, in small letters."""
    return str(shape.get("shape_type") or "polygon").lower()


def draw_shape(canvas: Image.Image, value: int, shape: dict[str, Any]) -> None:
    """Draw a shape on an image of mode L, on its outline as well.

    Raises ValueError, which says what it is, if that is nothing to draw.
    """
    kind, points = find_kind(shape), read_points(shape)
    if kind not in POINTS:
        raise ValueError(f"a shape of type {kind!r:.60}")
    least, most = POINTS[kind]
    radius = POINT_RADIUS if kind == "point" else math.dist(*points) if kind == "circle" and len(points) == 2 else 0
    if not least <= len(points) <= most or radius > WIDEST or (kind == "circle" and radius == 0):
        raise ValueError(f"a shape of type {kind!r} with the points {str(shape.get('points'))[:60]}")
    _check_place(points, radius, canvas.size)
    draw = ImageDraw.Draw(canvas)
    if kind == "mask":
        corner, size = _find_box(points)
        marked = _decode_mask(shape.get("mask"), size, most=canvas.width * canvas.height)
        canvas.paste(value, (*corner, corner[0] + marked.width, corner[1] + marked.height), marked)
    elif kind == "rectangle" and len(points) != 4:  # of four corners, which may be turned, it is a polygon
        columns, rows = zip(*points, strict=True)
        draw.rectangle((min(columns), min(rows), max(columns), max(rows)), fill=value, outline=value)
    elif kind in ("circle", "point"):
        x, y = points[0]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value, outline=value)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=value, width=LINE_WIDTH)
    else:
        draw.polygon(points, fill=value, outline=value)


def _check_place(points: Sequence[tuple[float, float]], radius: float, size: tuple[int, int]) -> None:
    """Raise ValueError if a shape lies beyond the image, or its points are fractions of the image's sides."""
    (left, top), (right, bottom) = (tuple(map(end, zip(*points, strict=True))) for end in (min, max))
    if right + radius < 0 or bottom + radius < 0 or left - radius >= size[0] or top - radius >= size[1]:
        raise ValueError("a shape beyond the image")
    if min(left, top) >= 0 and max(right, bottom) <= 1 and any(value % 1 for point in points for value in point):
        raise ValueError("a shape whose points are fractions of the image, not pixels")


def read_points(shape: dict[str, Any]) -> list[tuple[float, float]]:
    """A shape's points; none where they are no list of pairs of sensible numbers."""
    try:
        found = [(float(x), float(y)) for x, y in shape.get("points")]
    except (TypeError, ValueError, OverflowError):
        return []
    return found if all(abs(value) <= FURTHEST for point in found for value in point) else []


def _find_box(points: list[tuple[float, float]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The corner (x, y) and the (width, height) of a mask's box, which its last pixel belongs to; of none, zeros."""
    if len(points) != 2:
        return (0, 0), (0, 0)
    (left, top), (right, bottom) = (map(int, point) for point in points)
    return (left, top), (max(right - left + 1, 0), max(bottom - top + 1, 0))


def _decode_mask(text: Any, size: tuple[int, int], most: int) -> Image.Image:
    """The image, of mode 1, of a mask's PNG in base64.

    Arguments:
        text: what the file holds.
        size: (width, height) of its box; other tools than LabelMe round that to a pixel more or less.
        most: pixels that it may have.
    Raises:
        ValueError: it is no PNG of one channel, or of another size.
    """
    if not isinstance(text, str):
        raise ValueError("a mask without a PNG")
    try:
        with open_image(BytesIO(b64decode(text)), "mask", most) as image:
            kind, found = image.format, image.size
            fits = all(abs(a - b) <= 1 for a, b in zip(found, size, strict=True))
            values = np.array(image) if kind == "PNG" and fits else np.empty(0)
    except MemoryError:
        raise
    except Exception as error:  # a damaged PNG can fail anywhere in the decoder
        raise ValueError("a mask whose PNG is damaged, or larger than the image") from error
    if not fits:
        raise ValueError(f"a mask of {found[0]}x{found[1]} pixels in a box of {size[0]}x{size[1]}")
    if values.ndim != 2:
        raise ValueError("a mask whose picture is no PNG of one channel")
    return Image.fromarray(values != 0)
