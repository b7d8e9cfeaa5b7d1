"""The pixels of one label in a mask image: by number, by colour, or by a class's name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.labels import IGNORE, colour_codes, voc_colour
from dataset.lists import read_lines
from dataset.pascal import Pascal
from prediction.object_masks import are_vocs
from util.errors import UserError
from util.numbers import is_whole

LABELMAP = "labelmap.txt"  # name:r,g,b:parts:actions, as CVAT and datumaro write it beside VOC's folders
COLOUR = re.compile("#([0-9a-f]{6})", re.IGNORECASE)
MOST_LISTED = 20


def is_class_name(label: str | None) -> bool:
    """Whether a label is a name, neither number nor colour."""
    return label is not None and not is_whole(label) and not COLOUR.fullmatch(label)


def find_label(image: Image.Image, path: str | Path, label: str) -> np.ndarray:
    """Find the pixels of a label.

    Arguments:
        image: the decoded mask.
        path: of the mask, for messages, and for the labelmap.txt in its folder or the one above.
        label: a number, which is a pixel's value; #rrggbb; or the name of a class.
    Returns:
        (H, W) uint8: 1 for the label; 255 for 255, or VOC's colour of it, where anything else is left; else 0.
    Raises:
        UserError: the mask has no pixel of the label, or nothing tells the colour of the name.
    """
    numbers = _find_numbers(image)
    colours = None if numbers is not None and image.mode != "P" else colour_codes(np.array(image.convert("RGB")))
    neither = numbers == IGNORE if numbers is not None else colours == colour_codes(np.array(voc_colour(IGNORE)))
    if is_whole(label):
        if numbers is None:
            raise UserError(
                f"{path}: a mask in colours has no labels; leave --label out, or pass a colour, '#rrggbb', or a name"
            )
        chosen = numbers == int(label)
    elif match := COLOUR.fullmatch(label):
        chosen = colour_codes(np.array(image.convert("RGB"))) == int(match[1], 16)
    else:
        chosen = _find_name(label, path, numbers, colours)
    if chosen is None or not chosen.any():
        raise UserError(f"{path}: no pixel has --label {label}; it holds {_list(numbers, colours, label)}")
    neither &= ~chosen
    if (chosen | neither).all():  # 0 and 255: the rest is background
        neither[:] = False
    return np.where(chosen, 1, np.where(neither, IGNORE, 0)).astype(np.uint8)


def _find_numbers(image: Image.Image) -> np.ndarray | None:
    """The pixels' values (H, W), in a palette the indices; None for colours."""
    if image.mode in ("P", "L") or image.mode.startswith("I"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode == "F":
        values = np.array(image)
        return values.astype(int) if (values == values.round()).all() else None
    pixels = np.array(image.convert("RGB"))
    return pixels[..., 0] if (pixels == pixels[..., :1]).all() else None


def _find_name(
    name: str, path: str | Path, numbers: np.ndarray | None, colours: np.ndarray | None
) -> np.ndarray | None:
    """Where a class is, by the labelmap or by VOC's names; None where neither has it.

    A mask in grey has the place of a class in the labelmap for its number.
    """
    if classes := read_labelmap(Path(path)):
        if name not in classes:
            raise UserError(f"{path}: {LABELMAP} has no --label {name}; it has {', '.join(classes)}")
        return numbers == list(classes).index(name) if colours is None else colours == classes[name]
    if colours is None or not are_vocs(np.unique(colours)):
        return None
    of_voc = {voc_name: number for number, voc_name in Pascal.class_names.items()}
    return colours == colour_codes(np.array(voc_colour(of_voc[name]))) if name in of_voc else None


def read_labelmap(mask: Path) -> dict[str, int]:
    """The colour, 0xrrggbb, of each class in the labelmap.txt in a mask's folder or the one above; {} without one.

    A class without a colour has that of its place in VOC's map. Raises UserError naming the file and the line that is
    no class.
    """
    folder = mask.absolute().parent
    path = next((x for x in (folder / LABELMAP, folder.parent / LABELMAP) if x.is_file()), None)
    if path is None:
        return {}
    classes: dict[str, int] = {}
    for line in read_lines(path, "export it again"):
        name, colon, rest = line.partition(":")
        colour = rest.partition(":")[0].replace(" ", "")
        values = [int(value) for value in colour.split(",") if is_whole(value)] if colour else voc_colour(len(classes))
        if not colon or len(values) != 3 or max(values) > 255:
            raise UserError(f"{path}: {line!r:.60} is not name:red,green,blue:parts:actions; export it again")
        classes[name.strip()] = int(colour_codes(np.array(values)))
    return classes


def _list(numbers: np.ndarray | None, colours: np.ndarray | None, label: str) -> str:
    """What a mask holds, for people: colours for a label that is one or a name, where there are any."""
    by_colour = numbers is None or (colours is not None and not is_whole(label))
    found = np.unique(colours if by_colour else numbers).tolist()
    shown = [f"#{value:06x}" if by_colour else str(value) for value in found[:MOST_LISTED]]
    return ", ".join(shown) + (" ..." if len(found) > MOST_LISTED else "")
