"""A list of images with their label masks, and the only places where either is opened."""

from __future__ import annotations

import errno
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.lists import is_listable
from util.errors import UserError, refusal
from util.files import check_regular

IGNORE = 255  # label of pixels that count for nothing
# What is opened, whatever a file is called: those that Pillow decodes by itself. An EPS would start another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENXIO)  # nothing there, or a pipe
FLOATS = "floating-point pixels; save it with 8 or 16 bits"
PHOTOMETRIC, YCBCR = 262, 6  # a TIFF's tag and its value
LOSSY = ("JPEG", "MPO")
BLURRED = "JPEG blurs a mask's values; save the mask as PNG"


@dataclass(frozen=True)
class ImageSet:
    """The images of one list of a dataset; nothing is opened until asked for."""

    name: str  # for messages, such as "pascal val"
    ids: tuple[str, ...]  # in list order, which the random draws depend on
    images: Path  # folder of ID.jpg
    masks: Path  # folder of ID.png, one label a pixel: 0 background, 1.. classes, 255 ignore
    class_names: dict[int, str]
    binary: bool = False  # masks tell object (128 and more) from background; the image's folder tells the class

    def listed(self, name: str, ids: Sequence[str], class_names: Mapping[int, str] | None = None) -> ImageSet:
        """The same folders with a list of images, and where they differ, its class names."""
        names = self.class_names if class_names is None else dict(class_names)
        return replace(self, name=name, ids=tuple(ids), class_names=names)

    def label_of(self, cls: int) -> int:
        """The label that pixels of a class have in what :meth:`load` returns."""
        return 1 if self.binary else cls

    def image_path(self, image: str) -> str:
        return f"{self.images}{os.sep}{image}.jpg"

    def mask_path(self, image: str) -> str:
        return f"{self.masks}{os.sep}{image}.png"

    def check_images(self) -> None:
        """Raise UserError naming the first listed image whose file is missing; masks are met by the index."""
        for image in self.ids:
            if not os.path.isfile(self.image_path(image)):
                way_out = "add it, or take it off the list"
                raise UserError(
                    f"{self.image_path(image)}: no such image, but the list of {self.name} names it; {way_out}"
                )

    def load(self, image: str) -> tuple[Image.Image, np.ndarray]:
        """An image (RGB) and its labels (H, W) uint8. Raises UserError if they are not a pair."""
        picture = read_rgb(self.image_path(image))
        labels = read_binary_mask(self.mask_path(image)) if self.binary else read_mask(self.mask_path(image))
        if picture.size != labels.shape[::-1]:
            raise UserError(
                f"{self.mask_path(image)}: mask of {labels.shape[1]}x{labels.shape[0]} pixels beside an image of "
                f"{picture.width}x{picture.height}, {self.image_path(image)}; replace one of the two"
            )
        return picture, labels


def list_stems(folder: Path, suffix: str) -> tuple[str, ...]:
    """The names, without their suffix, of a folder's files that end so, sorted (one scan: COCO has 82,783).

    Hidden files, such as the ._ID.jpg that macOS makes, are left out. Raises UserError on a name that no list can hold.
    """
    with os.scandir(folder) as entries:
        names = (x.name for x in entries if x.name.endswith(suffix) and not x.name.startswith("."))
        found = sorted(name.removesuffix(suffix) for name in names)
    if strange := [name for name in found if not is_listable(name)]:
        raise UserError(f"{folder}: the name {strange[0] + suffix!r} cannot stand in a list; rename the file")
    return tuple(found)


def read_rgb(path: str | Path) -> Image.Image:
    """An image as RGB; what is transparent is opaque. Raises UserError naming the file unless it is a whole image."""
    with open_image_file(path, "image") as image:
        check_pixels(image, path)
        return _eight_bits(image).convert("RGB")


def read_size(path: str | Path) -> tuple[int, int]:
    """The (width, height) in an image's header; errors as :func:`read_rgb`, but for those of the pixels."""
    with open_image_file(path, "image", whole=False) as image:
        check_pixels(image, path)
        return image.size


def read_mask(path: str | Path) -> np.ndarray:
    """A label mask as (H, W) uint8. Raises UserError naming the file if it cannot be one."""
    with open_image_file(path, "mask") as image:
        _check_labels(image, path)
        return np.array(image, dtype=np.uint8)


def read_binary_mask(path: str | Path) -> np.ndarray:
    """A mask of one object as (H, W) uint8, 1 where it is at least 128 (of any mode; FSS-1000's are RGB)."""
    with open_image_file(path, "mask") as image:
        return (np.array(_grey(image, path)) >= 128).astype(np.uint8)


