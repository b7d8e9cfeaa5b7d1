"""What people drop, paint or paste: read within limits, each refusal a sentence that names the file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from prediction.files import open_picture, read_image
from prediction.masks import read_support
from prediction.working_size import OBJECT, find_size_problem, shrink_image, shrink_marked
from util.distributed import hear
from util.errors import UserError

MAX_SUPPORTS = 5
MAX_QUERIES = 12
MAX_BYTES = 30_000_000  # of an uploaded file
# In which images are segmented unless --max-side says otherwise: a stroke matches all queries anew, and what it matches
# (17 images of 26 MB) fits into finder.CACHE_BYTES.
MAX_SIDE = 640
MAX_SHOWN = 2048  # pixels of the longer side: larger images are made smaller, and so are their results
PAINTED = 64  # alpha of 255 from which a pixel belongs to a stroke, whose brush has 153 and soft edges


class Marked(NamedTuple):
    """What was dropped and painted as one support."""

    file: str | Path | None  # the uploaded image; it does not count once another one was pasted or photographed
    mask: str | Path | None  # an uploaded mask, PNG or LabelMe's JSON, which counts in place of strokes
    painting: dict[str, Any] | None  # RGBA images: "background", the file's but for its size, and "layers" of strokes


class Support(NamedTuple):
    """An image in which the object is marked."""

    image: Image.Image  # RGB, at most MAX_SHOWN
    mask: np.ndarray  # (H, W) uint8, 1 the object, 0 background, 255 neither
    name: str
    notes: tuple[str, ...] = ()  # what is said of the mask


def check_queries(paths: Sequence[str | Path]) -> list[Path]:
    """The uploaded queries. Raises UserError if there are none, or more than MAX_QUERIES."""
    if not paths:
        raise UserError("There is no query yet: drop an image to segment.")
    if len(paths) > MAX_QUERIES:
        raise UserError(f"{len(paths)} queries are too many; drop at most {MAX_QUERIES} at once.")
    return list(map(Path, paths))


def read_picture(path: Path, max_side: int) -> Image.Image:
    """An uploaded image as RGB, upright, of at most MAX_SHOWN pixels on the longer side.

    Arguments:
        path: of the upload; messages name the file alone.
        max_side: in which it will be segmented; 0 for its own size.
    Raises:
        UserError: it is no image, damaged, too large or too small.
    """
    with errors_call(path, path.name):
        image = read_image(path)
    check_side(image, path.name, max_side)
    return shrink_image(image, MAX_SHOWN)


def decode_image(content: bytes | str | Path, name: str) -> Image.Image:
    """An image that the painting area sends, background or layer, as RGBA.

    Raises UserError, which calls the image by its name.
    """
    file = BytesIO(content) if isinstance(content, bytes) else content
    with errors_call(file, name), open_picture(file) as image:
        image.load()
        return image.convert("RGBA")


def read_marked(marked: Marked, number: int, folder: Path) -> Support | None:
    """Put a support together from what was dropped and painted.

    Arguments:
        marked: what there is.
        number: which support it is, from 1.
        folder: for a moment's copy of a pasted image.
    Returns:
        The support; None if neither image nor mask is there.
    Raises:
        UserError: nothing is painted, the mask does not fit or cannot be read.
    """
    name = f"support {number}"
    file, mask, painting = marked
    if not painting or painting["background"] is None:
        if mask is not None:
            raise UserError(f"There is a mask for {name}, but no image: drop the image too.")
        return None
    image = put_on_white(painting["background"])
    notes: list[str] = []
    if mask is None:
        labels = read_strokes(painting["layers"], image.size, name)
        if not (labels == OBJECT).any():
            raise UserError(f"Nothing is marked in {name}: paint the object with the brush, or drop a mask.")
    else:
        same = file is not None and read_picture(Path(file), MAX_SHOWN).tobytes() == image.tobytes()
        with hear() as notes:
            image, labels = _read_masked(Path(mask), file if same else None, image, folder)
    named = tuple(note.replace(str(mask), Path(mask).name) for note in notes)
    return Support(*shrink_marked(image, labels, MAX_SHOWN), name, named)


def _read_masked(
    mask: Path, file: str | Path | None, image: Image.Image, folder: Path
) -> tuple[Image.Image, np.ndarray]:
    """The image, as it is in its file if there is one, and an uploaded mask, by predict.py's rules."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".png") as copy:
        if file is None:
            image.save(copy, "PNG")
            copy.flush()
        path = Path(file or copy.name)
        with errors_call(path, path.name if file else "the image"), errors_call(mask, mask.name):
            return read_support(path, mask)


def read_strokes(layers: Sequence[Image.Image], size: tuple[int, int], name: str) -> np.ndarray:
    """Where strokes are: (H, W) uint8, 1 or 0. Raises UserError if a layer has another size than the image."""
    mask = np.zeros(size[::-1], bool)
    for layer in layers:
        if layer.size != size:
            raise UserError(f"The strokes on {name} have another size than its image: clear it and paint again.")
        mask |= np.asarray(layer.getchannel("A")) >= PAINTED
    return mask.astype(np.uint8)


def put_on_white(image: Image.Image) -> Image.Image:
    """An RGBA image as RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def check_side(image: Image.Image, name: str, max_side: int) -> None:
    """Raise UserError if an image is too small or too narrow."""
    if problem := find_size_problem(image.size, max_side, flag="--max-side"):
        raise UserError(f"{name}: {problem}.")


@contextmanager
def errors_call(file: object, name: str) -> Iterator[None]:
    """In messages a file is called by this name; the folder of the upload is nobody's business."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(file), name)) from error
