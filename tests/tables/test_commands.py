"""The commands that are left to run: those that the scripts take, once each, and none that a file has written."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import main as training
import test as testing
from dataset import Benchmark
from engine.checkpoint import Checkpoint, save_checkpoint
from engine.evaluation.result import EvaluationResult, find_results
from engine.setting import Setting
from engine.training.state import Training, save_training
from model import build_model
from tables.commands import Folders, missing_commands
from tables.tables import make_tables
from tests.tables.results import (
    COCO_BY_HSNET,
    DINO,
    FSS,
    PASCAL,
    TOY,
    MakeResult,
    write_result,
)

PASCAL_R50 = {"dataset": "pascal", "shot": 1, "backbone": "resnet50"}
COCO_R50 = {"dataset": "coco", "shot": 1, "backbone": "resnet50"}
NOTHING = [["#", "nothing is missing"]]
Commands = Callable[..., list[list[str]]]


@pytest.fixture(autouse=True)
def _data_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed here whose dataset is not there."""
    monkeypatch.setattr(Benchmark, "__init__", lambda self, root, hsnet_lists=None: None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "my out"


@pytest.fixture
def commands(out: Path) -> Commands:
    """The words of each line but the first, which makes the shell stop at a failure."""

    def words(*results: EvaluationResult, processes: int | None = None, **wanted: Any) -> list[list[str]]:
        folders = Folders("/data sets", str(out), "my splits")
        lines = missing_commands(make_tables(results, "own", **wanted), folders, processes).splitlines()
        assert lines[0].startswith("set -e ") or lines == ["# nothing is missing"]
        lines = [line for line in lines if not line.startswith("set -e")]
        return [line.split(" ", 1) if line[0] == "#" else shlex.split(line) for line in lines]

    return words


def trainings(lines: list[list[str]]) -> list[Any]:
    """The flags of the trainings among some commands."""
    return [training.parse(words[2:]) for words in lines if words[:2] == ["python", "main.py"]]


def read_test(words: list[str]) -> tuple[Any, testing.Evaluation]:
    """The flags of a test, and what they open."""
    assert words[:2] == ["python", "test.py"]
    flags = testing.parse(words[2:])
    return flags, testing.open_evaluation(flags)


@pytest.fixture(scope="module")
def weights() -> dict:
    """SSP's keys and shapes, all zero, from one number in memory."""
    return {key: x.new_zeros(()).expand(x.shape) for key, x in build_model("ssp").state_dict().items()}


def put_checkpoint(args: Any, weights: dict, name: str = "50.00") -> Path:
    """What main.py leaves with these flags."""
    setting = Setting.of(vars(args))
    path = setting.folder(args.out) / f"{setting.name}_{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, Checkpoint(weights, setting.as_dict()))
    return path


def test_a_command_for_every_missing_cell(commands: Commands, out: Path) -> None:
    lines = commands()
    headings = [words[1] for words in lines if words[0] == "#"]
    assert len(headings) == len(set(headings)) == 16 * 4 + 2
    assert headings[0] == f"{PASCAL}: Baseline 1-shot ResNet-50, fold 0 (paper 54.9)"
    assert headings[-1] == f"{FSS}: SSP 5-shot refine (paper 88.6)"
    runs = trainings(lines)
    assert all(args.resume and args.out == str(out) and args.data_root == "/data sets" for args in runs)
    names = ("dataset", "class_order", "method", "refine", "shot", "backbone", "fold", "released_order")
    settings = [tuple(getattr(args, name) for name in names) for args in runs]
    assert len(settings) == len(set(settings)) == 66
    assert {
        ("pascal", None, "baseline", False, 5, "resnet101", 3, None),
        ("pascal", None, "ssp", True, 1, "resnet50", 0, None),
        ("coco", "contiguous", "ssp", True, 5, "resnet50", 2, 2),
        ("coco", "interleaved", "ssp", True, 1, "resnet101", 1, None),  # for HSNet's protocol
        ("fss", None, "ssp", True, 1, "resnet50", None, None),
    } <= set(settings)
    keys = [Setting.of(vars(args)) for args in runs]
    assert len({key.folder(out) / key.name for key in keys}) == 66
    assert sum(words[1] == "test.py" for words in lines) == 16


def test_several_processes(commands: Commands) -> None:
    alone = [words for words in commands(method="ssp", **COCO_R50) if words[0] == "python"]
    shared = [words for words in commands(processes=4, method="ssp", **COCO_R50) if words[0] == "torchrun"]
    assert len(shared) == len(alone) == 12  # trainings for both protocols, and HSNet's tests
    assert [words[3:] for words in shared] == [words[1:] for words in alone]
    assert {tuple(words[1:3]) for words in shared} == {("--nproc-per-node", "4")}


def test_hsnets_protocol(commands: Commands, weights: dict, out: Path) -> None:
    """Training, then a test that finds what the training wrote."""
    lines = commands(dataset="coco", shot=5, backbone="resnet50")[8:]  # after the paper's own protocol
    assert [words[0] for words in lines] == ["#", "python", "python"] * 4
    for fold in range(4):
        heading, train, test = lines[3 * fold : 3 * fold + 3]
        assert heading[1].startswith(f"{COCO_BY_HSNET}: SSP 5-shot ResNet-50, fold {fold} (paper ")
        path = put_checkpoint(training.parse(train[2:]), weights)
        assert path.parent == out / "models" / "coco_interleaved" / f"fold_{fold}"
        flags, evaluation = read_test(test)
        assert (evaluation.path, evaluation.protocol.name) == (path, "hsnet")
        assert (flags.splits, Path(flags.results)) == ("my splits", out / "results")
        setting, wanted = evaluation.setting, evaluation.wanted
        assert (setting.refine, setting.fold, setting.shot) == (False, fold, 5)
        assert (len(wanted.seeds), wanted.episodes) == (5, None)


def test_what_is_trained_is_only_tested(commands: Commands, weights: dict) -> None:
    runs = trainings(commands(**COCO_R50))
    assert [(args.class_order, args.fold) for args in runs] == [
        (order, fold) for order in ("contiguous", "interleaved") for fold in range(4)
    ]
    paths = [put_checkpoint(args, weights) for args in runs]
    os.utime(paths[0], (1e9, 1e9))
    paths[0] = put_checkpoint(runs[0], weights, "49.00")  # newer, though worse
    lines = [words for words in commands(**COCO_R50) if words[0] != "#"]
    assert [words[1] for words in lines] == ["test.py"] * 8
    for words, run, path in zip(lines, runs, paths, strict=True):
        _, found = read_test(words)
        assert (found.path, found.setting.fold, found.setting.class_order) == (path, run.fold, run.class_order)
        own = run.class_order == "contiguous"
        assert (found.protocol.name, found.setting.refine) == (("ssp", True) if own else ("hsnet", False))


@pytest.mark.parametrize(
    ("state", "result", "trained"),
    [
        (None, None, True),  # brought from elsewhere
        (False, None, False),
        (True, None, True),  # whose result was removed
        (True, True, True),
        (False, False, False),
        (None, False, False),  # trained without refinement
    ],
)
def test_unfinished_runs_go_on(
    state: bool | None, result: bool | None, trained: bool, weights: dict, commands: Commands
) -> None:
    """state: of the run, finished or not; result: beside the checkpoint, of a refined run or not."""
    train = next(words for words in commands(**PASCAL_R50) if "--refine" in words)
    path = put_checkpoint(training.parse(train[2:]), weights)
    if state is not None:
        save_training(path.with_name("resnet50_1shot.last"), Training({}, best_name=path.stem, finished=state))
    if result is not None:
        write_result(path.with_suffix(".json"), 60.0, refine=result)
    words = next(words for words in commands(**PASCAL_R50) if "--refine" in words)
    if trained:
        assert read_test(words)[1].path == path
    else:
        assert words == train


def test_a_training_that_cells_share_is_printed_once(make_result: MakeResult, commands: Commands) -> None:
    lines = commands(make_result(60.0, (0.0,), protocol="hsnet", refine=False, fold=1), **PASCAL_R50)
    runs = [tuple(words) for words in lines if words[1] == "main.py"]
    assert len(runs) == len(set(runs)) == 8
    tests = lines[16:]
    assert [words[1][:28] for words in tests[::2]] == ["Pascal-5i, HSNet's protocol:"] * 3
    assert [words[words.index("--fold") + 1] for words in tests[1::2]] == ["0", "2", "3"]
    assert all(words[1].endswith("(not in the paper)") for words in tests[::2])


def test_runs_without_refinement_have_a_folder(make_result: MakeResult, commands: Commands, out: Path) -> None:
    runs = trainings(commands(make_result(60.0, refine=False, shot=2), shot=2))
    assert [(args.fold, args.refine, args.out) for args in runs] == [
        (fold, False, str(out / "unrefined")) for fold in (1, 2, 3)
    ]


def test_what_is_measured_on_other_data_is_missing(make_result: MakeResult, commands: Commands) -> None:
    folds = [make_result(60.0, fold=fold, shot=2) for fold in range(4)]
    assert commands(*folds, shot=2) == NOTHING
    lines = commands(make_result(61.0, shot=2, data=TOY), *folds[1:], shot=2)
    assert [words[0] for words in lines] == ["#", "python"]
    assert lines[0][1] == f"{PASCAL}: SSP 2-shot ResNet-50 refine, fold 0 (not in the paper)"


def test_a_variation_of_what_is_measured_leaves_nothing_open(make_result: MakeResult, commands: Commands) -> None:
    folds = [make_result(60.0, fold=fold, shot=2) for fold in range(4)]
    assert commands(*folds, make_result(61.0, shot=2, trained_with={"lr": 1.0}), shot=2) == NOTHING


def test_there_are_none_for_other_networks(make_result: MakeResult, commands: Commands) -> None:
    """Neither for their missing folds nor for results with marks; those of the paper's rows stay the same."""
    others = [
        make_result(50.0, backbone=DINO, fold=2, episodes=10),
        make_result(50.0, method="heads.py:Head", refine=False, episodes=3, amp=True),
        make_result(50.0, backbone="backbones.py:Backbone", dataset="fss", fold=None, episodes=3),
        make_result(50.0, trained_with={"episode": 0, "frozen": True}),
    ]
    assert commands(*others) == commands()
    for backbone in (DINO, "backbones.py:Backbone"):
        assert commands(*others, backbone=backbone) == NOTHING


@pytest.mark.parametrize("fields", [{"trained_with": {"episode": 0}}, {"backbone": "my.py:resnet50"}, {"data": TOY}])
def test_another_networks_checkpoint_is_not_tested_for_the_papers(
    fields: dict, weights: dict, commands: Commands
) -> None:
    """It has the name of the paper's network, whose training would not go on from it."""
    expected = commands(**PASCAL_R50)
    at = next(n for n, words in enumerate(expected) if "--refine" in words)
    path = put_checkpoint(training.parse(expected[at][2:]), weights)
    write_result(path.with_suffix(".json"), 45.0, **fields)
    what = "another network, an untrained one, or one trained on other data"
    says = f"  {path.parent} holds {what}; pass another --out"
    assert commands(**PASCAL_R50) == [*expected[:at], ["#", says], *expected[at + 1 :]]


def test_a_file_cannot_write_commands(make_result: MakeResult, commands: Commands, tmp_path: Path) -> None:
    """Whatever is printed is a comment in a line, or quoted."""
    lines = commands(make_result(61.2, trained_with={"lr": "1\npython evil.py"}), **PASCAL_R50)
    assert ["#", "  measured, but not as in the paper: trained with --lr 1 python evil.py"] in lines
    assert not any("evil.py" in words for words in lines if words[0] != "#")
    folder = tmp_path / "x\ntouch X\n#"
    os.utime(write_result(folder / "r.json", 50.0), (1, 1))
    results = [make_result(61.2), *find_results([folder])]
    script = missing_commands(make_tables(results, dataset="pascal"), Folders("a\ntouch Y", str(folder), "s"))
    words = shlex.split(script, comments=True)
    assert "a\ntouch Y" in words
    assert "touch" not in words