def read_histogram(path: str | Path, binary: bool = False) -> tuple[tuple[int, int], dict[int, int]]:
    """A mask's (width, height) and pixels of each label that occurs; errors as :func:`read_mask`.

    binary: the mask is of one object, as for :func:`read_binary_mask`, and its labels are 0 and 1.
    """
    with open_image_file(path, "mask") as image:
        if binary:
            grey = _grey(image, path).histogram()
            labels = [sum(grey[:128]), sum(grey[128:])]
            return image.size, {label: pixels for label, pixels in enumerate(labels) if pixels}
        _check_labels(image, path)
        return image.size, {label: pixels for label, pixels in enumerate(image.histogram()) if pixels}


def most_pixels() -> float:
    """Of an image that is read: Pillow's own bound, some 89 million, which a program that uses ours may set."""
    return Image.MAX_IMAGE_PIXELS or math.inf


@contextmanager
def open_image(path: str | Path | BytesIO, kind: str = "image", most: float | None = None) -> Iterator[Image.Image]:
    """An image file, not yet decoded, without Pillow's warnings of odd metadata.

    Arguments:
        path: a file of FORMATS, or its content.
        kind: what it is, for the message.
        most: pixels that it may have, as its header says; None for most_pixels().
    Raises:
        UserError: it has more pixels than are read.
        OSError: it is missing, or a pipe (check_regular).
        Exception: whatever Pillow raises on a file that is damaged.
    """
    if not isinstance(path, BytesIO):
        check_regular(path)
    most = most_pixels() if most is None else most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                _mend_ycbcr(image)
                yield image
    except Image.DecompressionBombError as error:
        limit = f"{most_pixels() / 1e6:.3g} million pixels"
        raise UserError(f"{path}: has more than {limit}, the most that are read; make the {kind} smaller") from error


def _mend_ycbcr(image: Image.Image) -> None:
    """Have an uncompressed TIFF of YCbCr decoded: Pillow before 13 looks for a fourth byte in each pixel."""
    four_bytes = [tile for tile in image.tile if tile[0] == "raw" and tile[3][0] == "RGBX"]
    if four_bytes and image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == YCBCR:
        image._mode = "YCbCr"
        made = getattr(four_bytes[0], "_make", tuple)  # a tuple until Pillow 11 named its fields
        image.tile = [made((*tile[:3], ("YCbCr", *tile[3][1:]))) for tile in four_bytes]


def describe_damage(error: Exception) -> str:
    """What to say of a file that cannot be decoded."""
    return f"damaged or not an image, fetch it again ({error})"


@contextmanager
def open_image_file(
    path: str | Path, kind: str, whole: bool = True, describe: Callable[[Exception], str] = describe_damage
) -> Iterator[Image.Image]:
    """An image file; what fails in the block is the file's fault, and a UserError naming it.

    Arguments:
        path: the file.
        kind: what it is, for messages.
        whole: decode it before the block.
        describe: what to say of a file that cannot be decoded.
    """
    try:
        with open_image(path, kind) as image:
            if whole:
                image.load()
            yield image
    except (UserError, MemoryError, ImportError, KeyError, AttributeError):  # the latter of a Pillow that is replaced
        raise
    except Exception as error:  # a damaged file can fail anywhere in the decoder
        what = describe(error)
        if isinstance(error, OSError) and error.strerror:
            what = f"no such {kind}" if error.errno in NO_FILE else f"cannot be read: {refusal(error)}"
        raise UserError(f"{path}: {what}") from error


def check_pixels(image: Image.Image, path: str | Path) -> None:
    if image.mode == "F":
        raise UserError(f"{path}: {FLOATS}")


def _check_labels(image: Image.Image, path: str | Path) -> None:
    if image.mode not in ("L", "P"):
        raise UserError(f"{path}: a mask holds one 8-bit label a pixel (grey or palette PNG), this one is {image.mode}")
    if image.format in LOSSY:
        raise UserError(f"{path}: {BLURRED}")


def _grey(image: Image.Image, path: str | Path) -> Image.Image:
    """The mask of an object as grey; 16 bits are clipped, so that 255 of them is the object too."""
    check_pixels(image, path)
    return image.convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which Pillow would clip; an image of another mode as it is."""
    if not image.mode.startswith("I"):  # older Pillows open a PNG of 16 bits as 32
        return image
    grey = np.asarray(image).astype(np.float32) / 257
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB: transparency on white, 16-bit grey scaled to 8. Raises ValueError for floats."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError(FLOATS)
    image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
