"""The shapes of a LabelMe file: which of them mark the object, and their pixels, as LabelMe itself draws them."""

from __future__ import annotations

import math
import unicodedata
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dataset.images import open_image
from dataset.labels import IGNORE
from prediction.labellers import name_json
from util.distributed import say
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
MOST_REASONS = 3  # that a line names
WAY_OUT = "draw it in LabelMe as polygon, rectangle, circle, line, point or mask"

Shape = tuple[int, dict[str, Any]]  # the value of its pixels, and its fields


def read_labelme(path: str | Path, label: str | None) -> tuple[tuple[float | None, float | None], list[Shape]]:
    """The (width, height) that a LabelMe file states, None where it does not, and its shapes, in order.

    The object's shapes, which are all or those of a label, have the value 1. Those that LabelMe calls background or
    ignored are kept beside them, as 0 and 255. Spaces around a label do not count, nor how its accents are encoded.
    """
    try:
        content = read_json(path, LABELME_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such mask") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except UnicodeDecodeError as error:
        way_out = "save it as UTF-8 (from GB18030: iconv -f GB18030 -t UTF-8 OLD > NEW)"
        raise UserError(f"{path}: not text in UTF-8, but in another encoding, or damaged; {way_out}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON, or damaged ({error}); save it again in LabelMe") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        if found := name_json(content):
            raise UserError(f"{path}: {found}")
        raise UserError(f"{path}: not a LabelMe file, it holds no list of shapes; save it in LabelMe")
    width, height = (x if type(x) in (int, float) else None for x in map(content.get, ("imageWidth", "imageHeight")))
    names = [_clean(str(shape.get("label"))) for shape in shapes]
    wanted = None if label is None else _clean(label)
    if wanted is not None and wanted not in names:
        raise UserError(f"{path}: no shape has --label {label}; it holds {', '.join(sorted(set(names))) or 'none'}")
    values = [_find_value(name, wanted) for name in names]
    return (width, height), [(value, x) for value, x in zip(values, shapes, strict=True) if value is not None]


def _clean(label: str) -> str:
    return unicodedata.normalize("NFC", label.strip())  # macOS takes letters and their accents apart


def _find_value(name: str, label: str | None) -> int | None:
    """The value of the pixels of a shape with a name: 1, 0 or 255; None for a shape that is not drawn."""
    if label is not None and name == label:
        return 1
    return OTHER_LABELS.get(name.lower(), 1 if label is None else None)


def draw_shapes(path: str | Path, size: tuple[int, int], shapes: Sequence[Shape]) -> Image.Image:
    """Draw shapes, each over those before it, as LabelMe draws them: on the outline as well.

    A shape that cannot be drawn is passed over, and a line says so.

    Arguments:
        path: of the file, for messages.
        size: width and height of the image.
        shapes: as of :func:`read_labelme`.
    Returns:
        An image of mode L: 1 the object, 0 background, 255 neither.
    Raises:
        UserError: there are far too many points or pixels, or no shape of the object can be drawn.
    """
    canvas = Image.new("L", size)
    points_of = [_read_points(shape.get("points")) for _, shape in shapes]
    boxes = [_find_box(points) for (_, x), points in zip(shapes, points_of, strict=True) if _find_kind(x) == "mask"]
    if sum(map(len, points_of)) > MOST_POINTS:
        raise UserError(f"{path}: its shapes have more than {MOST_POINTS} points; save the mask as PNG")
    if sum(width * height for _, (width, height) in boxes) > MOST_MASKED:
        raise UserError(f"{path}: its masks have more than {MOST_MASKED} pixels; save them as one PNG")
    reasons: Counter[str] = Counter()
    drawn = False
    for (value, shape), points in zip(shapes, points_of, strict=True):
        try:
            _draw_shape(canvas, value, shape, points)
            drawn |= value == 1
        except ValueError as error:
            reasons[str(error)] += 1
    if reasons:
        named = ", ".join(f"{x} ({count} times)" if count > 1 else x for x, count in reasons.most_common(MOST_REASONS))
        named += ", ..." if len(reasons) > MOST_REASONS else ""
        if not drawn:
            raise UserError(f"{path}: no shape of the object can be drawn: {named}; {WAY_OUT}")
        say(f"note: {path}: passes over {reasons.total()} of {len(shapes)} shapes: {named}")
    return canvas


def _find_kind(shape: dict[str, Any]) -> str:
    return str(shape.get("shape_type") or "polygon").lower()


def _draw_shape(canvas: Image.Image, value: int, shape: dict[str, Any], points: list[tuple[float, float]]) -> None:
    """Draw a shape. Raises ValueError, which says what it is, if that is nothing to draw."""
    kind = _find_kind(shape)
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


def _read_points(points: Any) -> list[tuple[float, float]]:
    """A shape's points; none where they are no list of pairs of sensible numbers."""
    try:
        found = [(float(x), float(y)) for x, y in points]
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
