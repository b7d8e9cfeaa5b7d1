"""The class index: pixels of each class in each image, from one parallel pass over the masks, cached.

Everything that is drawn at random depends on the masks only through this index. The cache lies in the
user's cache folder (the dataset may be read-only), one file for each folder of masks, and one for each folder of
images, of which it keeps the sizes. An entry holds for exactly as long as its file keeps size, modification and change
time.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset.cache import SETTLED_NS, cache_path
from dataset.images import ImageSet, read_binary_mask, read_greys, read_histogram, read_size, resize_labels
from dataset.labels import IGNORE
from dataset.run_lengths import Place, decode_mask, read_regions
from util.distributed import say
from util.errors import UserError, refusal
from util.files import atomic_write
from util.processes import map_files

ClassIndex = dict[str, dict[int, int]]
Values = tuple[tuple[int, int], dict[int, int], bool, dict[int, int]]  # a Content without its stamp

VERSION = 3
ARRAYS = ("names", "stamps", "sizes", "two_valued", "counts", "labels", "pixels", "colours")  # of a cache
NO_COLOUR = -1
NEAR, MOST_BETWEEN = 16, 0.2  # of a mask of two grey values so few pixels differ more from the nearer one


class Content(NamedTuple):
    """What is kept of a file: its stamp (bytes, mtime, ctime) and size; of a mask also the pixels of each label."""

    stamp: tuple[int, int, int]
    size: tuple[int, int]
    pixels: dict[int, int]
    is_two_valued: bool  # False for a mask of one object that has many grey values, as a photograph has
    colours: dict[int, int]  # of labels in a mask's palette


class Pair(NamedTuple):
    """What is known of an image and its mask; a size is None where the file cannot be read."""

    image_size: tuple[int, int] | None
    mask_size: tuple[int, int] | None
    pixels: dict[int, int]  # label -> pixels, as ImageSet.load gives them
    is_two_valued: bool
    colours: dict[int, int]


def class_index(images: ImageSet, workers: int | None = None) -> ClassIndex:
    """{image: {class: pixels}} in list order, background and ignored pixels left out.

    workers: processes that read masks which are not in the cache, all cores by default; 0 for none but this.
    Raises UserError naming the mask that is missing, damaged or no mask.
    """
    if images.binary:  # whose masks are resized to their images
        return count_classes(images, (pair.pixels for pair in read_pairs(images, workers)))
    return count_classes(images, (mask.pixels for mask in mask_contents(images, workers)))


def read_pairs(images: ImageSet, workers: int | None = None) -> list[Pair]:
    """Each listed image with its mask. Arguments and errors as class_index's; an image's header is opened."""
    sizes = read_contents(
        images, images.images, images.image_path, kind="images", read=read_header, workers=workers, unit="image"
    )
    masks = mask_contents(images, workers)
    return [
        make_pair(images, image, picture.size, mask)
        for image, picture, mask in zip(images.ids, sizes, masks, strict=True)
    ]


def make_pair(images: ImageSet, image: str, image_size: tuple[int, int] | None, mask: Content | None) -> Pair:
    """What is known of an image and its mask; None of either: it cannot be read."""
    if mask is None:
        return Pair(image_size, None, {}, True, {})
    pixels = mask.pixels
    if images.binary and image_size not in (None, mask.size):
        labels = resize_labels(read_binary_mask(images.mask_path(image)), image_size)
        pixels = {label: count for label, count in enumerate(np.bincount(labels.ravel()).tolist()) if count}
    return Pair(image_size, mask.size, pixels, mask.is_two_valued, mask.colours)


def count_classes(images: ImageSet, labels: Iterable[Mapping[int, int]]) -> ClassIndex:
    """{image: {class: pixels}} from the pixels of each label in each mask of the list."""
    if images.annotations:  # which hold classes alone
        return dict(zip(images.ids, map(dict, labels), strict=True))
    numbers = {name: cls for cls, name in images.class_names.items()}
    index = {}
    for image, found in zip(images.ids, labels, strict=True):
        index[image] = {label: pixels for label, pixels in found.items() if 0 < label < IGNORE}
        if images.binary:  # every image shows the class of its folder
            index[image] = {numbers[os.path.dirname(image)]: pixels for pixels in index[image].values()}
    return index


def mask_contents(images: ImageSet, workers: int | None = None) -> list[Content]:
    """The content of each mask of the list."""
    if images.annotations:
        return [annotated(images, image) for image in images.ids]
    kind = "binary" if images.binary else "voc" if images.voc_colours else ""
    read = mask_reader(images)
    return read_contents(images, images.masks, images.mask_path, kind=kind, read=read, workers=workers, unit="mask")


def read_annotated(place: Place, path: Path, numbers: Mapping[str, int]) -> Values:
    """The content of a line of annotations, each mask of which is decoded."""
    regions = read_regions(path, place)
    masks = ((name, decode_mask(code, regions.size, path)) for name, code in regions.classes.items())
    pixels = {numbers[name]: int(mask.sum()) for name, mask in masks if name in numbers}
    return regions.size[::-1], pixels, True, {}


def annotated(images: ImageSet, image: str) -> Content:
    """What the annotations say of an image."""
    shown = images.annotations.shown(image)
    return Content((0, 0, 0), shown.size, images.annotations.pixels(image), True, {})


def mask_sources(images: ImageSet) -> Iterator[str | Place]:
    """Where the mask of each image is, for :func:`mask_reader`: its path, or the place of its line."""
    for image in images.ids:
        yield images.annotations.place(image) if images.annotations else images.mask_path(image)


def mask_reader(images: ImageSet) -> Callable[[Any], Values]:
    """What gives the content of a mask of the images, by where it is."""
    if images.annotations:
        return partial(read_annotated, path=images.annotations.path, numbers=images.annotations.numbers)
    return read_object if images.binary else partial(read_labels, voc_colours=images.voc_colours)


def read_labels(path: str, voc_colours: bool) -> Values:
    """The content of a mask of labels. voc_colours: as read_mask's."""
    size, pixels, colours = read_histogram(path, voc_colours=voc_colours)
    return size, pixels, True, colours


