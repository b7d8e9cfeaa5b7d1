"""HSNet's protocol: its random draws, and its lists, read without trust (docs/method.md, section 5).

Each dataset's module plans its episodes with these, from the lists of an HSNet checkout's data/splits. All draws are
those of numpy's legacy generator seeded with 0, in order. HSNet counts classes from 0; here they count from 1, as the
masks do.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataset.lists import image_id, read_lines
from util.errors import UserError, refusal
from util.files import TooLarge, is_name, read_json, read_within
from util.numbers import is_whole, whole_number
from util.progress import progress

LIST_BYTES = 2**26  # a COCO list may have so many; HSNet's have about 10 MB
MOST_CLASSES, MOST_IMAGES = 1000, 10**6  # such a list may hold so many, an image once for each of its classes
HSNET_SIDE = 400  # images and masks are resized to this square
IMPORTED = "HSNet"  # the source of a list that was imported
GENERATED = "made from masks by prepare.py splits"  # near the start of a list that was made so
MISSING = "pass the data/splits of an HSNet checkout, or what prepare.py splits made"


def add_source(lines: Iterable[str], source: str) -> list[str]:
    """The lines of a list; a source other than HSNet is named in a comment before them."""
    return [*([] if source == IMPORTED else [f"# {source}"]), *lines]


def group_by_class(pairs: Iterable[tuple[str, int]]) -> dict[int, list[str]]:
    """The images of each class of (image, class) pairs, in order."""
    of_class: dict[int, list[str]] = {}
    for image, cls in pairs:
        of_class.setdefault(cls, []).append(image)
    return of_class


def is_generated(path: Path) -> bool:
    """Whether a list says that prepare.py made it from masks: its episodes are not HSNet's."""
    with suppress(OSError), path.open("rb") as file:
        return GENERATED.encode() in file.read(200)
    return False


def count_drawn(episodes: int) -> Iterable[int]:
    """The numbers of episodes to draw, under a bar: each draw permutes the list, which may be long."""
    return progress(range(episodes), "drawing HSNet's episodes", episodes, "episode")


def draw_one(items: Sequence[Any], rng: np.random.RandomState) -> Any:
    """Draw as RandomState.draw_one(items, 1, replace=False) does: by a whole permutation."""
    return items[rng.permutation(len(items))[0]]


def draw_supports(images: Sequence[str], query: str, shot: int, rng: np.random.RandomState) -> tuple[str, ...]:
    """Draw supports as HSNet does; one is drawn again only if it equals the query, so that supports can repeat.

    images: the class's, in list order.
    """
    supports: list[str] = []
    while len(supports) < shot:
        support = draw_one(images, rng)
        if support != query:
            supports.append(support)
    return tuple(supports)


def check_lists(of_class: dict[int, list[str]], path: Path) -> None:
    """Raise UserError if a class has fewer than two images: a query and another support."""
    for cls, images in of_class.items():
        if len(set(images)) < 2:
            raise UserError(
                f"{path}: lists {len(set(images))} images of class {cls}, an episode needs 2; import it again"
            )


def read_pairs(path: Path, classes: int = 20) -> list[tuple[str, int]]:
    """(image, class) of a list's lines, such as 2007_000033__01, in order. classes: how many there are."""
    pairs = []
    for line in read_lines(path, MISSING):
        image, _, cls = line.rpartition("__")
        if not (is_name(image) and is_whole(cls) and 1 <= int(cls) <= classes):
            raise UserError(f"{path}: {line!r:.80} is not IMAGE__CLASS, as in 2007_000033__01; import the list again")
        pairs.append((image, int(cls)))
    return pairs


def read_class_lists(path: Path) -> dict[int, list[str]]:
    """A COCO list, {class from 1: images in order}: HSNet's own (a pickle, classes from 0) or ours (JSON)."""
    content = _load_json(path) if path.suffix == ".json" else load_containers(path)
    whole = (
        isinstance(content, dict)
        and all(type(cls) is int and 0 <= cls < MOST_CLASSES for cls in content)
        and all(isinstance(images, list) for images in content.values())
        and sum(map(len, content.values())) <= MOST_IMAGES  # a pickle may name one list for many classes
        and all(isinstance(image, str) and len(image) < 4096 for images in content.values() for image in images)
    )
    if not whole:
        raise UserError(f"{path}: not HSNet's lists of images by class; import the file again")
    # val2014/COCO_val2014_000000000042.jpg, of which the folder and the suffix are the dataset's matter
    lists = {cls + 1: list(map(image_id, images)) for cls, images in content.items()}
    if not all(map(is_name, chain(*lists.values()))):
        raise UserError(f"{path}: names an image by a path that is none; import the file again")
    return lists


def _load_json(path: Path) -> Any:
    """What prepare.py splits wrote: HSNet's content, whose keys JSON made strings."""
    try:
        return {whole_number(cls): images for cls, images in read_json(path, LIST_BYTES)["classes"].items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged, or not a list that prepare.py splits made; import it again") from error


class _ContainersOnly(pickle._Unpickler):
    """An unpickler that knows no class or function: what is left are builtin containers, str and numbers.

    It is pickle's own in Python: the one in C makes room for as many objects as a file of a few bytes says it has.
    """

    # Without BYTEARRAY8, which makes an object as large as it is said to be.
    dispatch: ClassVar = {
        code: read for code, read in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_containers(path: Path) -> Any:
    """A pickle of dicts, lists, str and int. Raises UserError, running nothing, on any other."""
    try:
        return _ContainersOnly(BytesIO(read_within(path, LIST_BYTES))).load()
    except MemoryError:
        raise
    except TooLarge as error:
        raise UserError(f"{path}: {error}; import the file again") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such list; {MISSING}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused: not a pickle of plain lists ({error})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise UserError(f"{path}: damaged or truncated; import it again") from error
