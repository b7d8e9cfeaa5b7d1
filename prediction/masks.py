"""The mask of a user's own support: a PNG of any kind, or shapes drawn in LabelMe."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.images import BLURRED, IGNORE, LOSSY
from prediction.files import Turn, find_turn, open_picture, read_with_turn
from prediction.labellers import name_file
from prediction.labelme import draw_shapes, read_labelme
from util.errors import UserError

SIDEWAYS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
OTHER_COLOURS = ("CMYK", "HSV", "LAB", "YCbCr")  # in which black is not 0


def read_support(
    image_path: str | Path, mask_path: str | Path, label: str | None = None
) -> tuple[Image.Image, np.ndarray]:
    """A support: its image, RGB and upright, and its mask (H, W) uint8, 1 the object, 0 background, 255 neither.

    In a mask image every non-zero pixel belongs to the object (in RGB, every pixel that is not black). With a label
    the pixels of that number do, and 255 is neither object nor background. In a LabelMe JSON all shapes belong to the
    object, or those of the label, but for `_background_` and `__ignore__`.

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
        stated, shapes = read_labelme(mask_path, label)
        size = tuple(own if side is None else side for side, own in zip(stated, picture.size, strict=True))
    elif (found := name_file(Path(mask_path).suffix)) and os.path.isfile(mask_path):
        raise UserError(f"{mask_path}: {found}")
    else:
        mask = read_object(mask_path, label)
        size = mask.size
    if size == picture.size:
        turn = None
    elif turn not in SIDEWAYS or size[::-1] != picture.size:
        (width, height), shown = size, f"{picture.width}x{picture.height}"
        wrong = f"mask of {width}x{height} pixels for an image of {shown}, {image_path}"
        raise UserError(f"{mask_path}: {wrong}; replace one of the two")
    if mask is None:
        mask = draw_shapes(mask_path, picture.size if turn is None else picture.size[::-1], shapes)
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
