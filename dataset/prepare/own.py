"""Write a folder of one's own labelled images, which --dataset own reads (docs/own.md).

A source reads the files of some tool, such as COCO's JSON, and gives its images one by one; what is written is the same
for all of them. annotations.jsonl is written first, so that a folder of images is known to be ours, dataset.json last,
so that a folder without it is known to be unfinished.
"""

from __future__ import annotations

import filecmp
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coding

from dataset.episodes import MIN_PIXELS
from dataset.images import check_pixels, open_image_file, read_rgb
from dataset.lists import SUFFIXES
from dataset.own import DATASET, FORMAT, IMAGES, LISTS, LONGEST_NAME, check_dataset, is_held_out, read_dataset
from dataset.run_lengths import ANNOTATIONS
from dataset.turns import SIDEWAYS, find_turn
from util.errors import UserError, join_names, printable, refusal
from util.files import LEFTOVER, atomic_write, check_writable, is_name, remove_leftovers
from util.locks import only_one
from util.processes import map_files
from util.progress import progress
from util.table import align_columns

FAULTS_SHOWN = 5  # of each kind
CLASSES_SHOWN = 30  # rows of the table
# Folders that tell the list of an image, and no class
LIST_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test", "testing")}
SPLITS = (*LIST_FOLDERS["train"], *LIST_FOLDERS["val"])


class Labelled(NamedTuple):
    """One image of a source, with its labels."""

    image: str  # id: its path in the folder of images without suffix, "/" between folders
    file: Path  # where the image file is now
    size: tuple[int, int]  # height, width, of the image that the labels were drawn on
    classes: dict[str, bytes]  # class name -> COCO's compressed run lengths of the union of its objects
    ignored: bytes | None = None  # the same of pixels that count for nothing
    content: Callable[[], bytes] | None = None  # gives the image file where ``file`` is the JSON that holds it


class Fault(NamedTuple):
    """An image that cannot be taken."""

    what: str  # one line that names the file and the way out
    kind: str = "labels"  # word under which faults are counted


class Source(NamedTuple):
    """The labelled images of a dataset in the layout of some tool."""

    classes: list[str]  # names in the source's order
    count: int  # images that images() gives at most
    images: Callable[[], Iterator[Labelled | Fault]]  # lazily, in a fixed order
    lists: dict[str, list[str]] | None = None  # "train" and "val" -> ids, where the source says it; as of notes
    notes: Sequence[str] = ()  # what was left out of the labels, counted; images() may add to them


def join_sources(of_list: Mapping[str, Source]) -> Source:
    """Several sources as one. of_list: the source of each list; without one for "train" there is no training."""
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    notes: list[str] = []

    def give() -> Iterator[Labelled | Fault]:
        for name, source in of_list.items():
            lists[name].clear()
            for item in source.images():
                lists[name] += [item.image] if isinstance(item, Labelled) else []
                yield item
        notes[:] = [note for source in of_list.values() for note in source.notes]

    classes = dict.fromkeys(name for source in of_list.values() for name in source.classes)
    return Source(list(classes), sum(source.count for source in of_list.values()), give, lists, notes)


class Choices(NamedTuple):
    """What a person chooses for dataset.json; None: nothing."""

    name: str | None = None
    folds: int | None = None  # number of folds; 0: none, every class is novel
    interleaved: bool = False  # every n-th class in a fold, else neighbours
    novel: Sequence[str] | None = None  # the novel classes of the only fold
    min_pixels: int | None = None
    episodes: int | None = None
    crop_size: int | None = None
    draw: str | None = None  # of dataset.own.DRAWS


class _Picture(NamedTuple):
    """Where the image file of an id comes from."""

    file: Path
    content: Callable[[], bytes] | None
    suffix: str  # that it gets; .png where it has to be written anew
    is_converted: bool
    turned: bool  # by its EXIF, though its size is the labels'


