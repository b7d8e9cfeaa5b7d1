"""Lists for HSNet's protocol in plain text and JSON: taken over from an HSNet checkout, or made from masks."""

from __future__ import annotations

import json
from pathlib import Path

from dataset import DATASETS, class_index, coco, fss, pascal
from dataset.episodes import MIN_PIXELS
from dataset.hsnet import GENERATED, list_path, read_class_lists, read_pairs
from dataset.lists import read_lines, write_lines
from util.errors import UserError

FOLDS = range(4)


def import_lists(source: Path, out: Path) -> list[Path]:
    """Write the lists of an HSNet checkout's data/splits, in their order, as text (pascal, fss) and JSON (coco).

    Pickles are read by an unpickler that knows containers, str and int only. Returns what was written.
    Raises UserError where a list is damaged or where there is none at all.
    """
    content: dict[Path, list[str]] = {}
    for fold in FOLDS:
        if (source / "pascal").is_dir():
            pairs = read_pairs(list_path("pascal", source, fold))
            content[list_path("pascal", out, fold)] = _pascal_lines(pairs)
        if (source / "coco").is_dir():
            lists = read_class_lists(list_path("coco", source, fold))
            content[_coco_path(out, fold)] = [_coco_json("HSNet", lists)]
    if (source / "fss").is_dir():
        for part in fss.PARTS:
            content[out / "fss" / fss.LISTS[part]] = fss.class_list(source / "fss", part)
    if not content:
        raise UserError(f"{source}: holds none of pascal, coco and fss; name the data/splits of an HSNet checkout")
    return _write(content)


def generate_lists(dataset: str, root: Path, out: Path, workers: int | None = None) -> list[Path]:
    """Write lists made from a dataset's own masks: each test image with each class that is large enough in it.

    Their episodes are not HSNet's, which every list says in its first line. Returns what was written.
    """
    note = f"# {GENERATED}"
    if dataset == "fss":
        names = fss.class_list(fss.lists_folder(root, None), "test")
        return _write({list_path("fss", out, None): [note, *names]})
    images = DATASETS[dataset].image_set(root, "val")
    index = class_index(images, workers)
    pairs = sorted((image, cls) for image, found in index.items() for cls, n in found.items() if n >= MIN_PIXELS)
    content = {}
    for fold in FOLDS:
        if dataset == "pascal":
            of_fold = [(image, cls) for image, cls in pairs if cls in pascal.novel_classes(fold)]
            if not of_fold:
                raise UserError(f"{images.masks}: no mask holds {MIN_PIXELS} pixels of a class of fold {fold}")
            content[list_path("pascal", out, fold)] = [note, *_pascal_lines(of_fold)]
        else:
            of_class = {
                cls: [image for image, other in pairs if other == cls]
                for cls in coco.novel_classes(fold, coco.INTERLEAVED)
            }
            held = {cls: found for cls, found in of_class.items() if found}
            content[_coco_path(out, fold)] = [_coco_json(GENERATED, held)]
    return _write(content)


def derive_fss_lists(test: list[str], everything: list[str]) -> dict[str, list[str]]:
    """The three lists of FSS-1000 from the official list of test classes and all class folders.

    The official list does not say which of the others validate: here every n-th of them in order of names, 240 of 760.
    """
    others = sorted(set(everything) - set(test))
    share = fss.COUNTS["select"] / (fss.COUNTS["select"] + fss.COUNTS["train"])
    chosen = [int((number + 1) * share) > int(number * share) for number in range(len(others))]
    return {
        "train": [name for name, taken in zip(others, chosen, strict=True) if not taken],
        "select": [name for name, taken in zip(others, chosen, strict=True) if taken],
        "test": sorted(test),
    }


def read_official_list(path: Path) -> list[str]:
    """Class names of a list, one a line or separated by commas."""
    lines = read_lines(path, "name the list of FSS-1000's 240 test classes")
    return [name.strip(" '\"[]") for line in lines for name in line.split(",") if name.strip(" '\"[]")]


def write_fss_lists(lists: dict[str, list[str]], root: Path) -> None:
    """Write splits/trn.txt, val.txt and test.txt of FSS-1000. Raises UserError where root holds few of the classes."""
    names = [name for part in lists.values() for name in part]
    absent = [name for name in names if not (root / name).is_dir()]
    if len(absent) > len(names) / 2:
        raise UserError(
            f"{root}: {len(absent)} of the {len(names)} listed classes are not there, {absent[0]} the first; "
            "unpack all of them, or keep the dataset's own lists"
        )
    folder = fss.lists_folder(root, None)
    _write({folder / fss.LISTS[part]: names for part, names in lists.items()})


def _coco_path(out: Path, fold: int) -> Path:
    return out / "coco" / "val" / f"fold{fold}.json"


def _coco_json(source: str, lists: dict[int, list[str]]) -> str:
    """HSNet's content, its classes counted from 0."""
    return json.dumps({"source": source, "classes": {cls - 1: images for cls, images in lists.items()}})


def _pascal_lines(pairs: list[tuple[str, int]]) -> list[str]:
    return [f"{image}__{cls:02}" for image, cls in pairs]


def _write(content: dict[Path, list[str]]) -> list[Path]:
    for path, lines in content.items():
        write_lines(path, lines)
    return list(content)
