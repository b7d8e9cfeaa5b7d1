"""A program that is killed at any change of a file, and run again, ends as if it had not been killed."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import main as training
import prepare
import test as testing
from model import build_model
from model.weights import flat_key
from tables.authors import choose
from tests.files import write
from tests.hostile.children import in_child
from tests.test_resume import flags, results, same

POINTS = ("fsync", "replace", "rename")  # of os: what makes a file last, and what gives it its name
ALL_POINTS = (*POINTS, "unlink", "symlink", "mkdir", "rmdir")
# where Path finds these: in os, and up to Python 3.10 in what it took from os when it was imported
PLACES = (os, *filter(None, [getattr(pathlib, "_normal_accessor", None)]))
Run = Callable[[], object]


def killed_at(number: int, run: Run, points: Sequence[str] = POINTS) -> bool:
    """Run something until its n-th such call, which is a kill; False if it came to its end before."""

    def work() -> None:
        calls = count(1)

        def deadly(call: Callable[..., object]) -> Callable[..., object]:
            def before(*arguments: object, **options: object) -> object:
                if next(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return before

        for name in points:
            call = deadly(getattr(os, name))
            for place in PLACES:
                setattr(place, name, call)
        run()

    return os.WIFSIGNALED(in_child(work))


# main.py


SHORT = ("--resume", "--episode", "8", "--backbone", "resnet50")  # two snapshots; two files of the best weights


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple, list[str]]:
    out = tmp_path_factory.mktemp("whole")
    training.main(flags(toy, out, *SHORT))
    return results(out), names(out)


def goes_on(toy: Path, out: Path, number: int, whole: tuple[tuple, list[str]], points: Sequence[str] = POINTS) -> bool:
    """Whether the run was killed at this point; if so, it must end as the whole one did."""
    argv = flags(toy, out, *SHORT)
    if not killed_at(number, lambda: training.main(argv), points):
        return False
    training.main(argv)
    assert same(results(out), whole[0]), number
    assert names(out) == whole[1], number
    return True


@pytest.mark.parametrize("number", [10])  # all of them: below
def test_a_kill_while_the_best_weights_are_written(
    toy: Path, tmp_path: Path, whole: tuple[tuple, list[str]], number: int
) -> None:
    """The state names them, the .pth is there, the .ckpt is not."""
    assert goes_on(toy, tmp_path, number, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("points", "least"), [(POINTS, 25), (("unlink", "mkdir"), 12)])
def test_a_kill_at_every_change_of_a_file(
    toy: Path, tmp_path_factory: pytest.TempPathFactory, whole: tuple[tuple, list[str]], points: tuple, least: int
) -> None:
    number = 0
    for number in count(1):
        if not goes_on(toy, tmp_path_factory.mktemp(f"kill_{number}"), number, whole, points):
            break
    assert number > least


# The others. Each case fills a folder with what is read and gives what is run there.


class Given(NamedTuple):
    """A toy dataset, one in COCO's layout and a trained SSP with a ResNet-50, which no case may change."""

    toy: Path
    coco: Path
    weights: Path


