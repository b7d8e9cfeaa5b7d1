"""The object in a mask image that is given without a label: one rule for masks of all tools.

A mask of few values is read as labels: 0 (in colours black) is background, every other value the object, and 255
beside other labels neither of the two. A mask of shades, which is one that has more than FEW values or one above 127
beside its brightest, is cut half way between its darkest and its brightest value; but where those in the middle fill
areas they are labels too, and where there are too many of them the mask is refused. Of a trimap the middle is neither.
Where parts of a mask are transparent, what is opaque is the object. A note says where something else than 0 is taken
for background.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dataset.labels import BLURRED, IGNORE, LABEL_OF_CODE, colour_codes, voc_colour
from util.distributed import say
from util.errors import UserError

FEW = 32  # values that a mask of labels has at most
HALF = 128  # of 255
TRIMAPS = ([0, 127, 255], [0, 128, 255])  # for matting: what is in the middle is not known
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
BLACK = 0  # as a colour's code
NAME_IT = "name the object with --label"


def find_object(image: Image.Image, path: str | Path, is_blurred: bool) -> np.ndarray:
    """The object of a decoded mask image.

    Arguments:
        image: of any mode.
        path: of the mask, for messages.
        is_blurred: whether it was saved as JPEG, which leaves no label as it was.
    Returns:
        (H, W) uint8: 1 the object, 0 background, 255 neither.
    Raises:
        UserError: its pixels do not tell object from background.
    """
    values, are_labels = _find_values(image)
    if values.ndim == 2 and is_blurred and values.max() < HALF:
        raise UserError(f"{path}: {BLURRED}")
    if values.ndim == 3:
        mask = _find_in_colours(values, path, is_blurred)
    else:
        mask = _find_in_numbers(values, path, are_labels, is_blurred)
    if (_take_edge(mask) == 1).mean() > 0.5 and (mask == 0).any():
        say(f"note: {path}: the object covers most of the picture's edge; if that is background, invert the mask")
    return mask


def are_vocs(codes: np.ndarray) -> bool:
    """Whether colours, as codes, are all of VOC's map."""
    return set(codes.tolist()) <= LABEL_OF_CODE.keys()


