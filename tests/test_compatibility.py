"""Files that the version before wrote are read, and an interrupted run of it goes on."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

import main as training
import test as testing
from engine.checkpoint import load_checkpoint
from engine.evaluation.protocol import HSNET, PAPER, load_episodes
from engine.evaluation.result import EvaluationResult
from engine.setting import Setting
from engine.training.state import load_training
from tests.files import GOLDEN
from util.errors import UserError

BEFORE = GOLDEN / "version_before"
SETTING = Setting("pascal", None, 0, 1, "resnet50", "ssp", True)
FLAGS = (
    "--pretrained none --crop-size 65 --episode 12 --snapshot 4 --batch-size 2 --test-episodes 2 --seeds 1 "
    "--workers 0 --device cpu --refine --resume"
).split()


def unpacked(name: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(BEFORE / f"{name}.gz") as source, path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return path


def test_an_interrupted_run_goes_on(toy: Path, tmp_path: Path) -> None:
    """It was left after the second snapshot's training, whose two losses it holds, before the evaluation."""
    last = unpacked("resnet50_1shot.last", SETTING.folder(tmp_path) / f"{SETTING.name}.last")
    before = load_training(last)
    assert (before.snapshot, len(before.losses), before.finished) == (1, 2, False)
    best = training.main(["--data-root", str(toy), "--out", str(tmp_path), *FLAGS])
    after = load_training(last)
    assert after.finished
    assert best.is_file()
    assert after.arguments == before.arguments  # which say what the run is, as it was started
    assert [line["losses"] for line in after.history[:2]] == [before.history[0]["losses"], before.losses]
    assert len(after.history) == 3


def test_other_flags_of_such_a_run_are_named(toy: Path, tmp_path: Path) -> None:
    unpacked("resnet50_1shot.last", SETTING.folder(tmp_path) / f"{SETTING.name}.last")
    with pytest.raises(UserError, match=r"was started with other flags: --lr 0\.5 \(was 0\.001\); give the same"):
        training.main(["--data-root", str(toy), "--out", str(tmp_path), *FLAGS, "--lr", "0.5"])


def test_a_checkpoint_is_tested(toy: Path, tmp_path: Path) -> None:
    path = unpacked("checkpoint.ckpt", tmp_path / "checkpoint.ckpt")
    info = load_checkpoint(path).info
    assert Setting.of(info) == SETTING
    assert info["base_classes"] == list(range(6, 21))
    flags = ["--data-root", str(toy), "--checkpoint", str(path), "--workers", "0", "--device", "cpu"]
    result = testing.main(
        [*flags, "--episodes-from", str(BEFORE / "episodes.json"), "--json", str(tmp_path / "r.json")]
    )
    assert [len(seed["episode_iou"]) for seed in result["seeds"]] == [4, 4]
    before, now = (json.loads(file.read_text()) for file in (BEFORE / "result.json", tmp_path / "r.json"))
    new = [
        "weights",
        "data",
        "missing_classes",
        "episodes_from",
        "trained_on",
        "training_data",
        "code",
        "made_by",
        "settings",
        "tag",
        "queries",
    ]
    assert list(now) == [*before, *new]  # the fields, in their order, and new ones
    assert (now["data"], now["training_data"]) == (None, None)  # neither file says it
    assert now["trained_with"] == before["trained_with"]
    new = ["episode_counts", "episode_class", "episode_query", "episode_digest"]
    assert list(now["seeds"][0]) == [*before["seeds"][0], *new]


def test_episodes_and_results_are_read() -> None:
    saved = load_episodes(BEFORE / "episodes.json")
    assert saved[:5] == ("pascal", None, 0, 1, PAPER.name)  # dataset, class order, fold, shot, protocol
    assert {seed: len(episodes) for seed, episodes in saved.plans.items()} == {0: 4, 1: 4}
    result = EvaluationResult.read(BEFORE / "result.json")
    assert (result.setting, result.protocol, result.episodes) == (SETTING, PAPER, 4)
    assert result.protocol != HSNET
    assert result.miou == json.loads((BEFORE / "result.json").read_text())["miou"]
