"""Everything that can be wrong with a dataset's files, found before a long run starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple

from dataset import Benchmark
from dataset.check import Finding, find_faults, find_notes
from dataset.episodes import make_pool
from dataset.images import ImageSet, read_rgb, read_size
from dataset.index import ClassIndex, Content, Values, count_classes, make_pair, mask_reader, mask_sources
from dataset.provenance import read_counts
from util.errors import UserError
from util.processes import map_files


class Survey(NamedTuple):
    """What a dataset holds, a row for each list and for each split of each fold, and what is wrong with it."""

    splits: list[dict[str, Any]]
    folds: list[dict[str, Any]]
    findings: list[Finding]
    notes: list[str]  # what is odd, but can be used


def survey(benchmark: Benchmark, shot: int, quick: bool = False, workers: int | None = None) -> Survey:
    """Open every image and mask of a dataset.

    Arguments:
        benchmark: the dataset.
        shot: supports that every class must have images for.
        quick: read only the headers of images, which does not notice truncated ones.
        workers: processes, all cores by default.
    """
    found: list[Finding] = []
    notes: list[str] = []
    sets = _image_sets(benchmark, found)
    expected = _expected(benchmark, found)
    for (one, first), (other, second) in combinations(sets.items(), 2):
        both = sorted(set(first.ids) & set(second.ids))
        found += [Finding("lists overlap", f"{image} is in the lists of both {one} and {other}") for image in both]
    rows, indices = [], {}
    for name, images in sets.items():
        row, indices[name] = _survey_list(name, images, quick, workers, found, notes)
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
    return Survey(rows, folds, found, notes)


def _image_sets(benchmark: Benchmark, found: list[Finding]) -> dict[str, ImageSet]:
    """The image sets whose folders and lists can be read; a finding for each of the others."""
    sets = {}
    for image_list in benchmark.lists:
        try:
            images = benchmark.open_list(image_list)
            sets[image_list] = _existing(images, found) if images.binary else images
        except UserError as error:
            if (finding := Finding("list or folder", str(error))) not in found:  # lists may lack the same folder
                found.append(finding)
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
    name: str, images: ImageSet, quick: bool, workers: int | None, found: list[Finding], notes: list[str]
) -> tuple[dict[str, Any], ClassIndex]:
    """A table row, and the class index as far as masks can be read."""
    paths = [images.image_path(image) for image in images.ids], list(mask_sources(images))
    work, what = partial(examine, read=mask_reader(images), quick=quick), f"opening {images.name}"
    examined = list(map_files(work, *paths, count=len(images.ids), what=what, unit="pair", workers=workers))
    pairs = [make_pair(images, image, size, mask) for image, (size, mask, _) in zip(images.ids, examined, strict=True)]
    of_list = [*(finding for *_, some in examined for finding in some), *find_faults(images, pairs)]
    said = set(found)
    found += [finding for finding in of_list if finding not in said]  # two lists may share a folder
    notes += find_notes(images, pairs)
    sides = [side for pair in pairs if pair.image_size for side in pair.image_size]
    row = {
        "split": name,
        "listed": len(pairs),
        "images": sum(pair.image_size is not None for pair in pairs),
        "masks": sum(pair.mask_size is not None for pair in pairs),
        "pairs": sum(pair.image_size is not None and pair.image_size == pair.mask_size for pair in pairs),
        "sides": f"{min(sides)}-{max(sides)}" if sides else "-",
        "faults": len(of_list),
    }
    return row, count_classes(images, (pair.pixels for pair in pairs))


def examine(
    image_path: str, mask_source: Any, read: Callable[[Any], Values], quick: bool
) -> tuple[tuple[int, int] | None, Content | None, list[Finding]]:
    """Open one image and its mask: the image's size, the mask's content, and why one cannot be read (then it is None).

    mask_source, read: where a mask is, and what reads it (dataset.index.mask_sources, mask_reader). quick: as survey's.
    """
    found = []
    image_size = mask = None
    try:
        image_size = read_size(image_path) if quick else read_rgb(image_path).size
    except UserError as error:
        found.append(Finding("image", str(error)))
    try:
        mask = Content((0, 0, 0), *read(mask_source))
    except UserError as error:
        found.append(Finding("mask", str(error)))
    return image_size, mask, found


def _survey_folds(
    benchmark: Benchmark,
    sets: dict[str, ImageSet],
    indices: dict[str, ClassIndex],
    shot: int,
    found: list[Finding],
) -> Iterator[dict[str, Any]]:
    """For each split of each fold: images in use, and the class with the fewest; classes with too few are findings.

    Where no mask shows any class, another finding says why.
    """
    short: set[tuple[str, int]] = set()
    some = [name for name, images in sets.items() if images.class_names.keys() & set().union(*indices[name].values())]
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
            if count < shot + 1 and (images.name, cls) not in short and name in some:
                short.add((images.name, cls))
                where = f"{images.name}{f', fold {title}' if title else ''}"
                need = f"{shot}-shot episodes need {shot + 1}"
                text = f"{where}: class {cls} ({images.class_names[cls]}) has {count} images large enough, {need}"
                found.append(Finding("class", text))
