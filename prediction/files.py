"""A user's own images: which files are meant, and each as people see it, upright and in RGB."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

import dataset.images
from dataset.formats import HEIF_SUFFIXES, INSTALL_HEIF, NAMES, SUFFIXES, VIDEO_SUFFIXES, list_suffixes
from dataset.images import DEPTHS, check_pixels, count_bits, is_invisible, to_rgb
from dataset.labels import LOSSY
from dataset.turns import Turn, find_turn
from util.distributed import say
from util.errors import MOST_NAMED, UserError, join_names

PREVIEWED = ("MPO", "HEIF")  # formats of cameras whose other pictures are previews
MASK_NAMES = ("NAME.png", "NAME_mask.png", "NAME.json", "NAME_1.png, NAME_2.png ...")  # beside an image, for messages
# The same for an image of STEM.SUFFIX, which is FULL, in any case of letters
MASK_FORMS = ("{stem}.png", "{stem}.json", "{full}.png", "{full}.json", *("{stem}_mask" + x for x in SUFFIXES))
# What lies beside images and is none: passed over without a word
SIDECARS = (
    ".aae", ".csv", ".db", ".ini", ".json", ".md", ".pp3", ".thm", ".toml", ".tsv", ".txt", ".xml", ".xmp", ".yaml",
    ".yml",
)  # fmt: skip


# Which files


def find_images(names: Sequence[str], flag: str, left_out: Collection[Path] = ()) -> list[Path]:
    """The image files that are named: files, all images of folders (not of folders in them), quoted patterns.

    Each file once, in the order of the names, folders and patterns sorted. What else lies there is passed over, and
    a note says so: what is no image, and masks of images, by MASK_FORMS. A file that is named by itself is passed
    over only where its image is named too. Of queries, a pattern means videos too, a folder does not.
    left_out: files, such as the masks of supports, of which no note is made.
    Raises UserError if a name means none.
    """
    unwanted = set(map(os.path.abspath, left_out))
    suffixes = list_suffixes()
    given = [Path(name) for name in names if os.path.isfile(name)]
    find_theirs = _find_support_masks if flag == "--support" else find_masks
    masks_given = find_theirs(given, given)
    found: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for name in names:
        if os.path.isfile(name):
            images, its_masks = [Path(name)], masks_given
        else:
            images = [path for path in _list_images(name, flag) if os.path.abspath(path) not in unwanted]
            beside = _list_beside(images)
            its_masks = find_theirs([path for path in beside if path.suffix.lower() in suffixes], beside)
        masks_here = {mask for found_masks in its_masks.values() for mask in found_masks}
        kept = [path for path in images if path not in masks_here]
        if not kept and not os.path.isfile(name):
            raise UserError(f"{flag} {name}: holds nothing but masks; name other images")
        found.update({os.path.abspath(path): path for path in kept if os.path.abspath(path) not in found})
        masks.update({os.path.abspath(path): path for path in images if path in masks_here})
    if flag == "--query" and masks:
        count = "1 file is the mask" if len(masks) == 1 else f"{len(masks)} files are masks"
        say(f"note: {count} of an image beside it, by name, and no query: {join_names(list(masks.values()))}")
    return list(found.values())


def find_supports(names: Sequence[str], masks: Sequence[str] | None = None) -> list[tuple[Path, tuple[Path, ...]]]:
    """Each support's image and masks, as given, or found beside the images (MASK_FORMS, :func:`find_numbered`).

    Arguments:
        names: as for :func:`find_images`, but with masks files only. A file that is another one's mask is no support.
        masks: one for each support, in order; a pattern stands for several. Of one support all are its own.
    Raises:
        UserError: names what is missing or ambiguous.
    """
    if masks:
        for name in names:
            if not os.path.isfile(name):
                raise UserError(f"--support {name}: no such file; with --mask, name every image by itself")
        for name in masks:
            if os.path.exists(name) and not os.path.isfile(name):
                raise UserError(f"--mask {name}: is no file; name a PNG, or a JSON of LabelMe")
        if len(names) == 1:
            return [(Path(names[0]), tuple(path for name in masks for path in _expand_mask(name)))]
        if len(masks) != len(names):
            raise UserError(
                f"--mask names {len(masks)} files for {len(names)} of --support; name one mask for each, or in quotes "
                "a pattern of several"
            )
        return [(Path(image), _expand_mask(mask)) for image, mask in zip(names, masks, strict=True)]
    images = find_images(names, "--support")
    beside = _list_beside(images)
    named = find_masks(images, beside)
    pairs = {path: tuple(found or find_numbered(path, beside)) for path, found in named.items()}
    if missing := [str(path) for path, found in pairs.items() if not found]:
        forms = ", ".join(MASK_NAMES)
        raise UserError(f"no mask beside {join_names(missing)}: it is looked for as {forms}; or name it with --mask")
    for path, found in named.items():
        if len(found) > 1:
            raise UserError(
                f"{path}: {len(found)} masks beside it: {join_names(found)}; name the right one with --mask"
            )
    return list(pairs.items())


def _expand_mask(name: str) -> tuple[Path, ...]:
    """The files of a word of --mask, which may be a pattern."""
    if os.path.isfile(name) or not _is_pattern(name):
        return (Path(name),)
    if not (found := sorted(Path(match) for match in glob.glob(name) if os.path.isfile(match))):
        raise UserError(f"--mask {name}: matches no file")
    return tuple(found)


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """The stem of each file; a stem that is taken, in upper or lower case, gets _2, _3 ..."""
    names: dict[str, str] = {}
    for path in paths:
        name, number = path.stem, 1
        while name.casefold() in names:
            number += 1
            name = f"{path.stem}_{number}"
        names[name.casefold()] = name
    return list(names.values())


def _list_images(name: str, flag: str) -> list[Path]:
    """The images in a folder, or that match a pattern, sorted; a note counts what else is there."""
    try:
        if os.path.isdir(name):
            paths = list(Path(name).iterdir())
        elif _is_pattern(name):
            folder, last = os.path.split(name)  # of a folder that is there no letter is a mark
            pattern = os.path.join(glob.escape(folder), last) if os.path.isdir(folder) else name
            paths = [Path(match) for match in glob.glob(pattern, recursive=True)]
        else:
            raise UserError(f"{flag} {name}: no such file or folder")
    except OSError as error:
        raise UserError(f"{flag} {name}: cannot be read: {error.strerror}; name images that can") from error
    is_folder = os.path.isdir(name)
    read = (*list_suffixes(), *(VIDEO_SUFFIXES if flag == "--query" and not is_folder else ()))
    files = [path for path in paths if not path.name.startswith(".") and path.is_file()]
    images = sorted(path for path in files if path.suffix.lower() in read)
    below = []
    if is_folder:  # a pattern may mean what lies in folders
        below = sorted(path.name for path in paths if path.is_dir() and not path.name.startswith("."))
    others = Counter(path.suffix.lower() for path in files if path.suffix.lower() not in (*read, *SIDECARS))
    if not images:
        what = "a folder without images" if is_folder else "matches no image"
        way_out = f"; name a folder in it: {join_names(below)}" if below else ""
        raise UserError(f"{flag} {name}: {what} ({_describe_others(others, flag) if others else NAMES}){way_out}")
    if below:
        say(f"note: {name}: images of folders in it are not taken: {join_names(below)}")
    if others:
        count = "1 file" if others.total() == 1 else f"{others.total()} files"
        say(f"note: {name}: {count} passed over: {_describe_others(others, flag)}")
    return images


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _describe_others(others: Mapping[str, int], flag: str) -> str:
    """How many files there are of each suffix, and how to have them read."""
    ways_out = dict.fromkeys(HEIF_SUFFIXES, f" ({INSTALL_HEIF})")
    if flag == "--query":
        ways_out |= {suffix: f" (name them: '*{suffix}')" for suffix in VIDEO_SUFFIXES}
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    counts = [f"{count} {suffix or 'without suffix'}{ways_out.get(suffix, '')}" for suffix, count in ordered]
    return join_names(counts, 2 * MOST_NAMED)


def _list_beside(images: Sequence[Path]) -> list[Path]:
    """All that lies in the folders of images."""
    return [path for folder in {image.parent: None for image in images} for path in sorted(folder.iterdir())]


def find_masks(images: Sequence[Path], files: Sequence[Path]) -> dict[Path, list[Path]]:
    """For each image the files that are its mask by name: MASK_FORMS, in any case of letters."""
    by_name: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        by_name.setdefault((path.parent, path.name.casefold()), []).append(path)
    found: dict[Path, list[Path]] = {}
    for image in images:
        forms = {form.format(stem=image.stem, full=image.name).casefold(): None for form in MASK_FORMS}
        paths = [
            path for form in forms if form != image.name.casefold() for path in by_name.get((image.parent, form), ())
        ]
        found[image] = [path for path in paths if path.is_file() and not path.samefile(image)]
    return found


def find_numbered(image: Path, files: Sequence[Path]) -> list[Path]:
    """The masks of a support's objects, one each: NAME_mask_1.png, NAME_mask_2.png ..., or NAME_1.png, NAME_2.png ...

    They are numbered from 0 or 1 without a gap. NAME_1.png counts only where the image itself is no PNG. If one of them
    is an image that has a mask, or the mask of another image, by name, or if there are both kinds, there are none: such
    a series may be one of images.
    """
    pattern = re.compile(rf"{re.escape(image.stem)}(_mask)?_([0-9]{{1,4}})", re.IGNORECASE)
    kinds: dict[bool, dict[int, Path]] = {}
    beside = [path for path in files if path.parent == image.parent]
    for path in beside:
        found = pattern.fullmatch(path.stem)
        suffix = path.suffix.lower()
        if found and (suffix in SUFFIXES if found[1] else suffix == ".png" != image.suffix.lower()):
            kinds.setdefault(bool(found[1]), {})[int(found[2])] = path
    if len(kinds) != 1:
        return []
    (masks,) = kinds.values()
    numbers = sorted(masks)
    is_series = numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    images = [path for path in beside if path.suffix.lower() in list_suffixes() and path != image]
    theirs = {path for path, found in find_masks(images, beside).items() if found}
    theirs |= {mask for path in theirs for mask in find_masks([path], beside)[path]}
    return [masks[number] for number in numbers] if is_series and not theirs.intersection(masks.values()) else []


def _find_support_masks(images: Sequence[Path], files: Sequence[Path]) -> dict[Path, list[Path]]:
    """As :func:`find_masks`, with the numbered masks of images that have no other."""
    return {image: found or find_numbered(image, files) for image, found in find_masks(images, files).items()}


# What is in them


def read_image(path: str | Path) -> Image.Image:
    """An image file as RGB, upright. Raises UserError naming it if it is missing, damaged, or far too large."""
    return read_with_turn(path)[0]


def read_with_turn(path: str | Path) -> tuple[Image.Image, Turn | None]:
    """:func:`read_image`, and how the stored pixels were turned to be upright (None: they were)."""
    with open_picture(path) as image:
        image.load()
        turn = find_turn(image)
        picture = to_rgb(image)
    return (picture.transpose(turn) if turn is not None else picture), turn


class Checked(NamedTuple):
    """What is known of an image that can be read."""

    size: tuple[int, int]  # (width, height), not turned
    remarks: tuple[str, ...]  # what is not taken as the file has it


def check_image(path: str | Path) -> Checked:
    """Look at an image. Raises what :func:`read_image` would, for less work."""
    with open_picture(path) as image:
        size = image.size
        if image.format in LOSSY:  # of a JPEG all is read, but little is computed; a HEIC would give its thumbnail
            image.draft("L", (1, 1))
        image.load()
        remarks = []
        if (bits := count_bits(image)) < DEPTHS[-1] and image.mode.startswith("I"):
            remarks.append(f"{bits} bits in files of 16, stretched to the whole range")
        if is_invisible(image):
            remarks.append("transparent everywhere, so that its colours alone are taken")
        if image.format not in PREVIEWED and getattr(image, "is_animated", False):
            remarks.append("several pictures in one file, of which the first is taken")
    return Checked(size, tuple(remarks))


@contextmanager
def open_picture(path: str | Path, kind: str = "image") -> Iterator[Image.Image]:
    """A user's image file, not yet decoded; errors as those of dataset.images.open_image_file."""
    with dataset.images.open_image_file(path, kind, whole=False, describe=_describe_damage) as image:
        if kind == "image":  # a mask may be of floats
            check_pixels(image, path)
        yield image


def _describe_damage(error: Exception) -> str:
    reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
    return f"not an image, or damaged{reason}; replace it or leave it out"
