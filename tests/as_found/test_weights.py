"""Weights of other origin: what other tools wrote around them, and what is no checkpoint."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import build_model
from tests.as_found.cases import Case, Inputs, check

ONE = {"weight": torch.zeros(2)}
SEGMENTED, RESAVE = r"1 images?, ", r"if you trust its maker, save its weights anew: python -c "
REFUSED = r"error: \S+/w\.pth: refused: holds {}, besides plain tensors; " + RESAVE


def segment(inputs: Inputs, content: Any, name: str = "w.pth") -> list[str]:
    """predict.py on a toy picture with a file of this content as its weights."""
    torch.save(content, inputs.folder / name)
    return predict(inputs, inputs.folder / name)


def predict(inputs: Inputs, weights: Path) -> list[str]:
    image, mask = inputs.toy / "JPEGImages/toy_00060.jpg", inputs.toy / "SegmentationClassAug/toy_00060.png"
    files = ["--support", image, "--mask", mask, "--query", image, "--out", inputs.folder / "out"]
    return ["predict.py", "--checkpoint", *map(str, (weights, *files))]


def train(inputs: Inputs, content: Any) -> list[str]:
    """main.py from a file of this content, without a training step."""
    torch.save(content, inputs.folder / "w.pth")
    files = ["--data-root", inputs.toy, "--pretrained", inputs.folder / "w.pth", "--out", inputs.folder / "out"]
    counts = "--crop-size 65 --episode 0 --test-episodes 1 --seeds 1 --workers 0 --cache-gb 0.1"
    return ["main.py", *map(str, files), *counts.split()]


def trained(inputs: Inputs, prefix: str = "", without: str = "nothing") -> dict[str, Tensor]:
    """A trained network's state dict."""
    state = torch.load(inputs.checkpoint, weights_only=True)["state_dict"]
    return {prefix + key: value for key, value in state.items() if without not in key}