class _Collected(NamedTuple):
    """What a source gave."""

    lines: dict[str, bytes]  # of annotations.jsonl by id, sorted
    pictures: dict[str, _Picture]
    faults: list[Fault]
    images: Counter[str]  # by class
    pixels: Counter[str]  # by class
    tested: Counter[str]  # images that are tested and show enough of the class for an episode, by class
    lists: dict[str, list[str]] | None  # the source's, else those that the folders tell


def write_own(
    out: Path,
    source: Source,
    choices: Choices,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    copy: bool = False,
    again: bool = False,
    min_images: int = 1,
    workers: int | None = None,
) -> list[str]:
    """Write a source as a folder for --dataset own. A run that was killed is gone on with by the same call.

    Arguments:
        out: the folder; new, empty, or written here before.
        source: images with labels.
        choices: for dataset.json.
        classes: only these, in this order; None for all of the source that an image shows.
        strict: the first image that cannot be taken is an error; else such images are left out.
        copy: copy the image files instead of linking them.
        again: replace a finished folder of other content.
        min_images: leave out classes that fewer of the tested images show on choices.min_pixels pixels; 1: none.
        workers: processes that open the images, all cores by default.
    Returns:
        Lines for people: what was written, and what was left out.
    Raises:
        UserError: the folder holds something else, the source holds nothing, a class is not there.
    """
    out = Path(os.path.abspath(out))
    check_classes(source.classes, out.name)
    if classes is not None:
        check_classes(classes, "--classes")
        check_known("--classes", classes, source.classes)
    name = check_name(choices.name or out.name)
    check_writable(out.parent)
    with only_one(out, "the making of a dataset"):
        _check_top(out)
        found = _collect(source, source.classes if classes is None else classes, strict, choices, workers)
        if not found.lines:
            first = f"; the first: {found.faults[0].what}" if found.faults else ""
            raise UserError(f"{out}: no image of the source can be taken, of {source.count}{first}")
        kept = _keep_shown(classes, source, found.images)
        rare = [name for name in kept if min_images > 1 and found.tested[name] < min_images]
        kept = [name for name in kept if name not in rare]
        if not kept:
            raise UserError(f"--min-images {min_images}: no class is in so many images; lower it, or --min-pixels")
        content: dict[str, Any] = {"format": FORMAT, "name": name, "classes": kept}
        notes = list(source.notes)
        if found.lists:
            if source.lists is None:
                counts = ", ".join(f"{key} has {len(ids)} images" for key, ids in found.lists.items())
                notes.append(f"the folders tell the lists: {counts}; --test-all tests all")
            lists = {key: [image for image in ids if image in found.lines] for key, ids in found.lists.items()}
            content["lists"] = {key: ids for key, ids in lists.items() if ids or key == "train"}
        description = _join_description(describe(content, choices))
        refused = _fill(out, found, description, copy, again)
    if rare:
        notes.append(f"{len(rare)} classes that fewer than {min_images} images show are left out: {join_names(rare)}")
    if unseen := [one for one in source.classes if classes is None and one not in (*kept, *rare)]:
        notes.append(f"{len(unseen)} classes that no image shows are left out: {join_names(unseen)}")
    if refused:
        notes.append(f"{out}: takes no links, so {refused} images are copied")
    how = "copied" if copy or refused else "linked"
    return [*_summarize(out, found, kept, how), *(f"note: {note}" for note in notes)]


def describe_again(out: Path, choices: Choices) -> dict[str, Any]:
    """Write dataset.json of a finished folder anew, with other choices; what is not chosen stays. Returns it."""
    path = Path(os.path.abspath(out)) / DATASET
    with only_one(path.parent, "the making of a dataset"):
        missing = f"{path}: no such file; name what to make it from, such as --coco FILE --images DIR"
        content = describe(read_dataset(path, missing), choices)
        with atomic_write(path) as file:
            file.write(_join_description(content))
    return content


