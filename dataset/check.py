"""What is wrong with the files of a list: found before a run starts, by prepare.py verify and the programs alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dataset.images import ImageSet
from dataset.index import ClassIndex, Pair, count_classes, read_pairs
from dataset.labels import IGNORE
from util.distributed import say_once
from util.errors import UserError, join_names

NAMED = 8  # images that a note names


class Finding(NamedTuple):
    """One thing that is wrong; findings of one kind are alike."""

    kind: str
    text: str


def checked_index(images: ImageSet, workers: int | None = None) -> ClassIndex:
    """The class index of a list, once each image has been found to fit its mask. Notes are said, once.

    workers: processes that read files which are not in the cache, all cores by default.
    Raises UserError naming the first file that is missing, damaged, or does not fit.
    """
    pairs = read_pairs(images, workers)
    if found := list(find_faults(images, pairs)):
        others = f" (and {len(found) - 1} more findings)" if len(found) > 1 else ""
        raise UserError(f"{found[0].text}{others}; mend it; prepare.py verify lists all")
    for note in find_notes(images, pairs):
        say_once(f"note: {note}")
    return count_classes(images, (pair.pixels for pair in pairs))


def find_faults(images: ImageSet, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """What keeps a list from being used, in its order. pairs: of each image of the list."""
    known = frozenset((0, 1) if images.binary else (0, *images.class_names, IGNORE))
    if not images.binary and (line := _describe_binary(known, pairs)):
        yield Finding("labels", f"{images.masks}: {line}")
        known = known | {label for pair in pairs for label in pair.pixels}
    for image, (image_size, mask_size, pixels, *_) in zip(images.ids, pairs, strict=True):
        if image_size != mask_size and image_size and mask_size and not images.binary:
            sizes = f"mask of {mask_size[0]}x{mask_size[1]} pixels, image of {image_size[0]}x{image_size[1]}"
            yield Finding("size", f"{images.mask_path(image)}: {sizes}")
        if not pixels.keys() <= known:
            strange = sorted(pixels.keys() - known)[:5]
            what = f"holds {strange}, which is no class, background or 255"
            yield Finding("labels", f"{images.mask_path(image)}: {what}")
        if images.binary and mask_size and 1 not in pixels:
            yield Finding("labels", f"{images.mask_path(image)}: shows no object, no value is 128 or more")


def find_notes(images: ImageSet, pairs: Sequence[Pair]) -> Iterator[str]:
    """What is odd in a list and can be used all the same, such as masks of one object, taken as HSNet takes them."""
    if not images.binary:
        yield from _compare_palettes(images, pairs)
        return
    named = list(zip(images.ids, pairs, strict=True))
    if some := [image for image, pair in named if pair.mask_size and pair.image_size not in (None, pair.mask_size)]:
        what = "resized to their images by the nearest pixel, as in HSNet"
        yield f"{images.masks}: {_count_masks(some)} of another size, {what}: {join_names(some, NAMED)}"
    if some := [image for image, pair in named if pair.mask_size and 0 not in pair.pixels]:
        yield f"{images.masks}: {_count_masks(some)} without background, used as in HSNet: {join_names(some, NAMED)}"
    if some := [image for image, pair in named if not pair.is_two_valued]:
        what = "with many grey values, as of a photograph; what is 128 or more is the object, as in HSNet"
        yield f"{images.masks}: {_count_masks(some)} {what}; replace, or distrust: {join_names(some, NAMED)}"


def _describe_binary(known: frozenset[int], pairs: Sequence[Pair]) -> str:
    """What to say of a list of label masks that all hold the same one value, which is no class; "" of others."""
    found = {label for pair in pairs for label in pair.pixels} - {0}
    if len(found) > 1 or found & (known - {IGNORE}) or not any(pair.pixels for pair in pairs):
        return ""
    values = " and ".join(map(str, sorted({0, *found})))
    return (
        f"no mask of the list holds another value than {values}: these tell an object from the background; "
        f"here each pixel holds the number of its class, 0 for background, {IGNORE} for ignored"
    )


def _compare_palettes(images: ImageSet, pairs: Sequence[Pair]) -> Iterator[str]:
    """A note if palettes give a class two colours, as after an optimiser, which puts each into its own order."""
    first: dict[int, tuple[str, int]] = {}
    for image, pair in zip(images.ids, pairs, strict=True):
        for label, colour in pair.colours.items():
            other, its_colour = first.setdefault(label, (image, colour))
            if colour != its_colour and 0 < label < IGNORE:
                what = f"{label} is #{its_colour:06x} in {other} and #{colour:06x} in {image}"
                way_out = "the index counts; if a program has reordered it, fetch the masks again"
                yield f"{images.masks}: the palettes differ: {what}; {way_out}"
                return


def _count_masks(some: Sequence[str]) -> str:
    return f"{len(some)} mask{'s' if len(some) > 1 else ''}"
