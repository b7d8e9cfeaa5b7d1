"""The class index: pixels of each class in each image, from one parallel pass over the masks, cached.

Everything that is drawn at random depends on the masks only through this index. The cache lies in the
user's cache folder (the dataset may be read-only), one file for each folder of masks. An entry holds for
exactly as long as its mask keeps size, modification and change time.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.images import ImageSet, read_histogram
from dataset.labels import IGNORE
from util.distributed import say
from util.errors import UserError, refusal
from util.files import atomic_write
from util.processes import map_files

ClassIndex = dict[str, dict[int, int]]

VERSION = 2
SETTLED_NS = 2 * 10**9  # a mask changed this shortly before it was read may change again within one tick


class Mask(NamedTuple):
    """What is kept of a mask: its file's stamp (bytes, mtime, ctime), size and pixels of each label."""

    stamp: tuple[int, int, int]
    size: tuple[int, int]
    pixels: dict[int, int]


def class_index(images: ImageSet, workers: int | None = None) -> ClassIndex:
    """{image: {class: pixels}} in list order, background and ignored pixels left out.

    workers: processes that read masks which are not in the cache, all cores by default; 0 for none but this.
    Raises UserError naming the mask that is missing, damaged or no mask.
    """
    return count_classes(images, (mask.pixels for mask in mask_contents(images, workers)))


def count_classes(images: ImageSet, labels: Iterable[Mapping[int, int]]) -> ClassIndex:
    """{image: {class: pixels}} from the pixels of each label in each mask of the list."""
    numbers = {name: cls for cls, name in images.class_names.items()}
    index = {}
    for image, found in zip(images.ids, labels, strict=True):
        index[image] = {label: pixels for label, pixels in found.items() if 0 < label < IGNORE}
        if images.binary:  # every image shows the class of its folder
            index[image] = {numbers[os.path.dirname(image)]: pixels for pixels in index[image].values()}
    return index


def mask_contents(images: ImageSet, workers: int | None = None) -> list[Mask]:
    """The content of each mask of the list, from the cache where the file has not changed since."""
    path = cache_path(images.masks, images.binary)
    cached = _load(path) if path else {}
    started = time.time_ns()
    stamps = [_stamp(images.mask_path(image), images.name) for image in images.ids]
    stale = [
        (image, stamp)
        for image, stamp in zip(images.ids, stamps, strict=True)
        if image not in cached or cached[image].stamp != stamp
    ]
    if stale:
        read = partial(read_histogram, binary=images.binary, voc_colours=images.voc_colours)
        paths = [images.mask_path(image) for image, _ in stale]
        fresh = map_files(
            read, paths, count=len(paths), what=f"reading masks, {images.name}", unit="mask", workers=workers
        )
        for (image, stamp), (size, pixels) in zip(stale, fresh, strict=True):
            cached[image] = Mask(stamp, size, pixels)
        settled = {image: mask for image, mask in cached.items() if max(mask.stamp[1:]) < started - SETTLED_NS}
        try:
            if path is None:
                raise UserError("there is no home folder; set XDG_CACHE_HOME")
            _save(path, settled)
        except UserError as error:
            say(f"note: the class index is not kept for the next run: {error}", file=sys.stderr)
    return [cached[image] for image in images.ids]


def cache_path(masks: Path, binary: bool = False) -> Path | None:
    """Where the index of a folder of masks, of labels or of one object each, is kept; None without a home folder."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # the user of a container may have none
        return None
    name = hashlib.sha256(str(Path(masks).resolve()).encode()).hexdigest()[:24]
    return Path(root) / "ssp" / f"index-{name}{'-binary' if binary else ''}.npz"


def _stamp(path: str, name: str) -> tuple[int, int, int]:
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # to read a pipe would last for ever
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: no such mask, but the list of {name} names it; add it (prepare.py), or take it off the list"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _save(path: Path, masks: dict[str, Mask]) -> None:
    labels = [np.fromiter(mask.pixels, np.uint8) for mask in masks.values()]
    pixels = [np.fromiter(mask.pixels.values(), np.int64) for mask in masks.values()]
    with atomic_write(path) as file:
        np.savez(
            file,
            version=VERSION,
            names=np.array(list(masks), dtype=np.str_),
            stamps=np.array([mask.stamp for mask in masks.values()], np.int64).reshape(-1, 3),
            sizes=np.array([mask.size for mask in masks.values()], np.int64).reshape(-1, 2),
            counts=np.array([len(part) for part in labels], np.int64),
            labels=np.concatenate([np.empty(0, np.uint8), *labels]),
            pixels=np.concatenate([np.empty(0, np.int64), *pixels]),
        )


def _load(path: Path) -> dict[str, Mask]:
    """The cache's entries; none if there is no cache or it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"] != VERSION:
                return {}
            arrays = [file[name] for name in ("names", "stamps", "sizes", "counts", "labels", "pixels")]
        names, stamps, sizes, counts, labels, pixels = (array.tolist() for array in arrays)
        rows = iter(zip(labels, pixels, strict=True))
        entries = zip(names, stamps, sizes, counts, strict=True)
        masks = {name: Mask(tuple(stamp), tuple(size), dict(islice(rows, n))) for name, stamp, size, n in entries}
        return masks if sum(counts) == len(labels) else {}
    except Exception:  # what a damaged file can raise anywhere in the reader; it is built again
        return {}
