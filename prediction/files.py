"""A user's own images: which files are meant, and each as people see it, upright and in RGB."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

import dataset.images
from dataset.images import check_pixels, to_rgb
from util.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of images in folders
MOST_NAMED = 5  # names that a message lists
MASK_NAMES = ("{}.png", "{}_mask.png", "{}.json")  # beside an image, with its stem
Turn = Image.Transpose
TURNS = {  # what makes an image upright, by its EXIF orientation
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip


# Which files


def find_images(names: Sequence[str], flag: str, left_out: Collection[Path] = ()) -> list[Path]:
    """The image files that are named: files, all images of folders (not of folders in them), quoted patterns.

    Each file once, in the order of the names, folders and patterns sorted. left_out: files, such as the masks
    of supports, that folders and patterns do not mean. Raises UserError if a name means none.
    """
    unwanted = {os.path.abspath(path) for path in left_out}
    found: dict[str, Path] = {}
    for name in names:
        files = [Path(name)]
        if not os.path.isfile(name):
            files = [path for path in _list_images(name, flag) if os.path.abspath(path) not in unwanted]
        if not files:
            raise UserError(f"{flag} {name}: holds nothing but masks of supports; name other images")
        for path in files:
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def find_supports(names: Sequence[str], masks: Sequence[str] | None = None) -> list[tuple[Path, Path]]:
    """Each support's image and mask: the masks as given, in order, or found beside the images (MASK_NAMES).

    names: as for :func:`find_images`, but with masks files only. A file that is another one's mask is no support.
    Raises UserError naming what is missing or ambiguous.
    """
    if masks:
        for name in names:
            if not os.path.isfile(name):
                raise UserError(f"--support {name}: no such file; with --mask, name every image by itself")
        for name in masks:
            if os.path.exists(name) and not os.path.isfile(name):
                raise UserError(f"--mask {name}: is no file; name a PNG, or a JSON of LabelMe")
        if len(masks) != len(names):
            raise UserError(f"--mask names {len(masks)} files for {len(names)} of --support; name one mask for each")
        return [(Path(image), Path(mask)) for image, mask in zip(names, masks, strict=True)]
    images = find_images(names, "--support")
    pairs = [(path, _find_masks(path)) for path in images]
    taken = {mask for _, found in pairs for mask in found}
    pairs = [(path, found) for path, found in pairs if path not in taken]
    if missing := [str(path) for path, found in pairs if not found]:
        forms = ", ".join(form.format("NAME") for form in MASK_NAMES)
        raise UserError(f"no mask beside {_join(missing)}: it is looked for as {forms}; or name it with --mask")
    for path, found in pairs:
        if len(found) > 1:
            raise UserError(f"{path}: {len(found)} masks beside it: {_join(found)}; name the right one with --mask")
    return [(path, found[0]) for path, found in pairs]


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
    """The images in a folder, or that match a pattern, sorted."""
    try:
        if os.path.isdir(name):
            paths = list(Path(name).iterdir())
        elif any(mark in name for mark in "*?["):
            folder, last = os.path.split(name)  # of a folder that is there no letter is a mark
            pattern = os.path.join(glob.escape(folder), last) if os.path.isdir(folder) else name
            paths = [Path(match) for match in glob.glob(pattern, recursive=True)]
        else:
            raise UserError(f"{flag} {name}: no such file or folder")
    except OSError as error:
        raise UserError(f"{flag} {name}: cannot be read: {error.strerror}; name images that can") from error
    images = [x for x in paths if x.suffix.lower() in SUFFIXES and not x.name.startswith(".") and x.is_file()]
    if not images:
        what = "a folder without images" if os.path.isdir(name) else "matches no image"
        raise UserError(f"{flag} {name}: {what} ({' '.join(SUFFIXES)})")
    return sorted(images)


def _find_masks(image: Path) -> list[Path]:
    candidates = (image.with_name(form.format(image.stem)) for form in MASK_NAMES)
    return [path for path in candidates if path.is_file() and not path.samefile(image)]


def _join(items: Sequence[object]) -> str:
    """A list for people, cut short."""
    more = f" and {len(items) - MOST_NAMED} more" if len(items) > MOST_NAMED else ""
    return ", ".join(map(str, items[:MOST_NAMED])) + more


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


def check_image(path: str | Path) -> tuple[int, int]:
    """The two sides of an image, in pixels, not turned. Raises what :func:`read_image` would, for less work."""
    with open_picture(path) as image:
        size = image.size
        image.draft("L", (1, 1))  # of a JPEG file all is read, but little is computed
        image.load()
    return size


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


def find_turn(image: Image.Image) -> Turn | None:
    """What makes a decoded image upright, by its EXIF orientation."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged EXIF: viewers show the pixels as they are stored
        return None