def backbone(spell: Callable[[str], str] = str) -> dict[str, Tensor]:
    """A ResNet's state dict of single numbers, with a classifier's last layers."""
    state = build_model("baseline").backbone.state_dict()
    state = {spell(key): torch.tensor(0.5).to(value.dtype).expand(value.shape) for key, value in state.items()}
    return {**state, "layer4.0.conv1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}


def of_pspnet(key: str) -> str:
    stem = {"conv1.0.": "0.", "conv1.1.": "1.", "conv1.3.": "3.", "conv1.4.": "4.", "conv1.6.": "6.", "bn1.": "7."}
    part = next((part for part in stem if key.startswith(part)), None)
    return key if part is None else f"layer0.{stem[part]}{key.removeprefix(part)}"


def plain_pickle(inputs: Inputs) -> list[str]:
    (inputs.folder / "w.pkl").write_bytes(pickle.dumps({"model": {"weight": np.zeros(2)}}))
    return predict(inputs, inputs.folder / "w.pkl")


def state_of_run(inputs: Inputs, *beside: str) -> list[str]:
    for name in beside:
        (inputs.folder / name).touch()
    return segment(inputs, {"format": "ssp-training-1", "state_dict": ONE, "best_name": "best"}, "run.last")


LOADED = {
    "prefix _orig_mod. of torch.compile": lambda inputs: trained(inputs, "_orig_mod."),
    "prefix module._orig_mod.": lambda inputs: trained(inputs, "module._orig_mod."),
    "prefix _orig_mod.module.module.": lambda inputs: trained(inputs, "_orig_mod.module.module."),
    "Lightning: state_dict, model., a loss's weight": lambda inputs: {
        "state_dict": {**trained(inputs, "model."), "criterion.weight": torch.ones(2)},
        "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning and torch.compile: model._orig_mod.net.": lambda inputs: {
        "state_dict": trained(inputs, "model._orig_mod.net.")
    },
    **{
        f"container {name}": lambda inputs, name=name: {"epoch": 3, "optimizer": {"state": {}}, name: trained(inputs)}
        for name in ("model_state_dict", "net", "weights", "params_ema", "params", "ema")
    },
    "container model in container state_dict": lambda inputs: {"model": {"state_dict": trained(inputs)}},
    "container of a name of one's own": lambda inputs: {"epoch": 3, "my_weights": trained(inputs)},
    "no num_batches_tracked": lambda inputs: trained(inputs, without="num_batches_tracked"),
}
HELD = {
    "a number of numpy": ({**ONE, "best": np.float64(3)}, r"numbers of numpy, numpy\S*\.scalar"),
    "arrays of numpy": ({"weight": np.zeros(2)}, r"numbers of numpy, numpy\S*\._reconstruct"),
    "argparse.Namespace": ({"state_dict": ONE, "args": argparse.Namespace(lr=1)}, r"argparse\.Namespace"),
    "pathlib.Path": ({"state_dict": ONE, "out": Path("x")}, r"pathlib\.PosixPath"),
    "a whole module": (nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
    "a whole module in a container": ({"model": nn.Linear(2, 2)}, r"torch\.nn\.modules\.linear\.Linear"),
}
FEW_SHOT = r"error: .*w\.pth: PSPNet's weights, or .* such as BAM \(\d+ keys, .*'layer0.*main\.py --pretrained"
ALONE = r"error: .*w\.pth: weights of a backbone alone, such as ImageNet's \(\d+ keys.*; these are for main\.py --pretr"
CASES = [
    *(
        Case(f"checkpoint: {name}", lambda inputs, make=make: segment(inputs, make(inputs)), 0, SEGMENTED)
        for name, make in LOADED.items()
    ),
    *(
        Case(f"checkpoint: {name}", lambda inputs, held=held: segment(inputs, held), 2, REFUSED.format(kind))
        for name, (held, kind) in HELD.items()
    ),
    Case(
        "checkpoint: a plain pickle", plain_pickle, 2, r"w\.pkl: refused: a pickle that torch\.save did not .*" + RESAVE
    ),
    Case("checkpoint: ImageNet's, timm's names", lambda inputs: segment(inputs, backbone()), 2, ALONE),
    Case(
        "checkpoint: ImageNet's, torchvision's stem",
        lambda inputs: segment(inputs, {"conv1.weight": torch.zeros(2), "layer1.0.conv1.weight": torch.zeros(2)}),
        2,
        ALONE,
    ),
    Case("checkpoint: PSPNet's or BAM's", lambda inputs: segment(inputs, backbone(of_pspnet)), 2, FEW_SHOT),
    Case(
        "checkpoint: a run's .last",
        lambda inputs: state_of_run(inputs, "best.ckpt"),
        2,
        r"run\.last: the state of a training run, no checkpoint; the run's best weights are .*/best\.ckpt$",
    ),
    Case(
        "checkpoint: a run's .last alone",
        state_of_run,
        2,
        r"run\.last: the state of a training run, no checkpoint; .* not beside it; train on with main\.py --resume",
    ),
    Case(
        "checkpoint: complex numbers",
        lambda inputs: segment(inputs, {key: x + 0j for key, x in trained(inputs).items()}),
        2,
        r"w\.pth: \S+ holds numbers of torch\.complex64; save the weights as float32",
    ),
    Case(
        "checkpoint: float8",
        lambda inputs: segment(inputs, {key: x.to(torch.float8_e5m2) for key, x in trained(inputs).items()}),
        2,
        r"w\.pth: \S+ holds numbers of torch\.float8_e5m2; save the weights as float32",
    ),
    Case(
        "checkpoint: float16",
        lambda inputs: segment(inputs, {key: x.half() for key, x in trained(inputs).items()}),
        0,
        SEGMENTED,
    ),
    Case("pretrained: PSPNet's or BAM's", lambda inputs: train(inputs, {**backbone(of_pspnet), **ONE}), 0, "mIoU "),
    Case(
        "pretrained: with prefix model._orig_mod.",
        lambda inputs: train(inputs, {"state_dict": {f"model._orig_mod.{k}": x for k, x in backbone().items()}}),
        0,
        "mIoU ",
    ),
    Case(
        "pretrained: PSPNet's with torchvision's stem",
        lambda inputs: train(
            inputs, {"layer0.0.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(2)}
        ),
        2,
        r"w\.pth: its stem has convolutions of shapes \[\(64, 3, 7, 7\)\], expected the deep stem",
    ),
    Case(
        "pretrained: a checkpoint of SSP",
        lambda inputs: train(inputs, trained(inputs)),
        2,
        r"w\.pth: is a trained few-shot network, not ImageNet weights; use it as a checkpoint",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_weights(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)