def describe(content: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """What dataset.json says, with a person's choices in place of what it said before."""
    chosen = {key: getattr(choices, key) for key in ("min_pixels", "episodes", "crop_size", "draw")}
    chosen["name"] = choices.name and check_name(choices.name)
    classes = content["classes"]
    if choices.novel is not None:
        check_known("--novel", choices.novel, classes)
        if len(choices.novel) == len(classes):
            raise UserError("--novel names every class; leave some to train on")
        chosen["folds"] = [list(choices.novel)]
    elif choices.folds:
        chosen["folds"] = cut_folds(classes, choices.folds, choices.interleaved)
    described = {**content, **{key: value for key, value in chosen.items() if value is not None}}
    if choices.folds == 0:
        described.pop("folds", None)
    try:
        check_dataset(described)
    except ValueError as error:
        raise UserError(f"{DATASET}: {error}") from error
    return described


def cut_folds(classes: Sequence[str], count: int, interleaved: bool = False) -> list[list[str]]:
    """The novel classes of each fold: neighbours, the first folds with one more where a rest is left; or every n-th."""
    if count > len(classes):
        raise UserError(f"--folds {count}: there are {len(classes)} classes; pass at most so many")
    if interleaved:
        return [list(classes[fold::count]) for fold in range(count)]
    return [[classes[n] for n in part] for part in np.array_split(range(len(classes)), count)]


def check_name(name: str) -> str:
    """The name of a dataset, which tables show. Raises UserError if it cannot be one."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        shown = printable(name)[: LONGEST_NAME + 1]
        raise UserError(f"--name {shown!r}: pass 1 to {LONGEST_NAME} letters that can be printed")
    return name


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raise UserError unless the names of classes can be printed and differ."""
    if not classes:
        raise UserError(f"{where}: there are no classes")
    for name, count in Counter(classes).items():
        if not name or not name.isprintable() or name != name.strip():
            raise UserError(f"{where}: {name!r:.60} cannot be the name of a class; rename it")
        if count > 1:
            raise UserError(f"{where}: the class {name} is there {count} times; rename one")


def check_known(flag: str, names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise UserError if a flag names a class that is not there, or twice."""
    if unknown := [name for name in names if name not in classes]:
        raise UserError(f"{flag}: no class {unknown[0]!r:.60}; there are {join_names(classes, 12)}")
    if len(set(names)) < len(names):
        raise UserError(f"{flag}: names a class twice")


def encode_union(masks: Sequence[Mapping[str, Any]]) -> bytes:
    """The compressed counts of the union of run-length codes, b"" if it covers no pixel."""
    union = coding.merge(list(masks))
    return union["counts"] if coding.area(union) else b""


def join_regions(
    regions: Mapping[str, Sequence[Mapping[str, Any]]], boxes: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, bytes], bytes | None]:
    """The run lengths of each class, and of what counts for nothing: the boxes of classes that are outlined here too.

    Which pixels of a box are the object is not known. It matters in the images of an episode of its class alone, and
    these are images with an outline of the class.

    Arguments:
        regions, boxes: run-length codes of outlined objects, and of boxes without an outline, by class.
    """
    codes = {name: counts for name, some in regions.items() if (counts := encode_union(some))}
    unknown = [box for name, some in boxes.items() if name in codes for box in some]
    return codes, (encode_union(unknown) or None) if unknown else None


# What the source gives


def _collect(source: Source, classes: Sequence[str], strict: bool, choices: Choices, workers: int | None) -> _Collected:
    known = set(source.classes)
    items = list(progress(source.images(), "reading labels", source.count, "image"))
    labelled = [item for item in items if isinstance(item, Labelled)]
    lists = lists_of_folders([item.image for item in labelled]) if source.lists is None else source.lists
    found = _Collected({}, {}, [], Counter(), Counter(), Counter(), lists)
    min_pixels, is_tested = choices.min_pixels or MIN_PIXELS, _tested_images(lists, choices)
    of_each = ([getattr(item, key) for item in labelled] for key in ("file", "size", "content"))
    pictures = map_files(_examine, *of_each, count=len(labelled), what="opening images", unit="image", workers=workers)
    for item in items:
        fault = (
            item
            if isinstance(item, Fault)
            else _take(item, next(pictures), found, known, classes, min_pixels if is_tested(item.image) else None)
        )
        if fault:
            if strict:
                raise UserError(fault.what)
            found.faults.append(fault)
    return found._replace(lines=dict(sorted(found.lines.items())))


def lists_of_folders(images: Sequence[str]) -> dict[str, list[str]] | None:
    """The lists of images of which each lies in a folder of LIST_FOLDERS; None unless all do, and both are there."""
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    for image in images:
        folders = [part.lower() for part in image.split("/")[:-1]]
        name = next((name for part in folders for name, parts in LIST_FOLDERS.items() if part in parts), None)
        if name is None:
            return None
        lists[name].append(image)
    return lists if all(lists.values()) else None


def _tested_images(lists: Mapping[str, list[str]] | None, choices: Choices) -> Callable[[str], bool]:
    """What tells whether an image is tested, as dataset.own has it."""
    if lists and "val" in lists:
        return set(lists["val"]).__contains__
    return is_held_out if choices.folds or choices.novel else lambda image: True


def _take(
    item: Labelled,
    picture: _Picture | Fault,
    found: _Collected,
    known: set[str],
    classes: Sequence[str],
    min_pixels: int | None,
) -> Fault | None:
    """Add an image to what was found, or say why it cannot be taken. min_pixels: None if the image is not tested."""
    if not all(map(is_name, item.image.split("/"))):
        return Fault(f"{printable(str(item.file))}: its name cannot be printed, or leads elsewhere; rename it", "name")
    if item.image in found.pictures:
        other = found.pictures[item.image].file
        which = "is listed twice; list it once" if other == item.file else f"has the name of {other}; rename one"
        return Fault(f"{item.file}: {which}", "image twice")
    if unknown := item.classes.keys() - known:
        return Fault(f"{item.file}: of a class {min(unknown)!r:.60} that the source does not list", "unknown class")
    if isinstance(picture, Fault):
        return picture
    codes = {name: item.classes[name] for name in classes if item.classes.get(name)}
    for name, counts in codes.items():
        found.images[name] += 1
        pixels = int(coding.area({"size": item.size, "counts": counts}))
        found.pixels[name] += pixels
        found.tested[name] += min_pixels is not None and pixels >= min_pixels
    line = {"image": item.image, "size": item.size, "classes": {name: x.decode() for name, x in codes.items()}}
    if item.ignored:
        line["ignored"] = item.ignored.decode()
    found.lines[item.image] = f"{json.dumps(line, separators=(',', ':'), sort_keys=True)}\n".encode()
    found.pictures[item.image] = picture
    return None


def _examine(file: Path, size: tuple[int, int], content: Callable[[], bytes] | None) -> _Picture | Fault:
    """Open an image file and decode it; a fault if it is missing, damaged, or not of the labels' size."""
    try:
        opened = file if content is None else _Named(content(), file)
        suffix = file.suffix if content is None else name_suffix(opened.getvalue())
        with open_image_file(opened, "image", whole=False) as image:
            check_pixels(image, file)
            turn = find_turn(image) if "exif" in image.info else None
            if (image.height, image.width) != tuple(size):
                shown = f"{image.width}x{image.height} pixels, its labels are of {size[1]}x{size[0]}"
                if find_turn(image) in SIDEWAYS and image.size == tuple(size):
                    why = "they were drawn on the image as its EXIF turns it; save the image upright, without EXIF"
                    return Fault(f"{file}: {shown}: {why}", "image")
                return Fault(f"{file}: {shown}; replace one of the two", "image")
            image.load()  # an image that is cut off fails here
    except UserError as error:
        return Fault(str(error), "image")
    is_converted = suffix.lower() not in SUFFIXES
    return _Picture(file, content, ".png" if is_converted else suffix, is_converted, turn is not None)


class _Named(BytesIO):
    """The content of an image file, called by the name of the file that holds it in messages."""

    def __init__(self, content: bytes, file: Path) -> None:
        super().__init__(content)
        self.file = file

    def __str__(self) -> str:
        return f"{self.file}: the image in it"

    __repr__ = __str__  # which Pillow says


def name_suffix(content: bytes) -> str:
    """The suffix of an image file by its first bytes, "" if it is neither JPEG nor PNG."""
    heads = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}
    return next((suffix for head, suffix in heads.items() if content.startswith(head)), "")


def _keep_shown(chosen: Sequence[str] | None, source: Source, images: Counter[str]) -> list[str]:
    """The classes that are kept: those that a person chose, else those that an image shows."""
    if chosen is None:
        kept = [name for name in source.classes if images[name]]
        if not kept:
            why = "".join(f" ({note})" for note in source.notes[:1])
            raise UserError(f"no image shows an object of any class{why}; name a source with masks or polygons")
        return kept
    if empty := [name for name in chosen if not images[name]]:
        raise UserError(f"--classes: no image shows {join_names(empty)}; leave it out")
    return list(chosen)


# The folder


def _check_top(out: Path) -> None:
    """Raise UserError if a folder holds what is not written here."""
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder to write")
    remove_leftovers(out)
    names = {path.name for path in out.iterdir() if not LEFTOVER.fullmatch(path.name)}
    foreign = sorted(names - {DATASET, ANNOTATIONS, IMAGES})
    if not foreign and IMAGES in names and ANNOTATIONS not in names:
        foreign = [IMAGES]
    if foreign:
        what = f"holds {join_names(list(map(printable, foreign)))}, which is not written here"
        raise UserError(f"{out}: {what}; name a new folder with --out")


def _fill(out: Path, found: _Collected, description: bytes, copy: bool, again: bool) -> int:
    """Write the folder, or what it lacks; gives how many links were refused. Raises UserError if it is another's."""
    annotations = b"".join(found.lines.values())
    is_there = (out / DATASET).is_file()
    is_same = is_there and (out / DATASET).read_bytes() == description
    is_same = is_same and (out / ANNOTATIONS).is_file() and (out / ANNOTATIONS).read_bytes() == annotations
    if is_there and not is_same and not again:
        raise UserError(f"{out}: holds another dataset; --again replaces it, or name another --out")
    targets = {f"{image}{picture.suffix}": picture for image, picture in found.pictures.items()}
    stale = _find_stale(out, targets)
    try:
        if not is_same:  # from here on the folder is unfinished
            (out / DATASET).unlink(missing_ok=True)
        for path in stale:
            path.unlink()
        if not is_same:
            with atomic_write(out / ANNOTATIONS) as file:
                file.write(annotations)
        named = progress(targets.items(), "copying" if copy else "linking", len(targets), "image")
        refused = sum(_place(picture, out / IMAGES / name, copy) for name, picture in named)
        _remove_empty(out / IMAGES)
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written: {refusal(error)}") from error
    if not is_same:
        with atomic_write(out / DATASET) as file:
            file.write(description)
    return refused


def _find_stale(out: Path, targets: Mapping[str, _Picture]) -> list[Path]:
    """Images of the dataset that was here before, which the new one lacks. Raises UserError on files of others."""
    before = _read_images(out / ANNOTATIONS)
    stale = []
    for folder, _, names in os.walk(out / IMAGES):
        remove_leftovers(Path(folder))
        for path in (Path(folder, name) for name in names):
            inside = path.relative_to(out / IMAGES).as_posix()
            if inside in targets or not os.path.lexists(path):
                continue
            if os.path.splitext(inside)[0] not in before and not LEFTOVER.fullmatch(path.name):
                raise UserError(f"{path}: is not written here; move it away, or name a new folder with --out")
            stale.append(path)
    return stale


def _read_images(path: Path) -> set[str]:
    """The ids in an annotations.jsonl, if it is there."""
    if not path.is_file():
        return set()
    try:
        with path.open("rb") as file:
            return {json.loads(line)["image"] for line in file}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: is not written here; move it away, or name a new folder with --out") from error


def _place(picture: _Picture, target: Path, copy: bool) -> bool:
    """Link or write an image file; one that is there as it should be stays. Tells whether a link was refused."""
    target.parent.mkdir(parents=True, exist_ok=True)
    is_link = target.is_symlink()
    if picture.content is not None or picture.is_converted:
        content = _encode(picture)
        if is_link or not target.is_file() or target.read_bytes() != content:
            _write(target, is_link, [content])
        return False
    if not copy and _link(picture.file, target):
        return False
    if is_link or not target.is_file() or not filecmp.cmp(picture.file, target, shallow=False):
        with picture.file.open("rb") as file:
            _write(target, is_link, iter(lambda: file.read(2**20), b""))
    return not copy


def _link(file: Path, target: Path) -> bool:
    """Link a file by its absolute path; False where the file system has no links."""
    place = os.path.abspath(file)
    if target.is_symlink() and os.readlink(target) == place:
        return True
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(place)
    except OSError:  # what else it may be, such as a full disk, the copy will say
        return False
    return True


def _write(target: Path, is_link: bool, blocks: Iterator[bytes] | Sequence[bytes]) -> None:
    if is_link:  # which would be followed to somebody's image
        target.unlink()
    with atomic_write(target) as file:
        file.writelines(blocks)


def _encode(picture: _Picture) -> bytes:
    """The image file of what is embedded in a JSON, or has to be written anew as PNG."""
    content = None if picture.content is None else picture.content()
    if content is not None and not picture.is_converted:
        return content
    with BytesIO() as file:
        image: Image.Image = read_rgb(picture.file if content is None else _Named(content, picture.file))
        image.save(file, "PNG")
        return file.getvalue()


def _remove_empty(folder: Path) -> None:
    """Remove the folders in a folder that hold nothing."""
    for path, _, _ in os.walk(folder, topdown=False):
        if path != str(folder) and not os.listdir(path):
            os.rmdir(path)


def _join_description(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)}\n".encode()


