"""Everything that can be wrong with a dataset's files, found before a long run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple

from dataset import Benchmark
from dataset.episodes import make_pool
from dataset.images import ImageSet, read_histogram, read_rgb, read_size
from dataset.index import ClassIndex, count_classes
from dataset.labels import IGNORE
from dataset.provenance import read_counts
from util.errors import UserError
from util.processes import map_files


class Finding(NamedTuple):
    """One thing that is wrong; findings of one kind are alike."""

    kind: str
    text: str


class Survey(NamedTuple):
    """What a dataset holds, a row for each list and for each split of each fold, and what is wrong with it."""

    splits: list[dict[str, Any]]
    folds: list[dict[str, Any]]
    findings: list[Finding]


class Pair(NamedTuple):
    """What was found of one image and its mask."""

    image_size: tuple[int, int] | None  # None where it cannot be read
    mask_size: tuple[int, int] | None
    pixels: dict[int, int]  # label -> pixels
    findings: list[Finding]


def survey(benchmark: Benchmark, shot: int, quick: bool = False, workers: int | None = None) -> Survey:
    """Open every image and mask of a dataset.

    Arguments:
        benchmark: the dataset.
        shot: supports that every class must have images for.
        quick: read only the headers of images, which does not notice truncated ones.
        workers: processes, all cores by default.
    """
    found: list[Finding] = []
    sets = _image_sets(benchmark, found)
    expected = _expected(benchmark, found)
    for (one, first), (other, second) in combinations(sets.items(), 2):
        both = sorted(set(first.ids) & set(second.ids))
        found += [Finding("lists overlap", f"{image} is in the lists of both {one} and {other}") for image in both]
    rows, indices = [], {}
    for name, images in sets.items():
        row, indices[name] = _survey_list(name, images, quick, workers, found)
        count = row["listed"]
        if benchmark.counted == "classes":
            count = len(images.class_names)
            row = {"split": name, "classes": count, **row}
        if count not in (expected.get(name, count), benchmark.counts_with_objects.get(name)):
            what = f"{images.name}: {count} {benchmark.counted} listed, expected {expected[name]}"
            found.append(Finding("count", what))
            if missing := benchmark.partial_downloads.get((name, count)):
                found.append(Finding("count", f"{images.masks}: {missing}"))
        rows.append(row)
    folds = list(_survey_folds(benchmark, sets, indices, shot, found))
    return Survey(rows, folds, found)


def _image_sets(benchmark: Benchmark, found: list[Finding]) -> dict[str, ImageSet]:
    """The image sets whose folders and lists can be read; a finding for each of the others."""
    sets = {}
    for image_list in benchmark.lists:
        try:
            images = benchmark.open_list(image_list)
            sets[image_list] = _existing(images, found) if images.binary else images
        except UserError as error:
            found.append(Finding("list or folder", str(error)))
    return sets


def _existing(images: ImageSet, found: list[Finding]) -> ImageSet:
    """The listed classes of FSS-1000 that have a folder."""
    missing = {name for name in images.class_names.values() if not (images.images / name).is_dir()}
    found += [Finding("class folder", f"{images.images / name}: no such folder of a class") for name in sorted(missing)]
    return images.listed(images.name, [image for image in images.ids if image.split("/")[0] not in missing])


def _expected(benchmark: Benchmark, found: list[Finding]) -> Mapping[str, Any]:
    """The published counts, or those that the dataset states itself."""
    try:
        return {**benchmark.counts, **read_counts(benchmark.root)}
    except ValueError as error:
        found.append(Finding("count", str(error)))
        return benchmark.counts


def _survey_list(
    name: str, images: ImageSet, quick: bool, workers: int | None, found: list[Finding]
) -> tuple[dict[str, Any], ClassIndex]:
    """A table row, and the class index as far as masks can be read."""
    paths = [images.image_path(image) for image in images.ids], [images.mask_path(image) for image in images.ids]
    labels = (0, 1) if images.binary else (0, *images.class_names, IGNORE)
    how = {"binary": images.binary, "voc_colours": images.voc_colours}
    work = partial(examine, labels=frozenset(labels), quick=quick, **how)
    what = f"opening {images.name}"
    pairs = list(map_files(work, *paths, count=len(images.ids), what=what, unit="pair", workers=workers))
    for pair in pairs:
        found += pair.findings
    sides = [side for pair in pairs if pair.image_size for side in pair.image_size]
    whole = sum(pair.image_size is not None and pair.image_size == pair.mask_size for pair in pairs)
    row = {
        "split": name,
        "listed": len(pairs),
        "images": sum(pair.image_size is not None for pair in pairs),
        "masks": sum(pair.mask_size is not None for pair in pairs),
        "pairs": whole,
        "sides": f"{min(sides)}-{max(sides)}" if sides else "-",
        "faults": sum(len(pair.findings) for pair in pairs),
    }
    return row, count_classes(images, (pair.pixels for pair in pairs))


def examine(
    image_path: str, mask_path: str, binary: bool, labels: frozenset[int], quick: bool, voc_colours: bool = False
) -> Pair:
    """Open one image and its mask.

    binary, voc_colours: as of read_histogram; quick: as of survey; labels: that the mask may hold.
    """
    found = []
    image_size = mask_size = None
    pixels: dict[int, int] = {}
    try:
        image_size = read_size(image_path) if quick else read_rgb(image_path).size
    except UserError as error:
        found.append(Finding("image", str(error)))
    try:
        mask_size, pixels = read_histogram(mask_path, binary, voc_colours)
    except UserError as error:
        found.append(Finding("mask", str(error)))
    if image_size and mask_size and image_size != mask_size:
        sizes = f"mask of {mask_size[0]}x{mask_size[1]} pixels, image of {image_size[0]}x{image_size[1]}"
        found.append(Finding("size", f"{mask_path}: {sizes}"))
    if strange := sorted(pixels.keys() - labels):
        found.append(Finding("labels", f"{mask_path}: holds {strange[:5]}, which is no class, background or 255"))
    if binary and mask_size and 1 not in pixels:
        found.append(Finding("labels", f"{mask_path}: shows no object, no value is 128 or more"))
    return Pair(image_size, mask_size, pixels, found)


def _survey_folds(
    benchmark: Benchmark,
    sets: dict[str, ImageSet],
    indices: dict[str, ClassIndex],
    shot: int,
    found: list[Finding],
) -> Iterator[dict[str, Any]]:
    """For each split of each fold: images in use, and the class with the fewest; classes with too few are findings."""
    short: set[tuple[str, int]] = set()
    for order, fold, (name, images) in product(benchmark.class_orders, benchmark.folds, sets.items()):
        pool = make_pool(indices[name], benchmark.classes_of(images, name, fold, order), benchmark.min_pixels)
        counts = {cls: int(large.sum()) for cls, large in pool.large.items()}
        fewest = min(counts, key=lambda cls: counts[cls], default=None)
        title = " ".join(str(word) for word in (fold, order) if word is not None)
        yield {
            "fold": title,
            "part": images.name,
            "classes": len(counts),
            "images": len(pool.names),
            "fewest": "-" if fewest is None else f"{counts[fewest]} ({fewest} {images.class_names[fewest]})",
        }
        for cls, count in counts.items():
            if count < shot + 1 and (images.name, cls) not in short:
                short.add((images.name, cls))
                where = f"{images.name}{f', fold {title}' if title else ''}"
                need = f"{shot}-shot episodes need {shot + 1}"
                text = f"{where}: class {cls} ({images.class_names[cls]}) has {count} images large enough, {need}"
                found.append(Finding("class", text))
