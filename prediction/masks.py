"""The mask of a user's own support: a PNG of any kind, or shapes drawn in LabelMe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.images import is_white_zero
from dataset.labels import BLURRED, LOSSY, find_scale, read_numbers
from dataset.turns import SIDEWAYS, Turn, find_turn
from prediction.files import open_picture, read_with_turn
from prediction.labellers import name_file
from prediction.labelme import draw_shapes, read_labelme
from prediction.mask_labels import find_label
from prediction.object_masks import find_object
from util.errors import UserError, join_names

OTHER_COLOURS = ("CMYK", "HSV", "LAB", "YCbCr")  # in which black is not 0


def read_support(
    image_path: str | Path, mask_path: str | Path, label: str | None = None
) -> tuple[Image.Image, np.ndarray]:
    """A support: its image, RGB and upright, and its mask (H, W) uint8, 1 the object, 0 background, 255 neither.

    In a mask image of few values every non-zero pixel belongs to the object (in RGB, every pixel that is not black);
    shades are cut at half; prediction.object_masks has the rule. With a label the pixels of that number, colour or name
    do, and 255 is neither object nor background. In a LabelMe JSON all shapes belong to the object, or those of the
    label, but for `_background_` and `__ignore__`.

    Arguments:
        image_path: the image; its EXIF turn is applied.
        mask_path: the mask, which fits the image as it is shown or as it is stored.
        label: a pixel value, a colour (#rrggbb), a class by its labelmap.txt or of VOC's, or the label of LabelMe's
            shapes; None for all.
    Raises:
        UserError: names the file that is missing, damaged, of another size, without object, background or the label.
    """
    return read_union(image_path, [mask_path], [label])


def read_union(
    image_path: str | Path, mask_paths: Sequence[str | Path], labels: Sequence[str | None]
) -> tuple[Image.Image, np.ndarray]:
    """A support whose object is marked by one or more masks, each with its label, as of :func:`read_support`.

    A pixel is the object's where one of the masks says so, else neither where one says that, else background.
    """
    picture, turn = read_with_turn(image_path)
    pairs = zip(mask_paths, labels, strict=True)
    masks = np.stack([_read_mask(path, label, image_path, picture, turn) for path, label in pairs])
    union = np.where((masks == 1).any(0), 1, masks.max(0)).astype(np.uint8)
    if not (union == 0).any():
        names = join_names(list(mask_paths))
        raise UserError(f"{names}: leaves no background; mark the object alone, or leave the support out")
    return picture, union


def _read_mask(
    path: str | Path, label: str | None, image_path: str | Path, picture: Image.Image, turn: Turn | None
) -> np.ndarray:
    """A mask (H, W) uint8 of a picture that was turned."""
    mask, shapes = None, []
    if Path(path).suffix.lower() == ".json":
        stated, shapes = read_labelme(path, label)
        size = tuple(own if side is None else side for side, own in zip(stated, picture.size, strict=True))
    elif (found := name_file(Path(path).suffix)) and os.path.isfile(path):
        raise UserError(f"{path}: {found}")
    else:
        mask = read_object(path, label)
        size = mask.size
    if size == picture.size:
        turn = None
    elif turn not in SIDEWAYS or size[::-1] != picture.size:
        (width, height), shown = size, f"{picture.width}x{picture.height}"
        wrong = f"mask of {width}x{height} pixels for an image of {shown}, {image_path}"
        raise UserError(f"{path}: {wrong}; replace one of the two")
    if mask is None:
        mask = draw_shapes(path, picture.size if turn is None else picture.size[::-1], shapes)
    mask = np.array(mask if turn is None else mask.transpose(turn))
    if not (mask == 1).any():
        raise UserError(f"{path}: marks no object; mark it, or leave the support out")
    return mask


# Images


def read_object(path: str | Path, label: str | None) -> Image.Image:
    """A mask image, upright, of mode L with 1 the object, 0 background, 255 neither."""
    with open_picture(path, "mask") as image:
        scale = find_scale(image)
        image.load()
        is_blurred, turn = image.format in LOSSY, find_turn(image)
        if getattr(image, "is_deep", False) and all(low == high for low, high in image.getextrema()):
            raise UserError(
                f"{path}: colours of 16 bits, of which the upper 8 are alike everywhere; save it with 8 bits"
            )
        is_inverted = image.mode.startswith("I;16") and is_white_zero(image)
        image = image.convert("RGB") if image.mode in OTHER_COLOURS else image.copy()
    if is_inverted:
        image = Image.fromarray(65535 - np.array(image))
    if label is not None and is_blurred:
        raise UserError(f"{path}: {BLURRED}")
    if label is not None and scale != 1:
        image = Image.fromarray(read_numbers(image, scale))
    found = find_object(image, path, is_blurred) if label is None else find_label(image, path, label)
    mask = Image.fromarray(found)
    return mask if turn is None else mask.transpose(turn)
