"""Every field of the files that are read, absent or of a wrong kind: taken where that is meant, else one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dataset import Episode
from engine.checkpoint import INFO_RULES, Checkpoint, load_checkpoint, save_checkpoint
from engine.evaluation.protocol import PAPER, load_episodes, save_episodes
from engine.setting import Setting
from model import build_model
from util.errors import UserError, printable

WRONG: list[Any] = [
    "x", "", "a\nerror: b", "../x", 1.5, -1, 4, 101, 10**30, True, float("nan"), None, [], [1], ["x"], [None], [[1]],
    {}, {"a": 1}, {"a": [1]}, {1: "a"}, torch.zeros(2), torch.tensor(1), {"lr": torch.ones(1)}, {"lr": "1\ntouch X\n#"},
]  # fmt: skip
GOOD: dict[str, list[Any]] = {  # what of these each field may hold
    "class_order": [None],
    "fold": [None],
    "shot": [4],
    "refine": [True],
    "miou": [1.5, -1, 4, 101, 10**30],
    "arguments": [{}, {"a": 1}, {"lr": "1\ntouch X\n#"}],
    "data": [None, {}, {"a": 1}, {"lr": "1\ntouch X\n#"}],
    "base_classes": [[], [1]],
    "novel_classes": [[], [1]],
    "base_names": [[], ["x"]],
    "selection_names": [[], ["x"]],
    "novel_names": [[], ["x"]],
}
KNOWN = Setting("coco", "contiguous", 2, 5, "resnet50", "ssp", True).as_dict() | {"base_classes": [1], "miou": 50.0}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return build_model("ssp", "resnet50").half().state_dict()


def is_one_of(value: Any, some: list[Any]) -> bool:
    return any(type(value) is type(each) and repr(value) == repr(each) for each in some)


@pytest.mark.parametrize("field", INFO_RULES)
def test_checkpoints(field: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    save_checkpoint(path, Checkpoint(state, {name: value for name, value in KNOWN.items() if name != field}))
    assert field not in load_checkpoint(path).info
    for value in WRONG:
        save_checkpoint(path, Checkpoint(state, {**KNOWN, field: value}))
        if is_one_of(value, GOOD.get(field, [])):
            load_checkpoint(path)
            continue
        with pytest.raises(UserError, match=rf"w\.ckpt: damaged: its {field} cannot be ") as raised:
            load_checkpoint(path)
        assert printable(str(raised.value)) == str(raised.value)


EPISODES = {0: [Episode("a", 3, ("b",)), Episode("b", 3, ("a",))]}


def episodes_file(path: Path, **other: Any) -> Path:
    save_episodes(path, Setting(fold=0), PAPER, EPISODES)
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))
    return path


@pytest.mark.parametrize("cls", [0, -1, 1001, 1.9, 10**30, "3", None, True, [3]])
def test_classes_of_saved_episodes(cls: Any, tmp_path: Path) -> None:
    path = episodes_file(tmp_path / "e.json", seeds={"0": [["a", cls, ["b"]]]})
    with pytest.raises(UserError, match=r"e\.json: not a list of episodes that --save-episodes wrote$"):
        load_episodes(path)


@pytest.mark.parametrize("field", ["format", "dataset", "class_order", "fold", "shot", "protocol", "data", "seeds"])
def test_fields_of_saved_episodes(field: str, tmp_path: Path) -> None:
    values = [value for value in WRONG if not isinstance(value, torch.Tensor) and "tensor" not in repr(value)]
    good = {"class_order": [None], "fold": [None, True], "data": [None]}
    for value in values:
        if is_one_of(value, good.get(field, [])):
            continue
        path = episodes_file(tmp_path / "e.json", **{field: value})
        with pytest.raises(UserError, match=r"e\.json: not a list of episodes that --save-episodes wrote$"):
            load_episodes(path)
