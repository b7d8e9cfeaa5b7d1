"""Lists for HSNet's protocol in plain text and JSON: taken over from an HSNet checkout, or made from masks."""

from __future__ import annotations

from pathlib import Path

from dataset import DATASETS, FOLDS, class_index, coco, fss, pascal
from dataset.episodes import MIN_PIXELS
from dataset.hsnet import GENERATED, HSNET, is_generated, read_class_lists, read_pairs
from dataset.lists import check_names, read_lines, write_lines
from util.errors import UserError
from util.locks import only_one


def import_lists(source: Path, out: Path) -> list[Path]:
    """Write the lists of an HSNet checkout's data/splits, in their order, as text (pascal, fss) and JSON (coco).

    Pickles are read by an unpickler that knows only containers, str and int. Returns the files that were written.
    Raises UserError if a list is damaged or if there is none at all.
    """
    content: dict[Path, list[str]] = {}
    for layout in (pascal, coco, fss):
        for fold in layout.FOLDS:
            if is_generated(path := layout.hsnet_list(source, fold)):
                raise UserError(f"{path}: was {GENERATED}; name the data/splits of an HSNet checkout")
    for fold in FOLDS:
        if (source / pascal.NAME).is_dir():
            pairs = read_pairs(pascal.hsnet_list(source, fold))
            content[pascal.hsnet_list(out, fold)] = pascal.hsnet_lines(pairs, HSNET)
        if (source / coco.NAME).is_dir():
            lists = read_class_lists(coco.hsnet_list(source, fold))
            content[coco.hsnet_list(out, fold, new=True)] = coco.class_lists_line(lists, HSNET)
    if (source / fss.NAME).is_dir():
        for part in fss.PARTS:
            content[out / fss.NAME / fss.LISTS[part]] = fss.class_list(source / fss.NAME, part)
    if not content:
        raise UserError(f"{source}: holds none of pascal, coco and fss; name the data/splits of an HSNet checkout")
    return _write(content, out)


def generate_lists(dataset: str, root: Path, out: Path, workers: int | None = None) -> list[Path]:
    """Write lists made from a dataset's own masks: each test image with each class that is large enough in it.

    Their episodes are not HSNet's; every list says so at its start.

    Arguments:
        dataset: "pascal", "coco" or "fss".
        root: the dataset's own folder.
        out: the folder to write, for --splits.
        workers: processes, all cores by default.
    Returns:
        The files that were written.
    """
    layout = DATASETS[dataset]
    images = layout.image_set(root, layout.SPLITS[-1])
    if images.binary:  # every image shows the class of its folder, and the list keeps its order
        pairs = [(f"{name}/1", 1) for name in fss.class_list(fss.lists_folder(root, None), "test")]
        return _write({layout.hsnet_list(out, None): layout.hsnet_lines(pairs, GENERATED)}, out)
    index = class_index(images, workers)
    pairs = sorted((image, cls) for image, found in index.items() for cls, n in found.items() if n >= MIN_PIXELS)
    content = {}
    for fold in layout.FOLDS:
        novel = layout.novel_classes(fold, layout.HSNET_ORDER)
        of_fold = [(image, cls) for image, cls in pairs if cls in novel]
        try:
            content[layout.hsnet_list(out, fold, new=True)] = layout.hsnet_lines(of_fold, GENERATED)
        except ValueError as error:
            raise UserError(f"{images.masks}: {error} of fold {fold}") from error
    return _write(content, out)


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
    """Class names of a list, one a line or separated by commas. Raises UserError as read_names."""
    lines = read_lines(path, "name the list of FSS-1000's 240 test classes")
    names = [name.strip(" '\"[]") for line in lines for name in line.split(",") if name.strip(" '\"[]")]
    check_names(path, names)
    return names


def write_fss_lists(lists: dict[str, list[str]], root: Path, source: str | Path = "the lists") -> None:
    """Write splits/trn.txt, val.txt and test.txt of FSS-1000. Raises UserError if root holds few of the classes.

    source: where the classes were read, for people.
    """
    for names in ([name for part in lists.values() for name in part], *lists.values()):
        absent = [name for name in names if not (root / name).is_dir()]
        if len(absent) > len(names) / 2:
            raise UserError(
                f"{root}: {len(absent)} of the {len(names)} listed classes are not there, {absent[0]!r:.60} the first "
                f"of {source}; unpack all of them, or keep the dataset's own lists"
            )
    folder = fss.lists_folder(root, None)
    _write({folder / fss.LISTS[part]: names for part, names in lists.items()}, folder)


def _write(content: dict[Path, list[str]], folder: Path) -> list[Path]:
    """Write lists that belong together, and that another process's are not to be mixed with."""
    with only_one(folder / "lists", "the writing of lists"):
        for path, lines in content.items():
            write_lines(path, lines)
    return list(content)
