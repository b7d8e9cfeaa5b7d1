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

from dataset.folders import find_file
from dataset.formats import open_known
from dataset.labels import IGNORE, find_labels, show_labels
from dataset.lists import SUFFIXES, is_listable
from dataset.run_lengths import Annotations, Regions
from util.errors import UserError, refusal
from util.files import check_regular

NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENXIO)  # nothing there, or a pipe
PICTURES = tuple(cased for suffix in SUFFIXES for cased in (suffix, suffix.upper()))  # of images, in this order
MASKS = (".png", ".PNG")
PHOTOS = tuple(suffix for suffix in PICTURES if suffix not in MASKS)
FLOATS = "floating-point pixels; save it with 8 or 16 bits"
UNDECODED = ("-2", "decoder error -2")  # as Pillow says where libtiff fails
LIBTIFF = "damaged, or packed in a way that this Pillow does not read"
PHOTOMETRIC, WHITE_IS_ZERO, YCBCR = 262, 0, 6  # a TIFF's tag and two of its values
DEPTHS = (8, 10, 12, 14, 16)  # bits of what cameras and scanners write into 16


Labels = np.ndarray | Regions  # (H, W) uint8, or run lengths: what ImageSet.mask_of takes


class UnfitPixelsError(ValueError):
    """Pixels of which it is not known what is black and what is white; says what to save them as."""


@dataclass(frozen=True)
class ImageSet:
    """The images of one list of a dataset; nothing is opened until asked for."""

    name: str  # for messages, such as "pascal val"
    ids: tuple[str, ...]  # in list order, which the random draws depend on
    images: Path  # folder of ID.jpg, or another of PICTURES
    masks: Path  # folder of ID.png, one label a pixel: 0 background, 1.. classes, 255 ignore
    class_names: dict[int, str]
    binary: bool = False  # masks tell object (128 and more) from background; the image's folder tells the class
    voc_colours: bool = False  # in masks VOC's colours stand for their labels
    annotations: Annotations | None = None  # in place of masks: run lengths, of classes that may overlap

    def listed(self, name: str, ids: Sequence[str], class_names: Mapping[int, str] | None = None) -> ImageSet:
        """The same folders with a list of images, and where they differ, its class names."""
        names = self.class_names if class_names is None else dict(class_names)
        return replace(self, name=name, ids=tuple(ids), class_names=names)

    def mask_of(self, labels: Labels, cls: int) -> np.ndarray:
        """The mask (H, W) uint8 of a class in labels that :meth:`load` returned: 1 the class, 255 ignored, else 0."""
        if self.annotations:
            return self.annotations.mask(labels, cls)
        mask = (labels == (1 if self.binary else cls)).astype(np.uint8)
        mask[labels == IGNORE] = IGNORE
        return mask

    def image_path(self, image: str) -> str:
        """The image's file: ID.jpg, or where it is not there ID in capitals or of another suffix."""
        return self._find_image(image) or f"{self.images}{os.sep}{image}{PICTURES[0]}"

    def mask_path(self, image: str) -> str:
        """Where the labels of an image are."""
        if self.annotations:
            return f"{self.annotations.path}, image {image}"
        stem = f"{self.masks}{os.sep}{image}"
        return find_file(stem, MASKS) or stem + MASKS[0]

    def _find_image(self, image: str) -> str | None:
        # A PNG beside the masks is one.
        return find_file(f"{self.images}{os.sep}{image}", PHOTOS if self.images == self.masks else PICTURES)

    def check_images(self) -> None:
        """Raise UserError naming the first listed image whose file is missing; masks are met by the index."""
        missing = [image for image in self.ids if self._find_image(image) is None]
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(
                f"{self.image_path(missing[0])}: no such image, but the list of {self.name} names it{others}; "
                f"add it, or take it off the list"
            )

    def load(self, image: str) -> tuple[Image.Image, Labels]:
        """An image (RGB) and its labels, for :meth:`mask_of`. Raises UserError if they are not a pair.

        A mask of an object that has another size is resized to its image's.
        """
        picture, labels = self.load_unfitted(image)
        return picture, resize_labels(labels, picture.size) if self.binary else labels

    def load_unfitted(self, image: str) -> tuple[Image.Image, Labels]:
        """As :meth:`load`, but a mask of an object keeps its size."""
        picture = read_rgb(self.image_path(image))
        path = self.mask_path(image)
        if self.annotations:
            labels = self.annotations.read(image)
            height, width = labels.size
        else:
            labels = read_binary_mask(path) if self.binary else read_mask(path, self.voc_colours)
            height, width = labels.shape
        if picture.size != (width, height) and not self.binary:
            raise UserError(
                f"{path}: mask of {width}x{height} pixels beside an image of "
                f"{picture.width}x{picture.height}, {self.image_path(image)}; replace one of the two"
            )
        return picture, labels


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (H, W) resized to (width, height), each pixel the nearest one.

    Nearest is torch's F.interpolate(mode="nearest"), which HSNet calls: it computes in float32.
    """
    if labels.shape[::-1] == size:
        return labels
    rows, columns = (
        np.minimum(np.arange(side, dtype=np.float32) * (np.float32(length) / np.float32(side)), length - 1).astype(int)
        for length, side in zip(labels.shape, size[::-1], strict=True)
    )
    return labels[rows[:, None], columns]


def list_stems(folder: Path, suffixes: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names, without their suffix, of a folder's files that end so, sorted (one scan: COCO has 82,783).

    The case of a suffix makes no difference. Hidden files, such as the ._ID.jpg that macOS makes, are left out. Raises
    UserError on a name that no list can hold.
    """
    with os.scandir(folder) as entries:
        names = [x.name for x in entries if x.name.lower().endswith(suffixes) and not x.name.startswith(".")]
    found = {os.path.splitext(name)[0]: name for name in sorted(names)}
    if strange := [name for stem, name in found.items() if not is_listable(stem)]:
        raise UserError(f"{folder}: the name {strange[0]!r} cannot stand in a list; rename the file")
    return tuple(sorted(found))


