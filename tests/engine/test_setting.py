"""What a run is about, its schedule, and the paper's training values, each pinned."""

from __future__ import annotations

from pathlib import Path

import pytest

import main as training
from dataset import BENCHMARKS
from engine.evaluation.protocol import HSNET, PAPER
from engine.setting import RECIPE, Schedule, Setting, spans
from engine.training.trainer import MOMENTUM, WEIGHT_DECAY
from model import matching
from model.settings import LOSS_WEIGHTS


def test_the_recipe() -> None:
    assert (RECIPE.episodes, RECIPE.snapshot, RECIPE.batch_size, RECIPE.lr) == (24000, 1200, 4, 1e-3)
    assert (RECIPE.snapshots, RECIPE.steps, RECIPE.iterations) == (20, 300, 6000)
    assert (MOMENTUM, WEIGHT_DECAY) == (0.9, 5e-4)
    assert {name: benchmark.crop_size for name, benchmark in BENCHMARKS.items()} == {
        "pascal": 473,
        "coco": 473,
        "fss": 225,
    }
    assert LOSS_WEIGHTS == {"final": 1.0, "out1": 1.0, "query_self": 1.0, "support_self": 0.2}


def test_the_recipe_is_what_main_trains_with() -> None:
    args = training.parse(["--data-root", "somewhere"])
    assert Schedule(args.episode, args.snapshot, args.batch_size, args.lr) == RECIPE
    assert (args.crop_size, args.seeds, args.seed, args.refine) == (473, 5, 0, False)
    assert training.parse(["--data-root", "somewhere", "--dataset", "fss"]).crop_size == 225


def test_the_protocols() -> None:
    assert (PAPER.seeds, HSNET.seeds) == (5, 1)
    assert [PAPER.episodes(benchmark) for benchmark in BENCHMARKS.values()] == [1000, 4000, 1000]
    assert [HSNET.episodes(benchmark) for benchmark in BENCHMARKS.values()] == [1000, 1000, 2400]
    assert (PAPER.side, HSNET.side) == (None, 400)
    assert (PAPER.ignored_is_background, HSNET.ignored_is_background) == (False, True)
    assert (PAPER.over_all_classes, HSNET.over_all_classes) == (False, True)


def test_the_constants_of_the_matching() -> None:
    assert matching.Matching(10.0, 0.7, 0.6, 12, 2.0, 0.5, 0.3, (0.5, 0.2, 0.3), 0.7, 0.0, 1) == matching.PAPER


@pytest.mark.parametrize(
    ("iteration", "lr"),
    [(0, 1e-3), (1999, 1e-3), (2000, 1e-4), (2001, 1e-4), (3999, 1e-4), (4000, 1e-5), (4001, 1e-5), (5999, 1e-5)],
)
def test_the_learning_rate_around_its_drops(iteration: int, lr: float) -> None:
    assert RECIPE.drops == [2000, 4000]
    assert RECIPE.learning_rate(iteration) == pytest.approx(lr, rel=1e-12)


def test_short_batches_and_snapshots_are_dropped() -> None:
    schedule = Schedule(episodes=11, snapshot=5, batch_size=2, lr=1.0)
    assert (schedule.snapshots, schedule.steps, schedule.iterations, schedule.drops) == (2, 2, 5, [1, 3])


@pytest.mark.parametrize(
    ("setting", "folder", "name", "words"),
    [
        (Setting(), "models/pascal/fold_0", "resnet50_1shot", "pascal fold 0"),
        (
            Setting("coco", "interleaved", 2, 5, "resnet101", "baseline"),
            "models/coco_interleaved/fold_2", "baseline_resnet101_5shot", "coco fold 2 (interleaved)",
        ),
        (Setting("coco", "contiguous", 1), "models/coco/fold_1", "resnet50_1shot", "coco fold 1 (contiguous)"),
        (Setting("fss", fold=None), "models/fss", "resnet50_1shot", "fss"),
    ],
)  # fmt: skip
def test_names(setting: Setting, folder: str, name: str, words: str) -> None:
    assert setting.folder("out") == Path("out") / folder
    assert setting.name == name
    assert setting.describe() == words
    assert Setting.of({**setting.as_dict(), "miou": 60.0}) == setting


def test_the_baseline_cannot_refine() -> None:
    with pytest.raises(ValueError, match="refine belongs to ssp"):
        Setting(method="baseline", refine=True)


def test_spans() -> None:
    assert spans([1, 2, 3, 5, 7, 8]) == "classes 1-3, 5, 7, 8"
    assert spans([4]) == "classes 4"
