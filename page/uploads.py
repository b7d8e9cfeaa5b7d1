"""What people drop, paint or paste: read within limits, each refusal a sentence that names the file."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset.images import open_image
from prediction.files import opened, read_image
from prediction.masks import read_support
from prediction.predictor import OBJECT, fitted, shrunk, size_problem
from util.errors import UserError

MAX_SUPPORTS = 5
MAX_QUERIES = 12
MAX_BYTES = 30_000_000  # of an uploaded file
UPLOAD_PIXELS = 40_000_000  # of an image, read from its header: 120 MB once it is decoded
MAX_SHOWN = 2048  # pixels of the longer side: larger images are made smaller, and so are their results
PAINTED = 64  # alpha of 255 from which a pixel belongs to a stroke, whose brush has 153 and soft edges


class Support(NamedTuple):
    """An image in which the object is marked."""

    image: Image.Image  # RGB, at most MAX_SHOWN
    mask: np.ndarray  # (H, W) uint8, 1 the object, 0 background, 255 neither
    name: str


class Strokes(NamedTuple):
    """What a painting area holds."""

    image: Image.Image | None  # RGBA
    layers: Sequence[Image.Image]  # RGBA


class Query(NamedTuple):
    """An uploaded image, not yet read."""

    path: Path
    name: str


def check_queries(paths: Sequence[str | Path]) -> list[Query]:
    """The uploaded queries. Raises UserError if there are none, or more than MAX_QUERIES."""
    if not paths:
        raise UserError("There is no query yet: drop an image to segment.")
    if len(paths) > MAX_QUERIES:
        raise UserError(f"{len(paths)} queries are too many; drop at most {MAX_QUERIES} at once.")
    return [Query(Path(path), Path(path).name) for path in paths]


def read_picture(path: Path, max_side: int) -> Image.Image:
    """An uploaded image as RGB, upright, of at most MAX_SHOWN pixels on the longer side.

    Arguments:
        path: of the upload; messages name the file alone.
        max_side: in which it will be segmented.
    Raises:
        UserError: it is no image, damaged, too large or too small.
    """
    with named(path):
        check_limits(path.stat().st_size, path, path.name)
        image = read_image(path)
        check_side(image, path.name, max_side)
        return shrunk(image, MAX_SHOWN)


def decode(content: bytes | str | Path, name: str) -> Image.Image:
    """An image that the painting area sends, background or layer, within the limits; RGBA where it has alpha.

    Raises UserError, which calls the image by its name.
    """
    size = len(content) if isinstance(content, bytes) else Path(content).stat().st_size
    file = BytesIO(content) if isinstance(content, bytes) else content
    check_limits(size, file, name)
    try:
        with opened(file) as image:
            image.load()
            return image.convert("RGBA")
    except UserError as error:
        raise UserError(str(error).replace(str(file), name)) from error


def read_marked(
    file: str | Path | None, mask: str | Path | None, strokes: Strokes | None, number: int, folder: Path
) -> Support | None:
    """Put a support together from what was dropped and painted.

    Arguments:
        file: the uploaded image, if any; it does not count once another one was pasted or photographed.
        mask: an uploaded mask, PNG or LabelMe's JSON, which counts in place of strokes.
        strokes: what the painting area holds; its image is the file's, but for size.
        number: which support it is, from 1.
        folder: for a moment's copy of a pasted image.
    Returns:
        The support; None if neither image nor mask is there.
    Raises:
        UserError: nothing is painted, the mask does not fit or cannot be read.
    """
    name = f"support {number}"
    if strokes is None or strokes.image is None:
        if mask is not None:
            raise UserError(f"There is a mask for {name}, but no image: drop the image too.")
        return None
    image = on_white(strokes.image)
    if mask is None:
        marked = brush_mask(strokes.layers, image.size, name)
        if not (marked == OBJECT).any():
            raise UserError(f"Nothing is marked in {name}: paint the object with the brush, or drop a mask.")
    else:
        same = file is not None and read_picture(Path(file), MAX_SHOWN).tobytes() == image.tobytes()
        image, marked = _with_mask(Path(mask), file if same else None, image, folder)
    return Support(*fitted(image, marked, MAX_SHOWN), name)


def _with_mask(mask: Path, file: str | Path | None, image: Image.Image, folder: Path) -> tuple[Image.Image, np.ndarray]:
    """The image, as it is in its file if there is one, and an uploaded mask, by predict.py's rules."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".png") as copy:
        if file is None:
            image.save(copy, "PNG")
            copy.flush()
        path = Path(file or copy.name)
        with named(path, None if file else "the image"), named(mask):
            check_limits(mask.stat().st_size, mask, mask.name)
            return read_support(path, mask)


def brush_mask(layers: Sequence[Image.Image], size: tuple[int, int], name: str) -> np.ndarray:
    """Where strokes are: (H, W) uint8, 1 or 0. Raises UserError if a layer has another size than the image."""
    mask = np.zeros(size[::-1], bool)
    for layer in layers:
        if layer.size != size:
            raise UserError(f"The strokes on {name} have another size than its image: clear it and paint again.")
        mask |= np.asarray(layer.getchannel("A")) >= PAINTED
    return mask.astype(np.uint8)


def on_white(image: Image.Image) -> Image.Image:
    """An RGBA image as RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def check_limits(size: int, file: str | Path | BytesIO, name: str) -> None:
    """Raise UserError if an image has too many bytes or, by its header, too many pixels; the rest is for its reader."""
    if size > MAX_BYTES:
        raise UserError(f"{name}: more than {MAX_BYTES // 10**6} MB; make the file smaller.")
    try:
        with open_image(file, most=math.inf) as image:  # the bound below is a lower one
            width, height = image.size
    except UserError as error:
        raise UserError(f"{name}: far too large; make the image smaller.") from error
    except Exception:  # no image, such as a mask in JSON, or damaged
        return
    if width * height > UPLOAD_PIXELS:
        limit = f"{UPLOAD_PIXELS // 10**6} million"
        raise UserError(f"{name}: {width}x{height} pixels are more than {limit}; make the image smaller.")


def check_side(image: Image.Image, name: str, max_side: int) -> None:
    """Raise UserError if an image is too small or too narrow."""
    if problem := size_problem(image.size, max_side, flag="--max-side"):
        raise UserError(f"{name}: {problem}.")


def key_of(content: bytes, *more: object) -> str:
    """What an image is remembered by."""
    return hashlib.sha256(content + repr(more).encode()).hexdigest()


@contextmanager
def named(path: Path, name: str | None = None) -> Iterator[None]:
    """In messages a file is called by its name; the folder of the upload is nobody's business."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(path), name or path.name)) from error
