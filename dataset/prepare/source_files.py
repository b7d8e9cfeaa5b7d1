"""The files of a source, found by the names of their images, and label masks as run lengths."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from pycocotools import mask as coding

from dataset.labels import IGNORE


def list_files(folder: Path, suffixes: Iterable[str], without: Path | None = None) -> list[Path]:
    """The files in a folder, and in those in it, whose names end so in any case, sorted.

    Hidden names, and what macOS adds to archives, are left out, and so is the folder ``without``.
    """
    ends, found = tuple(suffixes), []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [x for x in folders if not x.startswith(".") and x != "__MACOSX" and Path(place, x) != without]
        found += [Path(place, x) for x in names if x.lower().endswith(ends) and not x.startswith(".")]
    return sorted(found, key=lambda path: path.parts)


def id_below(folder: Path, path: Path) -> str:
    """The id of an image: the path of its file in a folder, without the suffix."""
    return PurePosixPath(path.relative_to(folder)).with_suffix("").as_posix()


def index_images(folder: Path, suffixes: Iterable[str], without: Path | None = None) -> dict[str, list[Path]]:
    """The files of each image by its id, one unless something is wrong; arguments as of :func:`list_files`."""
    files: dict[str, list[Path]] = {}
    for path in list_files(folder, suffixes, without):
        files.setdefault(id_below(folder, path), []).append(path)
    return files


def encode(mask: np.ndarray) -> bytes:
    """A mask (H, W) as COCO's compressed run lengths."""
    return coding.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def encode_labels(
    labels: np.ndarray, names: Mapping[int, str], ignored: Collection[int] = (IGNORE,)
) -> tuple[dict[str, bytes], bytes | None]:
    """The run lengths of the classes that a label mask (H, W) shows, and of what counts for nothing.

    Arguments:
        labels: the mask.
        names: of the classes by label, "" of background, which 0 is too if it is not there.
        ignored: labels that count for nothing, whatever names says.
    Raises:
        KeyError: a label has no name.
    """
    there = {int(label) for label in np.unique(labels)}
    left_out = [label for label in there if label in ignored]
    known = {0: "", **names}
    of_name: dict[str, list[int]] = {}
    for label in sorted(there.difference(left_out)):
        of_name.setdefault(known[label], []).append(label)
    classes = {name: encode(np.isin(labels, some)) for name, some in of_name.items() if name}
    return classes, encode(np.isin(labels, left_out)) if left_out else None
