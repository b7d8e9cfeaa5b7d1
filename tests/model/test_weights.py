"""State dicts told apart by their keys, and wrong ones named."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import build_model
from model.weights import OtherStem, adapt_pretrained, load_strict, method_and_backbone, read_tensors, unwrap
from tests.engine.test_checkpoint import constants, flat
from tests.files import GOLDEN


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return constants(build_model("ssp"))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("state_dict_resnet50", {"method": "ssp", "backbone": "resnet50"}),
        ("state_dict_resnet101", {"method": "ssp", "backbone": "resnet101"}),
        ("state_dict_baseline_resnet50", {"method": "baseline", "backbone": "resnet50"}),
    ],
)
def test_describe_reads_method_and_backbone(file: str, expected: dict[str, str]) -> None:
    keys = json.loads((GOLDEN / f"{file}.json").read_text())
    assert method_and_backbone(dict.fromkeys(keys, torch.empty(0))) == expected


def test_describe_knows_what_is_no_network_of_ours(weights: dict[str, Tensor]) -> None:
    assert method_and_backbone({}) is None
    assert method_and_backbone({"weight": torch.empty(0)}) is None
    assert method_and_backbone(flat(weights)) is None
    without_a_block = {key: value for key, value in weights.items() if not key.startswith("layer3.5.")}
    assert method_and_backbone(without_a_block) is None


def test_wrong_weights_are_value_errors(weights: dict[str, Tensor]) -> None:
    """model/ knows no file that it could name."""
    net = build_model("ssp")
    with pytest.raises(ValueError, match=r"^holds no state dict"):
        unwrap({"epoch": 3})
    with pytest.raises(ValueError, match=r"^225 of 270 keys are missing"):
        load_strict(net, {})
    with pytest.raises(ValueError, match=r"^is a trained few-shot network"):
        adapt_pretrained(net, weights)
    with pytest.raises(OtherStem, match=r"^its stem has the stem keys \[\]"):
        adapt_pretrained(net, {"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"^nowhere.pth: no such file$"):
        build_model("ssp", pretrained="nowhere.pth")


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"module._orig_mod.layer0.a": 1, "module._orig_mod.layer0.b": 2}, {"layer0.a": 1, "layer0.b": 2}),
        ({"state_dict": {"model.net.layer0.a": 1, "loss.weight": 2}}, {"layer0.a": 1}),
        ({"backbone._orig_mod.a": 1, "net.a": 2}, {"backbone.a": 1, "net.a": 2}),  # a custom head called net
        ({"params": {"layer0.a": 1}, "params_ema": {"layer0.a": 2}}, {"layer0.a": 2}),
        ({"model": {"state_dict": {"layer0.a": 1}}, "ema": {"layer0.a": 2}}, {"layer0.a": 1}),
        ({"epoch": 3, "mine": {"layer0.a": 1}}, {"layer0.a": 1}),
    ],
)
def test_what_weights_are_wrapped_in(content: dict[str, Any], keys: dict[str, int]) -> None:
    def tensors(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: tensors(x, name) for name, x in value.items()}
        return value if key == "epoch" else torch.tensor(value)

    assert {key: int(value) for key, value in unwrap(tensors(content)).items()} == keys


class Mobile(nn.Module):
    """A backbone whose only part has the name of a wrapper."""

    channels = stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, 8, 8, stride=8)


def test_a_custom_backbones_own_names_stay() -> None:
    net, state = build_model("ssp", Mobile()), {"model.weight": torch.ones(8, 3, 8, 8), "model.bias": torch.ones(8)}
    adapt_pretrained(net, {"state_dict": {f"module.{key}": value for key, value in state.items()}})
    assert all(value.eq(1).all() for value in net.backbone.state_dict().values())


def save_as(form: str, content: object, path: Path) -> Path:
    """Save weights with torch, or as a plain pickle."""
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    return path


class Code:
    """Unpickled it runs a program, or another function."""

    def __init__(self, function: Callable[..., object] = os.system) -> None:
        self.function = function

    def __reduce__(self) -> tuple:
        return self.function, ("touch HOSTILE",)


@pytest.mark.parametrize("content", [{"w": Code()}, {"args": argparse.Namespace(), "w": Code()}])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_nobody_is_told_how_to_run_code(content: object, form: str, tmp_path: Path) -> None:
    path = save_as(form, content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"^refused: names posix.*; do not trust the file$"):
        read_tensors(path)


@pytest.mark.parametrize("function", [eval, exec, open, __import__, subprocess.getoutput, pickle.loads, torch.hub.load])
@pytest.mark.parametrize("form", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}], ids=str)
def test_code_in_any_form(function: Callable[..., object], form: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(), "w": Code(function)}, tmp_path / "w.pth", **form)
    with pytest.raises(ValueError, match=r"^refused: names \S+, which .*; do not trust the file$"):
        read_tensors(tmp_path / "w.pth")


def test_a_name_that_is_hidden(tmp_path: Path) -> None:
    """Between the two texts that an import takes stands a third, which is thrown away."""
    (tmp_path / "w.pth").write_bytes(b"\x80\x04\x8c\x02os\x8c\x05numpy0\x8c\x06system\x93.")
    with pytest.raises(ValueError, match=r"^refused: names \S+, which .*; do not trust the file$"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [
        {"weight": np.ones((2, 3), np.float32), "epoch": np.int64(3)},
        {"state_dict": {"weight": torch.ones(2, 3)}, "args": argparse.Namespace(lr=1)},
        {"model_state_dict": {"weight": torch.ones(2, 3)}, "args": argparse.Namespace(lr=1)},
        nn.Linear(3, 2, bias=False).requires_grad_(False),
        {"model": nn.Linear(3, 2, bias=False).requires_grad_(False), "best": np.float64(3)},
    ],
    ids=["numpy", "namespace", "another container", "module", "module in a container"],
)
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_the_line_that_saves_refused_weights_anew(content: object, form: str, tmp_path: Path) -> None:
    path = save_as(form, content, tmp_path / 'of "mine" $HOME.pth')
    with pytest.raises(ValueError, match=r"^refused: ") as excinfo:
        read_tensors(path)
    line = str(excinfo.value).partition("anew: python ")[2]
    subprocess.run([sys.executable, *shlex.split(line)], check=True)
    state = read_tensors(tmp_path / 'of "mine" $HOME_weights.pth')
    assert {key: value.shape for key, value in state.items()} == {"weight": (2, 3)}
