"""Text lists: image ids, class names. One a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from util.errors import UserError
from util.files import atomic_write


def read_lines(path: Path, missing: str) -> list[str]:
    """The lines of a list, without blank ones and # comments. missing: the way out if there is no such file."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list; {missing}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list ({error})") from error
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path}: the list is empty")
    return lines


def read_ids(path: Path) -> tuple[str, ...]:
    """The image ids of a list, one a line; also the "JPEGImages/ID.jpg SegmentationClassAug/ID.png" form."""
    ids = tuple(Path(line.split()[0]).stem for line in read_lines(path, "make it with prepare.py"))
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(image for image in ids if image in seen or seen.add(image))
        raise UserError(f"{path}: lists {twice} twice")
    return ids


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a list, atomically."""
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def class_names(root: Path, usual: Mapping[int, str]) -> dict[int, str]:
    """The dataset's usual names, or those that a toy dataset gives its own classes in ImageSets/classes.txt.

    A class that such a dataset does not hold has "-" for a name there and is left out.
    """
    own = root / "ImageSets" / "classes.txt"
    if not own.is_file():
        return dict(usual)
    names = read_lines(own, "")
    if len(names) != len(usual):
        raise UserError(f"{own}: {len(names)} lines, expected the names of {len(usual)} classes; or remove it")
    return {cls: name for cls, name in enumerate(names, start=1) if name != "-"}