# For people


def _summarize(out: Path, found: _Collected, classes: Sequence[str], how: str) -> list[str]:
    """What was written and left out, in lines."""
    with_objects = sum(b'"classes":{}' not in line for line in found.lines.values())
    lines = [f"{out}: {len(found.lines)} images, {with_objects} of them with objects, {len(classes)} classes, {how}"]
    rows = [[name, str(found.images[name]), str(found.pixels[name])] for name in islice(classes, CLASSES_SHOWN)]
    lines += align_columns([["class", "images", "pixels"], *rows])
    if len(classes) > CLASSES_SHOWN:
        lines.append(f"... and {len(classes) - CLASSES_SHOWN} more classes")
    converted = [picture.file for picture in found.pictures.values() if picture.is_converted]
    turned = [picture.file for picture in found.pictures.values() if picture.turned]
    if converted:
        lines.append(f"note: {len(converted)} images are written anew as PNG, such as {converted[0]}")
    if turned:
        what = "have an EXIF turn; their labels are taken as drawn on the pixels as they are stored"
        lines.append(f"note: {len(turned)} images {what}, such as {turned[0]}")
    for kind, count in Counter(fault.kind for fault in found.faults).items():
        lines.append(f"left out, {kind}: {count} of {len(found.lines) + len(found.faults)} images")
        texts = (fault.what for fault in found.faults if fault.kind == kind)
        lines += [f"  {what}" for what in islice(texts, FAULTS_SHOWN)]
        lines += [f"  and {count - FAULTS_SHOWN} more"] if count > FAULTS_SHOWN else []
    return lines
