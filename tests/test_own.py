"""Own data from end to end: the toy dataset, prepared as one's own, gives what it gives in VOC's layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import main as training
import prepare
import test as testing
from dataset.own import Own
from dataset.pascal import Pascal
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model import build_model
from tables import shell
from tests.files import OneLine
from tests.model import recipe


@pytest.fixture(scope="module")
def own(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "painted"
    prepare.main(["own", "--voc", str(toy), "--out", str(out), "--folds", "4"])
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = build_model("ssp")
    recipe.fill(net, "resnet50")
    path = tmp_path_factory.mktemp("weights") / "w.ckpt"
    info = {"dataset": "pascal", "fold": 0, "base_classes": list(range(6, 21)), "base_names": ["dog", "cat"]}
    save_checkpoint(path, Checkpoint(net.state_dict(), info))
    return path


def flags(dataset: str, root: Path, *more: object) -> list[str]:
    return [str(flag) for flag in ("--dataset", dataset, "--data-root", root, "--workers", 0, "--seeds", 2, *more)]


def test_the_same_numbers_in_either_layout(toy: Path, own: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert len(Own(own).class_names) == len(Pascal(toy).read_class_names()) == 20
    saved = tmp_path / "episodes.json"
    common = ("--checkpoint", checkpoint, "--fold", 0, "--episodes", 3)
    theirs = testing.main(flags("pascal", toy, *common))
    ours = testing.main(flags("own", own, *common, "--json", tmp_path / "r.json", "--save-episodes", saved))
    again = testing.main(flags("own", own, "--checkpoint", checkpoint, "--episodes-from", saved, "--engine", "plain"))
    for name in ("miou", "fb_iou"):
        assert ours[name] == theirs[name]
        assert again[name] == pytest.approx(ours[name], abs=1e-9)
    result = json.loads((tmp_path / "r.json").read_text())
    digest = Own(own).digest[:8]
    assert result["data"] == {
        "name": f"painted {digest}", "counted": "images of painted val", "count": 40, "published": 40, "folds": 4,
    }  # fmt: skip
    assert "whose classes may be among those of own" in result["warnings"][0]


@pytest.mark.usefixtures("small_squares")
def test_hsnets_protocol_needs_no_lists(own: Path, checkpoint: Path) -> None:
    more = ("--checkpoint", checkpoint, "--fold", 1, "--protocol", "hsnet", "--episodes", 3)
    measured = testing.main(flags("own", own, *more))
    assert 0 <= measured["miou"] <= 100


def test_all_sh_takes_the_folds_of_the_folder(own: Path) -> None:
    settings = {"DATASET": "own", "DATA_ROOT": str(own), "PYTHON": "python", "OUT": "out"}
    assert [line for line, _ in shell.fold_commands(shell.ALL, settings, [])] == [
        f"training, fold {fold}" for fold in range(4)
    ]


def test_training(own: Path, tmp_path: Path, quick: list[str]) -> None:
    best = training.main(["--dataset", "own", "--data-root", str(own), "--out", str(tmp_path), *quick, "--fold", "2"])
    assert best.parent == tmp_path / "models" / "own" / "fold_2"
    info = load_checkpoint(best).info
    assert (info["dataset"], info["fold"], info["data"]["folds"]) == ("own", 2, 4)
    names = list(Own(own).class_names.values())
    assert info["base_names"] == [*names[:10], *names[15:]]
    assert info["novel_names"] == names[10:15]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--fold", 4), "--fold 4: own has the folds 0 to 3; name one of them"),
        (("--class-order", "contiguous"), "--class-order contiguous belongs to --dataset coco, own has but one order"),
        (("--fold", 0, "--shot", 99), "leave it out: prepare.py own --min-images 100"),
    ],
)
def test_wrong_flags(own: Path, checkpoint: Path, one_line_error: OneLine, more: tuple[object, ...], says: str) -> None:
    assert says in one_line_error(testing.main, flags("own", own, "--checkpoint", checkpoint, *more))
