"""State dicts told apart by their keys, and wrong ones named."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from model import build_model
from model.weights import OtherStem, adapt_pretrained, load_strict, method_and_backbone, unwrap
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
