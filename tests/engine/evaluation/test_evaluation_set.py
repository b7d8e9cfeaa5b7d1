"""What is tested, in a line, and the classes that no episode shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import Episode, Provenance, open_split
from engine.evaluation.evaluate import UNDRAWN_CLASS_NOTE, result_table
from engine.evaluation.evaluation_set import (
    EpisodesWanted,
    EvaluationSet,
    describe_evaluation,
    describe_missing_classes,
    open_evaluation_set,
)
from engine.evaluation.protocol import HSNET, PAPER, load_episodes, save_episodes
from engine.setting import Setting
from tests.files import write
from util.errors import UserError

SETTING = Setting("pascal", None, 0, 1, "resnet50", "ssp", True)
PLANS = {0: [Episode("a", 1, ("b",)), Episode("b", 2, ("a",))], 3: [Episode("a", 2, ("c",))]}


@pytest.fixture(scope="module")
def boatless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of classes 1 and 2; the others of the fold have none."""
    root = tmp_path_factory.mktemp("data") / "VOC2012"
    for number in range(6):
        labels = np.zeros((96, 96), np.uint8)
        labels[:50, :50] = 1 + number % 2
        for folder, image in (("JPEGImages", np.stack([labels] * 3, 2)), ("SegmentationClassAug", labels)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            suffix = ".jpg" if folder == "JPEGImages" else ".png"
            Image.fromarray(image).save(root / folder / f"i{number}{suffix}")
    write(root / "ImageSets" / "val.txt", "\n".join(f"i{number}" for number in range(6)))
    return root


def test_the_line() -> None:
    images = None
    tested = EvaluationSet(images, PLANS, [1, 2, 3], Provenance("", "images of pascal val", 1449, 1449))
    info = {"dataset": "pascal", "fold": 0, "shot": 5, "refine": True}
    assert describe_evaluation(SETTING, PAPER, tested, info, Path("w.ckpt")) == [
        "ssp resnet50, refine on pascal fold 0, 1-shot: classes 1-3, the paper's own protocol, 2 seeds (0, 3) x 2 "
        "episodes; weights w.ckpt, trained on pascal fold 0, 5-shot, refine"
    ]
    toy = tested._replace(data=Provenance("toy", "images of pascal val", 40, 1449), plans={0: PLANS[0]})
    line, note = describe_evaluation(SETTING, HSNET, toy, {}, Path("w.pth"), "e.json")
    assert note == "note: HSNet's protocol has one seed of its own, and refines only with --refine"
    assert "HSNet's protocol, 1 seed (0) x 2 episodes of e.json; toy data, not the benchmark; weights w.pth" in line
    many = tested._replace(plans=dict.fromkeys(range(7), PLANS[0]))
    assert "7 seeds (0 to 6) x 2 episodes" in describe_evaluation(SETTING, PAPER, many, {}, Path("w.pth"))[0]


def test_classes_without_images_are_named(boatless: Path) -> None:
    tested = open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(2), 8), boatless)
    assert tested.missing == {3: "bird", 4: "boat", 5: "bottle"}
    lines = describe_missing_classes(tested, PAPER)
    assert "class 4 (boat) is missing: no image of pascal val shows it; the mean is over the other classes" in lines
    assert tested.data == Provenance("", "images of pascal val", 6, 1449)
    few = tested._replace(plans={0: [episode for episode in tested.plans[0] if episode.cls != 1]})
    line = "class 1 (aeroplane) is missing: no episode drew it; the mean is over the other classes"
    assert describe_missing_classes(few, PAPER) == [line, *lines]
    assert all(line.endswith("no episode drew it; it counts as 0") for line in describe_missing_classes(tested, HSNET))


def test_the_table_names_them_and_says_why_means_differ() -> None:
    seeds = [
        {"seed": 0, "class_iou": {0: 80.0, 1: 10.0, 2: 30.0}, "miou": 20.0, "fb_iou": 50.0},
        {"seed": 1, "class_iou": {0: 80.0, 1: 10.0}, "miou": 10.0, "fb_iou": 50.0},
    ]
    result = {"seeds": seeds, "seconds": 1.0, "images": 2, "trunk_passes": 2, "peak_memory_gb": 1.0}
    lines = result_table(result, {1: "a", 2: "b", 3: "c"}, [1, 2, 3]).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["1", "a", "10.00", "10.00", "10.00"],
        ["2", "b", "30.00", "-", "30.00"],
        ["3", "c", "-", "-", "missing"],
    ]
    assert lines[5].split() == ["mIoU", "20.00", "10.00", "15.00"]  # not 20, the mean of the column
    assert lines[7] == UNDRAWN_CLASS_NOTE
    whole = {**result, "seeds": seeds[:1]}
    assert UNDRAWN_CLASS_NOTE not in result_table(whole, {}, [1, 2])


def test_saved_episodes_keep_what_they_were_drawn_from(boatless: Path, tmp_path: Path) -> None:
    tested = open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(2), 3), boatless)
    save_episodes(tmp_path / "e.json", SETTING, PAPER, tested.plans, tested.data)
    saved = load_episodes(tmp_path / "e.json")
    again = open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(5), None, saved), boatless)
    assert (again.plans, again.data) == (tested.plans, tested.data)
    first = open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(5), 2, saved), boatless)
    assert {seed: len(some) for seed, some in first.plans.items()} == {0: 2, 1: 2}
    with pytest.raises(
        UserError, match=r"^--episodes 4: the file of --episodes-from has 3 of a seed; ask for no more$"
    ):
        open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(5), 4, saved), boatless)


def test_episodes_that_do_not_say_what_they_were_drawn_from(boatless: Path, tmp_path: Path) -> None:
    part = open_split("pascal", boatless, "test", 0)
    save_episodes(tmp_path / "e.json", SETTING, PAPER, {0: [Episode("i0", 1, ("i2",))]})
    saved = load_episodes(tmp_path / "e.json")
    assert open_evaluation_set(SETTING, PAPER, EpisodesWanted(range(1), None, saved), boatless).data is None
    assert part.provenance is not None
