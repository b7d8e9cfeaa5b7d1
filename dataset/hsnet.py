"""The episodes of the HSNet protocol, from the lists of an HSNet checkout's data/splits (docs/method.md, section 5).

All draws are those of numpy's legacy generator seeded with 0, in order. Where HSNet counts classes from 0,
an episode here counts from 1, as the masks do.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dataset.coco import INTERLEAVED
from dataset.coco import novel_classes as coco_classes
from dataset.episodes import Episode
from dataset.fss import FIRST, IMAGES, file_order
from dataset.lists import read_lines
from dataset.pascal import novel_classes as pascal_classes
from util.errors import UserError

EPISODES = 1000  # FSS-1000: one for each image
SIDE = 400  # images and masks are resized to this square
GENERATED = "made from masks by prepare.py splits"  # near the start of such a list
MISSING = "--splits must be the data/splits of an HSNet checkout, or what prepare.py splits made"


def plan_hsnet(dataset: str, splits: str | Path, fold: int | None, shot: int) -> list[Episode]:
    """The test episodes of a fold ("pascal", "coco") or of "fss", which has none.

    splits: the folder that holds pascal/val, coco/val and fss. A support can be drawn twice.
    Raises UserError naming the list that is missing, damaged or has too few images of a class.
    """
    rng = np.random.RandomState(0)
    path = list_path(dataset, splits, fold)
    if dataset == "pascal":
        return _plan_pascal(path, shot, rng)
    if dataset == "coco":
        return _plan_coco(path, fold, shot, rng)
    return _plan_fss(path, shot, rng)


def list_path(dataset: str, splits: str | Path, fold: int | None) -> Path:
    """The list of a fold's test images (coco: our JSON where there is one, else HSNet's pickle) or fss test classes."""
    folder = Path(splits) / dataset
    if dataset == "fss":
        return folder / "test.txt"
    if dataset == "pascal":
        return folder / "val" / f"fold{fold}.txt"
    own = folder / "val" / f"fold{fold}.json"
    return own if own.is_file() else own.with_suffix(".pkl")


def is_generated(path: Path) -> bool:
    """Whether a list says that prepare.py made it from masks: its episodes are not HSNet's."""
    with suppress(OSError), path.open("rb") as file:
        return GENERATED.encode() in file.read(200)
    return False


def novel_classes(dataset: str, fold: int, episodes: Sequence[Episode]) -> list[int]:
    """The classes whose mean the protocol reports, from 1: all of the fold, or (fss) all of its list."""
    if dataset == "pascal":
        return pascal_classes(fold)
    if dataset == "coco":
        return coco_classes(fold, INTERLEAVED)
    return sorted({episode.cls for episode in episodes})


def _plan_pascal(path: Path, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """Queries in list order, around and around."""
    pairs = read_pairs(path)
    of_class: dict[int, list[str]] = {}
    for image, cls in pairs:
        of_class.setdefault(cls, []).append(image)
    _check(of_class, path)
    drawn = (pairs[number % len(pairs)] for number in range(EPISODES))
    return [Episode(query, cls, _supports(of_class[cls], query, shot, rng)) for query, cls in drawn]


def _plan_coco(path: Path, fold: int, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """A class, then a query of it."""
    lists = read_class_lists(path)
    classes = [cls for cls in coco_classes(fold, INTERLEAVED) if cls in lists or not is_generated(path)]
    of_class = {cls: lists.get(cls, []) for cls in classes}
    _check(of_class, path)
    if not classes:
        raise UserError(f"{path}: lists no class of fold {fold}; make it again")
    episodes = []
    for _ in range(EPISODES):
        cls = _choice(classes, rng)
        query = _choice(of_class[cls], rng)
        episodes.append(Episode(query, cls, _supports(of_class[cls], query, shot, rng)))
    return episodes


def _plan_fss(path: Path, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """Every image is a query once, in the order in which the file names sort: 1, 10, 2, ..."""
    drawn_from = [str(number) for number in range(1, IMAGES + 1)]
    episodes = []
    for cls, name in enumerate(sorted(read_lines(path, MISSING)), start=FIRST["test"]):
        for number in file_order():
            supports = _supports(drawn_from, number, shot, rng)
            episodes.append(Episode(f"{name}/{number}", cls, tuple(f"{name}/{support}" for support in supports)))
    return episodes


def _choice(items: Sequence[Any], rng: np.random.RandomState) -> Any:
    """RandomState.choice(items, 1, replace=False) draws a whole permutation."""
    return items[rng.permutation(len(items))[0]]


def _supports(images: Sequence[str], query: str, shot: int, rng: np.random.RandomState) -> tuple[str, ...]:
    """Drawn again only where equal to the query."""
    supports: list[str] = []
    while len(supports) < shot:
        support = _choice(images, rng)
        if support != query:
            supports.append(support)
    return tuple(supports)


def _check(of_class: dict[int, list[str]], path: Path) -> None:
    for cls, images in of_class.items():
        if len(set(images)) < 2:
            raise UserError(
                f"{path}: lists {len(set(images))} images of class {cls}, an episode needs 2; import it again"
            )


def read_pairs(path: Path) -> list[tuple[str, int]]:
    """(image, class) of a Pascal list's lines, such as 2007_000033__01, in order."""
    pairs = []
    for line in read_lines(path, MISSING):
        image, separator, cls = line.partition("__")
        if not (separator and image and cls.isdigit() and 1 <= int(cls) <= 20):
            raise UserError(f"{path}: {line!r} is not IMAGE__CLASS, as in 2007_000033__01; import the list again")
        pairs.append((image, int(cls)))
    return pairs


def read_class_lists(path: Path) -> dict[int, list[str]]:
    """A COCO list, {class from 1: images in order}: HSNet's own (a pickle, classes from 0) or ours (JSON)."""
    content = _load_json(path) if path.suffix == ".json" else load_containers(path)
    whole = isinstance(content, dict) and all(
        isinstance(cls, int) and isinstance(images, list) and all(isinstance(image, str) for image in images)
        for cls, images in content.items()
    )
    if not whole:
        raise UserError(f"{path}: not HSNet's lists of images by class; import the file again")
    # val2014/COCO_val2014_000000000042.jpg, of which the folder and the suffix are the dataset's matter
    return {cls + 1: [PurePosixPath(image).stem for image in images] for cls, images in content.items()}


def _load_json(path: Path) -> Any:
    """What prepare.py splits wrote: HSNet's content, whose keys JSON made strings."""
    try:
        return {int(cls): images for cls, images in json.loads(path.read_text(encoding="utf-8"))["classes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged, or not a list that prepare.py splits made; import it again") from error


class _ContainersOnly(pickle.Unpickler):
    """An unpickler that knows no class or function: what is left are builtin containers, str and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for a persistent object")


def load_containers(path: Path) -> Any:
    """A pickle of dicts, lists, str and int. Raises UserError, running nothing, on any other."""
    try:
        with path.open("rb") as file:
            return _ContainersOnly(file).load()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list; {MISSING}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: not a pickle of plain lists ({error})") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise UserError(f"{path}: damaged or truncated; import it again") from error
