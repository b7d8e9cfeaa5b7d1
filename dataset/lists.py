"""Text lists: image ids, class names. One a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from util.errors import UserError, refusal
from util.files import atomic_write, check_regular, is_name

SUFFIXES = (".jpg", ".jpeg", ".png")  # suffixes of images and masks, which an entry may write out
PAIR = re.compile(r"(\.jpe?g|\.png)\s", re.IGNORECASE)  # an image, before its mask

OF_CLASS = re.compile(r"\s(-1|0|1)$")  # what VOC's ImageSets/Main has behind each image


def read_lines(path: Path, missing: str) -> list[str]:
    """The lines of a list, without blank ones and # comments. missing: the way out if there is no such file.

    Raises UserError naming the file unless it is text in UTF-8 that can be printed.
    """
    try:
        check_regular(path)
        lines = [line.replace("\t", " ").strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list; {missing}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as a list (it is not text in UTF-8; save it so)") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a list ({refusal(error)})") from error
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path}: the list is empty")
    if strange := [line for line in lines if not line.isprintable()]:
        raise UserError(f"{path}: {strange[0]!r:.60} cannot be printed; save the list as plain text in UTF-8")
    return lines


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise UserError if a name in a list is a path, which could lead out of the dataset's folder, or occurs twice."""
    seen: set[str] = set()
    for name in names:
        if not is_name(name):
            raise UserError(f"{path}: {name!r:.60} is not the name of a file or folder; mend the list")
        if name in seen:
            raise UserError(f"{path}: lists {name} twice")
        seen.add(name)


def read_names(path: Path, missing: str) -> list[str]:
    """The names of a list, one a line. Raises UserError as :func:`read_lines` and :func:`check_names`."""
    names = read_lines(path, missing)
    check_names(path, names)
    return names


def read_ids(path: Path) -> tuple[str, ...]:
    """The image ids of a list, one a line, in the forms of :func:`image_id`."""
    ids = tuple(map(image_id, read_image_lines(path)))
    check_names(path, ids)
    return ids


def read_image_lines(path: Path) -> list[str]:
    """The lines of a list of images. Raises UserError as :func:`read_lines`, and if it is VOC's list of one class."""
    lines = read_lines(path, "make it with prepare.py")
    if all(map(OF_CLASS.search, lines)):
        raise UserError(f"{path}: a list of one class, a 1 or -1 behind each image; take one of ImageSets/Segmentation")
    return lines


def image_id(entry: str) -> str:
    """The id of an image: of ID, ID.jpg, FOLDER/ID.jpg, or "JPEGImages/ID.jpg SegmentationClassAug/ID.png"."""
    return image_path(entry).rpartition("/")[2] or entry


def image_path(entry: str) -> str:
    """The same with its folders: FOLDER/ID of FOLDER/ID.jpg."""
    first, suffix, *_ = (*PAIR.split(entry, maxsplit=1), "")
    name = f"{first}{suffix}".replace("\\", "/")
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), name)


def is_listable(image: str) -> bool:
    """Whether an image of this id is the same one when a list is read."""
    return is_name(image) and image == image_id(image).strip() and not image.startswith("#")


def join_lines(lines: Iterable[str]) -> bytes:
    """The content of a list's file."""
    return "".join(f"{line}\n" for line in lines).encode()


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a list, atomically."""
    with atomic_write(path) as file:
        file.write(join_lines(lines))


def number_classes(names: Iterable[str]) -> dict[int, str]:
    """The names of classes by number, from 1."""
    return dict(enumerate(names, start=1))


def read_class_names(root: Path, usual: Mapping[int, str]) -> dict[int, str]:
    """The dataset's usual names, or those that a toy dataset gives its own classes in ImageSets/classes.txt.

    A class that such a dataset does not hold has "-" for a name there and is left out.
    """
    own = root / "ImageSets" / "classes.txt"
    if not own.is_file():
        return dict(usual)
    names = read_lines(own, "")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name != "-"]:
        raise UserError(f"{own}: lists {twice[0]} twice")
    if len(names) != len(usual):
        raise UserError(f"{own}: {len(names)} lines, expected the names of {len(usual)} classes; or remove it")
    return {cls: name for cls, name in number_classes(names).items() if name != "-"}