@pytest.fixture(scope="module")
def given(toy: Path, toy_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Given:
    weights = tmp_path_factory.mktemp("weights") / "ssp.pth"
    torch.manual_seed(0)
    torch.save(build_model("ssp", "resnet50").half().state_dict(), weights)
    return Given(toy, toy_coco, weights)


def prepared(*argv: object) -> Run:
    return lambda: prepare.main(list(map(str, argv)))


def toy_case(folder: Path, _: Given) -> Run:
    return prepared("toy", "--out", folder / "toy", "--train", 3, "--val", 2)


def coco_case(folder: Path, given: Given) -> Run:
    for split, number in {"train": 3, "val": 2}.items():
        listed = json.loads((given.coco / "annotations" / f"instances_{split}2014.json").read_text())
        images = listed["images"][:number]
        ids = {image["id"] for image in images}
        kept = [each for each in listed["annotations"] if each["image_id"] in ids]
        text = json.dumps({**listed, "images": images, "annotations": kept})
        write(folder / "annotations" / f"instances_{split}2014.json", text)
        for image in images:
            name = image["file_name"]
            write(folder / f"{split}2014" / name, (given.coco / f"{split}2014" / name).read_bytes())
    return prepared("coco", "--data-root", folder, "--workers", 0, "--authors", "link")


def weights_case(folder: Path, given: Given) -> Run:
    state = torch.load(given.weights, weights_only=True)
    torch.save({flat_key(key): value for key, value in state.items()}, folder.with_suffix(".pth"))
    return prepared("weights", "--from", folder.with_suffix(".pth"), "--out", folder, "--again")


def splits_case(folder: Path, _: Given) -> Run:
    for part in ("trn", "val", "test"):
        write(folder.with_suffix(".hsnet") / "fss" / f"{part}.txt", f"{part}_class\n")
    return prepared("splits", "--from", folder.with_suffix(".hsnet"), "--out", folder)


ASKED = {"dataset": "pascal", "method": "ssp", "backbone": "resnet50", "shot": 1}


def checkpoints_case(folder: Path, given: Given) -> Run:
    for weights in choose(**ASKED):
        file = folder.with_suffix(".mine") / weights.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(given.weights)
    asked = [part for name, value in ASKED.items() for part in (f"--{name}", value)]
    return prepared("checkpoints", *asked, "--to", folder, "--from", folder.with_suffix(".mine"))


def results_case(folder: Path, given: Given) -> Run:
    """Two folds, one after the other, whose results lie in one folder."""
    few = "--episodes 3 --seeds 1 --workers 0 --device cpu"
    argv = f"--data-root {given.toy} --checkpoint {given.weights} --results {folder} {few}".split()

    def run() -> None:
        for fold in ("0", "1"):
            testing.main([*argv, "--fold", fold])

    return run


CASES: dict[str, tuple[Callable[[Path, Given], Run], int]] = {  # and the least number of points
    "toy": (toy_case, 25),
    "coco": (coco_case, 20),
    "weights": (weights_case, 2),
    "splits": (splits_case, 6),
    "checkpoints": (checkpoints_case, 16),
    "results": (results_case, 4),
}
TIMED = ("seconds", "peak_memory_gb", "root", "checkpoint")  # of results and surveys: of the run, or of the folder


def contents(folder: Path) -> dict[str, str]:
    """What lies below a folder: links, and files by their content; of JSON files without times and places."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == ".checkpoints.json.lock":  # which the next one to record something takes over
            continue
        if path.is_symlink():
            found[str(path.relative_to(folder))] = os.readlink(path)
        elif path.suffix == ".json":
            content = json.loads(path.read_text())
            if isinstance(content, dict):
                content = {key: value for key, value in content.items() if key not in TIMED}
            found[str(path.relative_to(folder))] = json.dumps(content)
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def quiet(run: Run) -> Run:
    """A run whose exit code says no more than that there were findings."""

    def once() -> None:
        with suppress(SystemExit):
            run()

    return once


def points_of(name: str, given: Given, tmp_path: Path, numbers: Iterable[int]) -> int:
    """Kill a case at these of its points, up to the end; the last one there was."""
    fill, _ = CASES[name]
    undisturbed = tmp_path / "whole" / "out"
    undisturbed.mkdir(parents=True)
    assert in_child(quiet(fill(undisturbed, given))) == 0
    expected = contents(undisturbed)
    assert expected
    last = 0
    for number in numbers:
        out = tmp_path / str(number) / "out"
        out.mkdir(parents=True)
        run = quiet(fill(out, given))
        if not killed_at(number, run, ALL_POINTS):
            break
        assert in_child(run) == 0, number
        assert contents(out) == expected, number
        shutil.rmtree(out.parent)
        last = number
    return last


@pytest.mark.parametrize(("name", "number"), [("toy", 20), ("splits", 4), ("coco", 18)])
def test_a_kill(name: str, number: int, given: Given, tmp_path: Path) -> None:
    assert points_of(name, given, tmp_path, [number]) == number


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_kill_at_every_point(name: str, given: Given, tmp_path: Path) -> None:
    assert points_of(name, given, tmp_path, count(1)) >= CASES[name][1]
