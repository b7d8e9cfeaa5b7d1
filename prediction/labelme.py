"""The shapes of a LabelMe file that mark the object of a support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dataset.labelme import OTHER_LABELS, check_bounds, clean_label, draw_shape, list_shapes, open_labelme, read_size
from prediction.labellers import name_json
from util.distributed import say
from util.errors import UserError

MOST_REASONS = 3  # that a line names
WAY_OUT = "draw it in LabelMe as polygon, rectangle, circle, line, point or mask"

Shape = tuple[int, dict[str, Any]]  # the value of its pixels, and its fields


def read_labelme(path: str | Path, label: str | None) -> tuple[tuple[float | None, float | None], list[Shape]]:
    """The (width, height) that a LabelMe file states, None where it does not, and its shapes, in order.

    The object's shapes, which are all or those of a label, have the value 1. Those that LabelMe calls background or
    ignored are kept beside them, as 0 and 255. Spaces around a label do not count, nor how its accents are encoded.
    """
    try:
        content = open_labelme(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such mask") from error
    shapes = list_shapes(content)
    if shapes is None:
        if found := name_json(content):
            raise UserError(f"{path}: {found}")
        raise UserError(f"{path}: not a LabelMe file, it holds no list of shapes; save it in LabelMe")
    names = [clean_label(shape.get("label")) for shape in shapes]
    wanted = None if label is None else clean_label(label)
    if wanted is not None and wanted not in names:
        raise UserError(f"{path}: no shape has --label {label}; it holds {', '.join(sorted(set(names))) or 'none'}")
    values = [_find_value(name, wanted) for name in names]
    return read_size(content), [(value, x) for value, x in zip(values, shapes, strict=True) if value is not None]


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
    check_bounds(path, [shape for _, shape in shapes])
    reasons: Counter[str] = Counter()
    drawn = False
    for value, shape in shapes:
        try:
            draw_shape(canvas, value, shape)
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