def read_rgb(path: str | Path) -> Image.Image:
    """An image as RGB; what is transparent is opaque. Raises UserError naming the file unless it is a whole image."""
    with open_image_file(path, "image") as image:
        return _eight_bits(image).convert("RGB")


def read_size(path: str | Path) -> tuple[int, int]:
    """The (width, height) in an image's header; errors as :func:`read_rgb`, but for those of the pixels."""
    with open_image_file(path, "image", whole=False) as image:
        check_pixels(image, path)
        return image.size


def read_mask(path: str | Path, voc_colours: bool = False) -> np.ndarray:
    """A label mask as (H, W) uint8. Raises UserError naming the file if it cannot be one, or is ambiguous.

    voc_colours: VOC's colours stand for their labels, wherever they are in a palette, and in RGB.
    """
    with _open_labels(path, voc_colours) as labels:
        return np.array(labels, dtype=np.uint8)


def read_binary_mask(path: str | Path) -> np.ndarray:
    """A mask of one object as (H, W) uint8, 1 where it is at least 128 (of any mode; FSS-1000's are RGB)."""
    with open_image_file(path, "mask") as image:
        return (np.array(_grey(image, path)) >= 128).astype(np.uint8)


def read_histogram(
    path: str | Path, voc_colours: bool = False
) -> tuple[tuple[int, int], dict[int, int], dict[int, int]]:
    """A mask's (width, height), the pixels of each label that occurs, and its colour in a palette (show_labels).

    Arguments and errors as :func:`read_mask`'s.
    """
    with _open_labels(path, voc_colours) as image:
        pixels = {label: pixels for label, pixels in enumerate(image.histogram()) if pixels}
        return image.size, pixels, show_labels(image, pixels)


def read_greys(path: str | Path) -> tuple[tuple[int, int], list[int]]:
    """The (width, height) of a mask of one object, and pixels of each of the 256 values that read_binary_mask cuts."""
    with open_image_file(path, "mask") as image:
        return image.size, _grey(image, path).histogram()


def read_converted(path: str | Path) -> np.ndarray | None:
    """The labels (H, W) uint8 of a mask of VOC whose pixels, as Pillow decodes them, are not its labels; else None.

    Errors as :func:`read_mask`, but where None is returned for grey, of which only the header is read.
    """
    with open_image_file(path, "mask", whole=False) as image:
        check_pixels(image, path)
        labels = find_labels(image, path, voc_colours=True)
        return None if labels is image else np.array(labels)


