"""The episodes of the HSNet protocol, from the lists of an HSNet checkout's data/splits (design, section 5).

All draws are those of numpy's legacy generator seeded with 0, in order. Where HSNet counts classes from 0,
an episode here counts from 1, as the masks do.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset.episodes import Episode
from util.errors import UserError

EPISODES = 1000  # FSS-1000: one for each image
SIDE = 400  # images and masks are resized to this square
FSS_IMAGES = 10  # of each class
FSS_FIRST_TEST = 761  # the number of the first test class, after 520 to train on and 240 to validate


def plan_hsnet(dataset: str, splits: str | Path, fold: int, shot: int) -> list[Episode]:
    """The test episodes of a fold ("pascal", "coco") or of "fss", which has none.

    splits: the folder that holds pascal/val, coco/val and fss. A support can be drawn twice.
    Raises UserError naming the list that is missing, damaged or has too few images of a class.
    """
    rng = np.random.RandomState(0)
    folder = Path(splits) / dataset
    if dataset == "pascal":
        return _plan_pascal(folder / "val" / f"fold{fold}.txt", shot, rng)
    if dataset == "coco":
        return _plan_coco(folder / "val" / f"fold{fold}.pkl", fold, shot, rng)
    return _plan_fss(folder / "test.txt", shot, rng)


def novel_classes(dataset: str, fold: int, episodes: Sequence[Episode]) -> list[int]:
    """The classes whose mean the protocol reports, from 1: all of the fold, or (fss) all of its list."""
    if dataset == "pascal":
        return list(range(5 * fold + 1, 5 * fold + 6))
    if dataset == "coco":
        return _interleaved(fold)
    return sorted({episode.cls for episode in episodes})


def _interleaved(fold: int) -> list[int]:
    return list(range(fold + 1, 81, 4))


def _plan_pascal(path: Path, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """Queries in list order, around and around."""
    pairs = []
    for line in read_lines(path):
        image, separator, cls = line.partition("__")
        if not (separator and image and cls.isdigit() and 1 <= int(cls) <= 20):
            raise UserError(f"{path}: {line!r} is not IMAGE__CLASS, as in 2007_000033__01; import the list again")
        pairs.append((image, int(cls)))
    of_class: dict[int, list[str]] = {}
    for image, cls in pairs:
        of_class.setdefault(cls, []).append(image)
    _check(of_class, path)
    drawn = (pairs[number % len(pairs)] for number in range(EPISODES))
    return [Episode(query, cls, _supports(of_class[cls], query, shot, rng)) for query, cls in drawn]


def _plan_coco(path: Path, fold: int, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """A class, then a query of it."""
    content = load_containers(path)
    whole = isinstance(content, dict) and all(
        isinstance(cls, int) and isinstance(images, list) and all(isinstance(image, str) for image in images)
        for cls, images in content.items()
    )
    if not whole:
        raise UserError(f"{path}: not HSNet's lists of images by class; import the file again")
    classes = _interleaved(fold)
    of_class = {cls: [image.removesuffix(".jpg") for image in content.get(cls - 1, [])] for cls in classes}
    _check(of_class, path)
    episodes = []
    for _ in range(EPISODES):
        cls = _choice(classes, rng)
        query = _choice(of_class[cls], rng)
        episodes.append(Episode(query, cls, _supports(of_class[cls], query, shot, rng)))
    return episodes


def _plan_fss(path: Path, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """Every image is a query once, in the order in which the file names sort: 1, 10, 2, ..."""
    numbers = sorted(str(number) for number in range(1, FSS_IMAGES + 1))
    drawn_from = [str(number) for number in range(1, FSS_IMAGES + 1)]
    episodes = []
    for cls, name in enumerate(sorted(read_lines(path)), start=FSS_FIRST_TEST):
        for number in numbers:
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


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not empty."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list; --splits must be the data/splits of an HSNet checkout") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a list ({error})") from error
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"{path}: the list is empty")
    return lines


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
        raise UserError(f"{path}: no such list; --splits must be the data/splits of an HSNet checkout") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: not a pickle of plain lists ({error})") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise UserError(f"{path}: damaged or truncated; import it again") from error