def read_object(path: str) -> Values:
    """The content of a mask of one object."""
    size, greys = read_greys(path)
    counts = np.array(greys)
    dark, bright = counts[:128].argmax(), 128 + counts[128:].argmax()
    distance = np.abs(np.arange(256)[:, None] - [dark, bright]).min(1)
    pixels = {label: n for label, n in enumerate((sum(greys[:128]), sum(greys[128:]))) if n}
    return size, pixels, bool(counts[distance > NEAR].sum() <= MOST_BETWEEN * counts.sum()), {}


def read_header(path: str) -> Values:
    """The content of an image: its size."""
    return read_size(path), {}, True, {}


def read_contents(
    images: ImageSet,
    folder: Path,
    path_of: Callable[[str], str],
    *,
    kind: str,
    read: Callable[[str], Values],
    workers: int | None,
    unit: str,
) -> list[Content]:
    """The content of a file of each image of the list, from the cache where the file has not changed since.

    Arguments:
        folder, kind: which cache is kept (cache_path).
        path_of: an image's file.
        read: the content of a file, by its path.
        workers: as class_index's.
        unit: what a file is called.
    """
    cache = cache_path(folder, kind)
    cached = _load(cache) if cache else {}
    started = time.time_ns()
    paths = {image: path_of(image) for image in images.ids}
    stamps = {image: _stamp(path, images.name, unit) for image, path in paths.items()}
    stale = [image for image, stamp in stamps.items() if image not in cached or cached[image].stamp != stamp]
    if stale:
        what = f"reading {unit}s, {images.name}"
        fresh = map_files(read, map(paths.get, stale), count=len(stale), what=what, unit=unit, workers=workers)
        for image, values in zip(stale, fresh, strict=True):
            cached[image] = Content(stamps[image], *values)
        settled = {image: kept for image, kept in cached.items() if max(kept.stamp[1:]) < started - SETTLED_NS}
        try:
            if cache is None:
                raise UserError("there is no home folder; set XDG_CACHE_HOME")
            _save(cache, settled)
        except UserError as error:
            say(f"note: the class index is not kept for the next run: {error}", file=sys.stderr)
    return [cached[image] for image in images.ids]


def _stamp(path: str, name: str, unit: str) -> tuple[int, int, int]:
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # to read a pipe would last for ever
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
    except (FileNotFoundError, NotADirectoryError) as error:
        how = " (prepare.py)" if unit == "mask" else ""
        raise UserError(
            f"{path}: no such {unit}, but the list of {name} names it; add it{how}, or take it off the list"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _save(path: Path, contents: dict[str, Content]) -> None:
    labels = [np.fromiter(kept.pixels, np.uint8) for kept in contents.values()]
    pixels = [np.fromiter(kept.pixels.values(), np.int64) for kept in contents.values()]
    colours = [kept.colours.get(label, NO_COLOUR) for kept in contents.values() for label in kept.pixels]
    with atomic_write(path) as file:
        np.savez(
            file,
            version=VERSION,
            names=np.array(list(contents), dtype=np.str_),
            stamps=np.array([kept.stamp for kept in contents.values()], np.int64).reshape(-1, 3),
            sizes=np.array([kept.size for kept in contents.values()], np.int64).reshape(-1, 2),
            two_valued=np.array([kept.is_two_valued for kept in contents.values()], bool),
            counts=np.array([len(part) for part in labels], np.int64),
            labels=np.concatenate([np.empty(0, np.uint8), *labels]),
            pixels=np.concatenate([np.empty(0, np.int64), *pixels]),
            colours=np.array(colours, np.int32),
        )


def _load(path: Path) -> dict[str, Content]:
    """The cache's entries; none if there is no cache or it is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["version"] != VERSION:
                return {}
            arrays = [file[name] for name in ARRAYS]
        names, stamps, sizes, two_valued, counts, labels, pixels, colours = (array.tolist() for array in arrays)
        rows = iter(zip(labels, pixels, colours, strict=True))
        entries = zip(names, stamps, sizes, two_valued, counts, strict=True)
        contents = {}
        for name, stamp, size, is_two_valued, n in entries:
            some = list(islice(rows, n))
            shown = {label: colour for label, _, colour in some if colour != NO_COLOUR}
            kept = {label: number for label, number, _ in some}
            contents[name] = Content(tuple(stamp), tuple(size), kept, is_two_valued, shown)
        return contents if sum(counts) == len(labels) else {}
    except Exception:  # what a damaged file can raise anywhere in the reader; it is built again
        return {}