@contextmanager
def _open_labels(path: str | Path, voc_colours: bool) -> Iterator[Image.Image]:
    """A label mask as an image of mode L or P, whose numbers are the labels."""
    with open_image_file(path, "mask", whole=False) as image:
        check_pixels(image, path)
        yield find_labels(image, path, voc_colours)


def _grey(image: Image.Image, path: str | Path) -> Image.Image:
    """The mask of an object as grey; 16 bits are clipped, so that 255 of them is the object too."""
    check_pixels(image, path)
    return image.convert("L")


def most_pixels() -> float:
    """Of an image that is read: Pillow's own bound, some 89 million, which a program that uses ours may set."""
    return Image.MAX_IMAGE_PIXELS or math.inf


@contextmanager
def open_image(path: str | Path | BytesIO, kind: str = "image", most: float | None = None) -> Iterator[Image.Image]:
    """An image file, not yet decoded, without Pillow's warnings of odd metadata.

    Arguments:
        path: a file of dataset.formats.FORMATS, or its content.
        kind: what it is, for the message.
        most: pixels that it may have, as its header says; None for most_pixels().
    Raises:
        UserError: it has more pixels than are read, or is known to be of another kind.
        OSError: it is missing, or a pipe (check_regular).
        Exception: whatever Pillow raises on a file that is damaged.
    """
    if not isinstance(path, BytesIO):
        check_regular(path)
    most = most_pixels() if most is None else most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_known(path) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                _mend_ycbcr(image)
                if image.mode.startswith(("RGB", "LA")) and any(";16" in str(tile[3]) for tile in image.tile):
                    image.is_deep = True  # for count_bits: of the colours Pillow keeps the upper 8 bits
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
    except UnfitPixelsError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can fail anywhere in the decoder
        what = f"{LIBTIFF}; save it without compression" if str(error) in UNDECODED else describe(error)
        if isinstance(error, OSError) and error.strerror:
            what = f"no such {kind}" if error.errno in NO_FILE else f"cannot be read: {refusal(error)}"
        raise UserError(f"{path}: {what}") from error


def check_pixels(image: Image.Image, path: str | Path) -> None:
    if image.mode == "F":
        raise UserError(f"{path}: {FLOATS}")


def count_bits(image: Image.Image) -> int:
    """The bits that the values of a decoded image need, one of DEPTHS.

    Raises UnfitPixelsError: floats, values beyond 16 bits, or 16-bit colours that fill fewer.
    """
    if image.mode == "F":
        raise UnfitPixelsError(FLOATS)
    if image.mode.startswith("I"):  # older Pillows open a PNG of 16 bits as 32
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= 2**16:
            raise UnfitPixelsError(f"grey values from {low} to {high}; save it with 8 or 16 bits")
        return next(bits for bits in DEPTHS if high < 2**bits)
    if getattr(image, "is_deep", False):
        upper = max(high for _, high in image.convert("RGB").getextrema())
        bits = next(bits for bits in DEPTHS if upper < 2 ** (bits - 8))
        if bits < 16:
            raise UnfitPixelsError(f"colours of 16 bits that fill at most {bits}; save it with 8 bits")
        return bits
    return 8


def is_white_zero(image: Image.Image) -> bool:
    """Whether it is a TIFF in which white is 0, which Pillow heeds in 8 bits alone."""
    return getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of the fewer that its values need, scaled to 8; an image of another mode as it is.

    Raises UnfitPixelsError.
    """
    bits = count_bits(image)
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.float32) / ((2**bits - 1) / 255)
    if is_white_zero(image):
        grey = 255 - grey
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))


def has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def is_invisible(image: Image.Image) -> bool:
    """Whether a decoded image is transparent everywhere."""
    return has_alpha(image) and image.convert("RGBA").getchannel("A").getextrema()[1] == 0


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB: transparency on white, 16-bit grey scaled to 8. Raises UnfitPixelsError.

    Of an image that is transparent everywhere the colours are taken: some programs leave alpha at 0.
    """
    image = _eight_bits(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if has_alpha(image) and not is_invisible(image):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