def _find_values(image: Image.Image) -> tuple[np.ndarray, bool]:
    """What tells the object, numbers (H, W) or colours (H, W, 3), and whether these are surely labels.

    Colours that are all grey are numbers; transparency is one, unless what is opaque is black in places.
    """
    if image.mode == "P":
        image, are_labels = _unfold_palette(image)
        if are_labels:
            return np.array(image), True
    if image.mode in ALPHA or (image.mode in ("1", "L", "P", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
        pixels = np.array(image.convert("RGB"))
        if alpha.min() < HALF and (alpha.min() < alpha.max() or not alpha.any()):  # else it tells nothing
            opaque = _cut(alpha)
            found = np.unique(colour_codes(pixels[opaque]))
            if not 1 < len(found) <= FEW or BLACK not in found:
                return alpha, False
            pixels[~opaque] = 0
        image = Image.fromarray(pixels)
    if image.mode in ("1", "F") or image.mode.startswith(("I", "L")):
        values = np.array(image)
        if values.dtype.kind in "iu" and values.max() > 255 and not (values % 257).any():
            values = values // 257  # 8 bits in 16
        return (values.astype(np.uint8) if image.mode == "1" else values), False
    pixels = np.array(image.convert("RGB"))
    return (pixels[..., 0] if (pixels == pixels[..., :1]).all() else pixels), False


def _unfold_palette(image: Image.Image) -> tuple[Image.Image, bool]:
    """A palette image, and whether its indices are labels; else it has its colours in place of them.

    An index counts, whatever its colour, but not if another one is black, nor if the colours are greys, shades or many,
    nor if 0 lies within another index and the palette has nothing but these, as optimisers write it.
    """
    palette = bytes(image.getpalette("RGB"))
    used = [index for index, pixels in enumerate(image.histogram()) if pixels]
    colours = [tuple(palette[3 * index : 3 * index + 3]) for index in used]
    is_grey = all(len(set(colour)) == 1 for colour in colours)
    is_moved = (0, 0, 0) in colours and used[colours.index((0, 0, 0))] != 0
    is_packed = (0, 0, 0) not in colours and len(palette) == 3 * len(used) and _find_edge(np.array(image)) != 0
    is_told = is_grey or is_moved or is_packed or len(used) > FEW or _are_soft(image, used, colours)
    if len(set(colours)) == len(used) and is_told:
        return image.convert("RGBA" if "transparency" in image.info else "RGB"), False
    if isinstance(transparent := image.info.get("transparency", 0), int) and transparent == 0:
        return image, True
    return image.convert("RGBA"), False


def _find_edge(numbers: np.ndarray) -> int:
    """The number of more than half of the edge; 0 if there is none."""
    counts = np.bincount(_take_edge(numbers))
    return int(counts.argmax()) if 2 * counts.max() > counts.sum() else 0


def _take_edge(values: np.ndarray) -> np.ndarray:
    """The pixels of the edge, those in corners twice."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _are_soft(image: Image.Image, used: list[int], shown: list[tuple[int, ...]]) -> bool:
    """Whether a palette's colours, of the indices that occur, are two and the shades of the edge between them."""
    if len(used) < 3 or () in shown:
        return False
    colours = np.array(shown, int)
    if are_vocs(colour_codes(colours)):
        return False
    start = colours[np.abs(colours - colours[0]).max(-1).argmax()]
    steps = colours - start
    away = np.abs(steps).max(-1)
    between = np.array(used)[(away > 0) & (away < away.max())]
    numbers = np.array(image)
    return _are_shades(steps, away) and not _fill_areas(numbers, np.isin(numbers, between))


def _cut(values: np.ndarray) -> np.ndarray:
    """Where numbers are above the middle of the lowest and the highest."""
    return values > (float(values.min()) + float(values.max())) / 2


def _find_in_numbers(values: np.ndarray, path: str | Path, are_labels: bool, have_shades: bool) -> np.ndarray:
    """The mask of numbers (H, W). are_labels, have_shades: what is known of them; if neither, they tell it."""
    found = np.unique(values)
    if not np.isfinite(found).all():
        raise UserError(f"{path}: holds values that are no numbers; save the mask as PNG")
    low, high = found[0], found[-1]
    if low == high:
        if low == 0:
            return np.zeros(values.shape, np.uint8)
        raise UserError(f"{path}: has the value {low:g} everywhere, so no background; mark the object alone")
    labels = found[(found != 0) & (found != IGNORE)] if high <= IGNORE else found[found != 0]
    if not are_labels and found.tolist() in TRIMAPS and not _touch(values == low, values == high):
        say(f"note: {path}: a trimap; {found[1]:g}, which is all around 255, is neither object nor background")
        return np.where(values == found[1], IGNORE, values > 0).astype(np.uint8)
    share = (values.astype(np.float64) - low) / (float(high) - low)
    between = (share >= 0.25) & (share <= 0.75)
    are_whole = (found == found.round()).all() and not have_shades
    are_few = len(found) <= FEW and (high > IGNORE or len(labels) == 0 or labels[-1] < HALF)
    are_labels |= are_whole and are_few
    fill_areas = not are_labels and are_whole and high != IGNORE and _fill_areas(values, between)
    if are_labels or fill_areas:
        if low > 0 and len(labels) > 1:
            raise UserError(f"{path}: holds {_list(found)} and no 0, which would be background; {NAME_IT} NUMBER")
        if low == 0:
            if fill_areas:
                say(f"note: {path}: {_list(found)} fill areas and are taken for labels; all but 0 are the object")
            return _separate(values != 0, (values == IGNORE) & (high == IGNORE) & (len(labels) > 0), path)
    if between.sum() > min((share < 0.25).sum(), (share > 0.75).sum()):
        what = "too many of its pixels are neither dark nor bright: labels, or a photograph?"
        raise UserError(f"{path}: {what} {NAME_IT}, or save it as 255 on 0")
    if len(found) > 2:
        middle = (float(low) + float(high)) / 2
        say(f"note: {path}: has {len(found)} shades from {low:g} to {high:g}; what is above {middle:g} is the object")
    return _cut(values).astype(np.uint8)


def _touch(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether pixels (H, W) lie beside others, in a row or column."""
    rows = (some[1:] & others[:-1]) | (some[:-1] & others[1:])
    columns = (some[:, 1:] & others[:, :-1]) | (some[:, :-1] & others[:, 1:])
    return bool(rows.any() or columns.any())


def _fill_areas(values: np.ndarray, chosen: np.ndarray) -> bool:
    """Whether most of the chosen pixels are like those to the right and below, as labels are and soft edges are not."""
    inner = values[:-1, :-1]
    alike = (inner == values[:-1, 1:]) & (inner == values[1:, :-1])
    return alike[chosen[:-1, :-1]].sum() > 0.75 * chosen.sum()


def _find_in_colours(pixels: np.ndarray, path: str | Path, is_blurred: bool) -> np.ndarray:
    """The mask of colours (H, W, 3): background is black, or without black the colour of most of the edge."""
    codes = colour_codes(pixels)
    found = np.unique(codes)
    are_few = len(found) <= FEW and not is_blurred
    is_dark = codes == BLACK if are_few else pixels.max(-1) < FEW
    background = np.zeros(3, int)
    if not is_dark.any() or (not are_few and is_dark.mean() < 0.05):
        edge = _take_edge(pixels).astype(int)
        shown, counts = np.unique(edge, axis=0, return_counts=True)
        background = shown[counts.argmax()]
        if (np.abs(edge - background).max(-1) < (1 if are_few else FEW)).mean() <= 0.5:
            what = "holds no black, and its edge has several colours, so that none is surely background"
            if len(found) > FEW:
                what += ": a photograph?"
            raise UserError(f"{path}: {what}; {NAME_IT} '#rrggbb', or another mask")
        colour = "#{:02x}{:02x}{:02x}".format(*background)
        say(f"note: {path}: holds no black; {colour}, the colour of its edge, is taken for background")
    steps = pixels.astype(int) - background
    away = np.abs(steps).max(-1)
    if are_few and (are_vocs(found) or not _are_shades(steps, away)):
        border = colour_codes(np.array(voc_colour(IGNORE)))
        others = found[found != colour_codes(background)]
        return _separate(away > 0, (codes == border) & are_vocs(found) & (len(others) > 1), path)
    return _find_in_numbers(away, path, are_labels=False, have_shades=True)


def _are_shades(steps: np.ndarray, away: np.ndarray) -> bool:
    """Whether colours, as steps (H, W, 3) from the background, lie between it and one other."""
    farthest = steps.reshape(-1, 3)[away.argmax()]
    apart = np.abs(steps * away.max() - away[..., None] * farthest)
    return bool(apart.max() <= 2 * away.max())


def _separate(marked: np.ndarray, neither: np.ndarray, path: str | Path) -> np.ndarray:
    """The mask of what is marked, a part of it neither object nor background."""
    mask = np.where(neither, IGNORE, marked).astype(np.uint8)
    if (count := (mask == IGNORE).sum()) and count >= (mask == 1).sum():
        raise UserError(
            f"{path}: holds more of 255, which beside other labels is neither object nor background, than of these; "
            f"{NAME_IT} NUMBER"
        )
    if count:
        say(f"note: {path}: 255 is neither object nor background ({count / mask.size:.1%})")
    return mask


def _list(found: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in found[:20]) + (" ..." if len(found) > 20 else "")
