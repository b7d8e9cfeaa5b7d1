"""What the pixels of a mask's file mean: the one place where they become labels.

A label is the number of a pixel: its grey value, or its index in the palette, whatever the palette's colours, unless
these are labels as greys. VOC's masks alone may hold their labels as colours, in RGB or in a palette that another
program has put into its own order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from util.errors import UserError

IGNORE = 255  # label of pixels that count for nothing
LOSSY = ("JPEG", "MPO")
BLURRED = "JPEG blurs a mask's values; save the mask as PNG"
VOC_LABELS = (*range(21), IGNORE)
ALL_LABELS = (*range(91), IGNORE)  # COCO's are at most 90
HIGHEST = {"L;2": 3, "L;4": 15}  # of grey of so few bits
AS_GREY = "save it as a grey PNG of one label a pixel"


def voc_colour(label: int) -> tuple[int, int, int]:
    """The colour of a label 0..255 in VOC's map: red, green and blue take its bits in turn, for their highest first."""
    red, green, blue = (
        sum((label >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)
    )
    return red, green, blue


def colour_codes(pixels: np.ndarray) -> np.ndarray:
    """RGB pixels (..., 3) as numbers, 0xrrggbb."""
    return pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


VOC_PALETTE = bytes(value for label in range(256) for value in voc_colour(label))
LABEL_OF = {voc_colour(label): label for label in VOC_LABELS}
LABEL_OF_CODE = {int(colour_codes(np.array(colour))): label for colour, label in LABEL_OF.items()}


def find_labels(image: Image.Image, path: str | Path, voc_colours: bool) -> Image.Image:
    """An image of mode L or P whose numbers are labels: the mask itself, not yet decoded, where its own are.

    Arguments:
        image: the mask, not yet decoded.
        path: of it, for messages.
        voc_colours: VOC's colours stand for their labels, wherever they are in a palette, and in RGB.
    Raises:
        UserError: its pixels are no labels, or it is ambiguous which.
    """
    if image.format in LOSSY:
        raise UserError(f"{path}: {BLURRED}")
    if image.mode == "1":
        return Image.fromarray(np.array(image).astype(np.uint8))
    if image.mode.startswith("I"):
        scale = find_scale(image)
        numbers = read_numbers(image, scale)
        low, high = numbers.min(), numbers.max()
        if low < 0 or high > 255:
            raise UserError(f"{path}: holds {low if low < 0 else high}, a label is 0 to 255; {AS_GREY}")
        return Image.fromarray(numbers.astype(np.uint8))
    if image.mode in ("RGB", "RGBA") and ";16" in str(image.tile):
        raise UserError(f"{path}: a mask in colours of 16 bits; {AS_GREY}")
    if image.mode in ("LA", "RGBA"):
        low, high = image.getchannel("A").getextrema()
        if low < high or high == 0:  # else it tells nothing
            where = "in places" if high else "everywhere"
            raise UserError(f"{path}: a mask that is transparent {where}; {AS_GREY}")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "L" and (scale := find_scale(image)) != 1:
        return Image.fromarray(read_numbers(image, scale))
    if image.mode == "P":
        table = _find_palette_labels(image, path, voc_colours)
        return image if table is None else Image.fromarray(table[np.array(image)])
    if image.mode == "RGB":
        return Image.fromarray(_find_colour_labels(np.array(image), path, voc_colours))
    if image.mode != "L":
        raise UserError(f"{path}: a mask holds one label a pixel, this one is {image.mode}; {AS_GREY}")
    return image


def find_scale(image: Image.Image) -> float:
    """By how much the numbers of an image's file are multiplied in Pillow: grey of 2 and 4 bits, and PGM, are spread.

    image: not yet decoded. Returns 1 for most.
    """
    if image.mode not in ("L", "I") or not getattr(image, "tile", ()):
        return 1.0
    decoder, _, _, how = image.tile[0]
    how = how if isinstance(how, tuple) else (how,)
    white = 255 if image.mode == "L" else 65535
    highest = how[1] if decoder.startswith("ppm") else HIGHEST.get(str(how[0])[:3], white)
    return white / highest


def read_numbers(image: Image.Image, scale: float) -> np.ndarray:
    """The numbers (H, W) that a grey image has in its file. scale: find_scale's."""
    numbers = np.array(image)
    return numbers if scale == 1 else np.rint(numbers / scale).astype(numbers.dtype)


def show_labels(image: Image.Image, labels: Iterable[int]) -> dict[int, int]:
    """The colour (0xrrggbb) of each label in a mask's palette; {} without one, or if labels share a colour."""
    palette = bytes(image.getpalette("RGB") or b"")
    colours = {
        label: int.from_bytes(palette[3 * label : 3 * label + 3], "big") for label in labels if 3 * label < len(palette)
    }
    return colours if len(set(colours.values())) == len(colours) else {}


def _find_palette_labels(image: Image.Image, path: str | Path, voc_colours: bool) -> np.ndarray | None:
    """The label (256) of each index of a palette by its colours; None where the index is the label.

    An index has the label of its colour if all that occur have colours of VOC, each another one, or if the palette
    holds nothing but labels as greys, which is how optimisers save grey masks.
    """
    palette = bytes(image.getpalette("RGB"))
    if VOC_PALETTE.startswith(palette):
        return None
    colours = [tuple(palette[start : start + 3]) for start in range(0, len(palette), 3)]
    used = [index for index, pixels in enumerate(image.histogram()) if pixels]
    shown = [colours[index] if index < len(colours) else None for index in used]
    labels = [LABEL_OF.get(colour) if voc_colours else None for colour in shown]
    possible = VOC_LABELS if voc_colours else ALL_LABELS
    greys = {red for red, green, blue in colours if red == green == blue and red in possible}
    if len(greys) == len(colours) > 1 and greys != {0, IGNORE} and None not in shown:
        labels = [red for red, _, _ in shown]
    if None not in labels and len(set(labels)) == len(used):
        table = np.zeros(256, np.uint8)
        table[used] = labels
        return None if labels == used else table
    if any(label not in (None, 0, index) for index, label in zip(used, labels, strict=True)):
        raise UserError(f"{path}: a palette with some of VOC's colours, not in VOC's order; {AS_GREY}")
    return None


def _find_colour_labels(pixels: np.ndarray, path: str | Path, voc_colours: bool) -> np.ndarray:
    """The labels (H, W) uint8 of RGB pixels (H, W, 3) that are VOC's colours, or labels as greys."""
    codes = colour_codes(pixels)
    strange = np.setdiff1d(codes, list(LABEL_OF_CODE))
    if voc_colours and not strange.size:
        table = np.array(sorted(LABEL_OF_CODE.items()))
        return table[np.searchsorted(table[:, 0], codes), 1].astype(np.uint8)
    if (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    if voc_colours:
        raise UserError(f"{path}: holds the colour #{strange[0]:06x}, which is none of VOC's; {AS_GREY}")
    raise UserError(f"{path}: a mask in colours; {AS_GREY}")
