"""Lists for HSNet's protocol in plain text and JSON: taken over from an HSNet checkout, or made from masks."""

from __future__ import annotations

from pathlib import Path

from dataset import BENCHMARKS, Benchmark
from dataset.fss import CLASS_LISTS, Fss
from dataset.hsnet import GENERATED, is_generated
from dataset.lists import check_names, join_lines, read_lines, write_lines
from util.errors import UserError
from util.locks import only_one


def import_lists(source: Path, out: Path) -> list[Path]:
    """Write the lists of an HSNet checkout's data/splits, in their order, as text (pascal, fss) and JSON (coco).

    Pickles are read by an unpickler that knows only containers, str and int. Returns the files that were written.
    Raises UserError if a list is damaged or if there is none at all.
    """
    there = [benchmark for benchmark in BENCHMARKS.values() if (source / benchmark.name).is_dir()]
    if not there:
        raise UserError(f"{source}: holds none of pascal, coco and fss; name the data/splits of an HSNet checkout")
    files = [(benchmark, path) for benchmark in there for path in benchmark.hsnet_files(source)]
    for _, path in files:
        if is_generated(path):
            raise UserError(f"{path}: was {GENERATED}; name the data/splits of an HSNet checkout")
    content = {
        (out / path.relative_to(source)).with_suffix(benchmark.hsnet_suffix): benchmark.copy_hsnet_list(path)
        for benchmark, path in files
    }
    return _write_new(content, out)


def generate_lists(benchmark: Benchmark, out: Path, workers: int | None = None) -> list[Path]:
    """Write lists made from a dataset's own masks: each test image with each class that is large enough in it.
    Of FSS-1000, whose lists name classes, the dataset's own three.

    Their episodes are not HSNet's; every list says so at its start. Returns the files that were written.
    """
    return _write_new(benchmark.hsnet_lists_of_masks(out, workers), out)


def derive_fss_lists(test: list[str], everything: list[str]) -> dict[str, list[str]]:
    """The three lists of FSS-1000 from the official list of test classes and all class folders.

    The official list does not say which of the others validate: here every n-th of them in order of names, 240 of 760.
    """
    others = sorted(set(everything) - set(test))
    share = Fss.counts["val"] / (Fss.counts["val"] + Fss.counts["train"])
    val = [name for n, name in enumerate(others) if int((n + 1) * share) > int(n * share)]
    return {"train": sorted(set(others) - set(val)), "val": val, "test": sorted(test)}


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
    for names in ([name for some in lists.values() for name in some], *lists.values()):
        absent = [name for name in names if not (root / name).is_dir()]
        if len(absent) > len(names) / 2:
            raise UserError(
                f"{root}: {len(absent)} of the {len(names)} listed classes are not there, {absent[0]!r:.60} the first "
                f"of {source}; unpack all of them, or keep the dataset's own lists"
            )
    folder = Fss(root).class_list_folder
    _write({folder / CLASS_LISTS[split]: names for split, names in lists.items()}, folder)


def _write_new(content: dict[Path, list[str]], folder: Path) -> list[Path]:
    """Write lists. Raises UserError if one is there that is another and was not made from masks, such as HSNet's."""
    for path, lines in content.items():
        if path.is_file() and not is_generated(path) and path.read_bytes() != join_lines(lines):
            raise UserError(f"{path}: is there and is another list; name another --out, or move it away")
    return _write(content, folder)


def _write(content: dict[Path, list[str]], folder: Path) -> list[Path]:
    """Write lists that belong together, and that another process's are not to be mixed with."""
    with only_one(folder / "lists", "the writing of lists"):
        for path, lines in content.items():
            write_lines(path, lines)
    return list(content)
