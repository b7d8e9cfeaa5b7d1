"""Where the folders of a dataset lie: archives unpack one or two levels deeper than the documentation says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from util.errors import UserError, join_names

LEVELS = 3  # so deep a folder is looked for: VOCtrainval_11-May-2012/VOCdevkit/VOC2012
MOST_FOLDERS = 3000  # of a level that are looked into; FSS-1000 has 1,000
SHOWN = 6  # names of what a folder holds, in a message


def find_folder(top: Path, is_it: Callable[[Path], bool], name: str = "") -> Path | None:
    """The one folder that is meant, ``top`` or a few levels below it; None if there is none.

    Arguments:
        top: where to look; it need not be there.
        is_it: whether a folder is meant.
        name: settles which of several folders of one level is meant.
    Raises:
        UserError: several folders of the first level that has any could be meant.
    """
    level = [top] if top.is_dir() else []
    for _ in range(LEVELS + 1):
        found = [folder for folder in level if is_it(folder)]
        chosen = [folder for folder in found if folder.name == name] if len(found) > 1 else found
        if len(chosen) == 1:
            return chosen[0]
        if found:
            names = ", ".join(str(folder.relative_to(top)) for folder in found[:SHOWN])
            raise UserError(f"{top}: {len(found)} folders could be meant: {names}; leave one of them, or name it")
        level = [below for folder in level for below in subfolders(folder)][:MOST_FOLDERS]
    return None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and what macOS adds to an archive."""
    return sorted(Path(x.path) for x in _entries(folder) if x.is_dir() and x.name != "__MACOSX")


def holds_files(folder: Path, suffixes: str | Sequence[str]) -> bool:
    """Whether a folder holds a file whose name ends so, without regard to case."""
    return any(x.name.lower().endswith(tuple(suffixes)) for x in _entries(folder))


def innermost(folder: Path, suffixes: Sequence[str]) -> Path:
    """The folder, or the one below it that holds files whose names end so: an archive's folder of the same name."""
    return find_folder(folder, lambda place: holds_files(place, suffixes)) or folder


def find_file(stem: str, suffixes: Sequence[str]) -> str | None:
    """The path of the first file of a name with one of the suffixes; None if there is none."""
    return next((path for suffix in suffixes if os.path.isfile(path := stem + suffix)), None)


def describe_folder(folder: Path) -> str:
    """What a folder holds, for a message."""
    names = sorted(f"{x.name}{'/' if x.is_dir() else ''}" for x in _entries(folder))
    return f"it holds {join_names(names, SHOWN)}" if names else "it is empty"


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What a folder holds, without hidden names; nothing of one that may not be read."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError:
        return
