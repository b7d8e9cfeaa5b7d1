"""What weights were trained on, as their file or their user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataset import Coco
from engine.evaluation.training_provenance import describe_training, other_data_note, state_training, training_leakage
from engine.setting import AUTHORS, Setting
from util.errors import UserError

PATH = Path("w.pth")
PLAIN = {"method": "ssp", "backbone": "resnet50"}


def declared(text: str, info: dict[str, Any] = PLAIN, dataset: str | None = None, root: Path = PATH) -> dict[str, Any]:
    return state_training(info, text, PATH, dataset, root, None)


@pytest.mark.parametrize(
    ("text", "dataset", "known"),
    [
        ("contiguous:0", None, ("coco", "contiguous", 0)),
        ("coco:interleaved:3", None, ("coco", "interleaved", 3)),
        ("2", None, ("pascal", None, 2)),
        ("pascal:2", "coco", ("pascal", None, 2)),
    ],
)
def test_what_is_declared(text: str, dataset: str | None, known: tuple) -> None:
    info = declared(text, dataset=dataset)
    assert (info["dataset"], info["class_order"], info["fold"]) == known
    assert info["declared"] is True
    assert info["method"] == "ssp"


def test_the_base_classes_are_all_but_the_folds() -> None:
    assert declared("2")["base_classes"] == [*range(1, 11), *range(16, 21)]
    novel = set(Coco.novel_classes(1, "interleaved"))
    assert declared("interleaved:1")["base_classes"] == [cls for cls in range(1, 81) if cls not in novel]


@pytest.mark.parametrize(
    ("text", "dataset"),
    [("", None), ("4", None), ("0", "coco"), ("coco:0", None), ("pascal", None), ("fss:0", None), ("0\n", None)],
)
def test_what_is_no_training(text: str, dataset: str | None) -> None:
    with pytest.raises(UserError, match=r"^--trained-on .*: is none of 0 to 3, pascal:0 to 3, ") as raised:
        declared(text, dataset=dataset)
    assert str(raised.value).isprintable()


def test_fss_is_told_by_its_lists(toy_fss: Path) -> None:
    info = declared("fss", root=toy_fss)
    assert (len(info["base_names"]), len(info["selection_names"])) == (10, 5)
    warnings = training_leakage(Setting("fss", None, None), [761], {761: info["base_names"][0]}, info, PATH)
    assert warnings == [f"w.pth was TRAINED on 1 of the 1 test classes: 761 {info['base_names'][0]}"]
    assert declared("fss", dataset="pascal")["base_names"] == []  # the classes of pascal have other names


def test_a_file_that_says_it_itself() -> None:
    told = {**PLAIN, "dataset": "coco", "class_order": "contiguous", "fold": 1, "shot": 5, "base_classes": [21]}
    line = r"^w\.pth: says itself that it was trained on coco fold 1 \(contiguous\), 5-shot; leave --trained-on out$"
    with pytest.raises(UserError, match=line):
        declared("contiguous:1", told)


def test_the_authors_class_order_can_be_declared() -> None:
    """checkpoints.json knows dataset and fold, but not the order of coco's classes."""
    authors = {**PLAIN, "weights": AUTHORS, "dataset": "coco", "fold": 0, "shot": 1, "refine": True}
    contiguous, interleaved = (Setting("coco", order, 0) for order in ("contiguous", "interleaved"))
    novel = {s: s.benchmark.novel_classes(0, s.class_order) for s in (contiguous, interleaved)}
    assert training_leakage(interleaved, novel[interleaved], {}, authors, PATH) == []
    info = declared("contiguous:0", authors)
    assert training_leakage(contiguous, novel[contiguous], {}, info, PATH) == []
    (line,) = training_leakage(interleaved, novel[interleaved], {}, info, PATH)
    assert line.startswith("w.pth was TRAINED on 15 of the 20 test classes: 21, ")
    assert (
        describe_training(info)
        == "trained by the authors on coco fold 0 (contiguous), 1-shot, refine, as --trained-on says"
    )
    with pytest.raises(
        UserError, match=r"was trained by the authors on coco fold 0, 1-shot, refine; leave the flag out$"
    ):
        declared("contiguous:1", authors)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({}, "which do not say what they were trained on"),
        ({"dataset": "fss", "fold": None, "shot": 1}, "trained on fss, 1-shot"),
        (
            {"dataset": "pascal", "fold": 0, "data": {"name": "toy", "counted": "x", "count": 1, "published": 2}},
            "trained on pascal fold 0 (toy data)",
        ),
        ({"dataset": "a\nb", "fold": 0}, "trained on a b fold 0"),
        ({"dataset": "pascal", "arguments": {"episode": 0, "pretrained": "a/w.pth"}}, "untrained, from w.pth"),
        ({"dataset": "pascal", "arguments": {"episode": 0, "pretrained": None}}, "untrained, from ImageNet weights"),
        ({"dataset": "pascal", "arguments": {"episode": 0, "pretrained": "none"}}, "untrained, from random weights"),
        ({"dataset": "fss", "arguments": {"episode": 8, "pretrained": "none"}}, "trained on fss"),
    ],
)
def test_how_weights_were_trained(info: dict[str, Any], said: str) -> None:
    assert describe_training(info) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"episode": 8}, "the weights were trained on toy data: what they find in other images means little"),
        ({"episode": 0, "pretrained": None}, ""),
        ({"episode": 0, "pretrained": "none"}, "the weights are random: what they find means nothing"),
    ],
)
def test_why_not_to_trust_them(arguments: dict[str, Any], said: str) -> None:
    data = {"name": "toy", "counted": "x", "count": 1, "published": 2}
    assert other_data_note({"dataset": "pascal", "fold": 0, "data": data, "arguments": arguments}) == said
