"""Weights of other origin: what other tools wrote around them, and what is no checkpoint."""

from __future__ import annotations

import argparse
import gzip
import pickle
import zipfile
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
    "container module of DeepSpeed": lambda inputs: {"module": trained(inputs, "module."), "optimizer": {"state": {}}},
    "container of a name of one's own beside an optimizer": lambda inputs: {
        "my_weights": trained(inputs),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []},
    },
    "prefix _forward_module. of Lightning's": lambda inputs: {"state_dict": trained(inputs, "_forward_module.model.")},
    "_checkpoint_wrapped_module. in the middle": lambda inputs: {
        key.replace("layer1.", "layer1._checkpoint_wrapped_module."): x for key, x in trained(inputs).items()
    },
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
TWO = {  # content, and what is said of the networks in it
    "state_dict and state_dict_ema": (
        lambda inputs: {"state_dict_ema": trained(inputs), "state_dict": trained(inputs)},
        "takes the weights in state_dict, and leaves those in state_dict_ema;",
    ),
    "params and params_ema": (
        lambda inputs: {"params": trained(inputs), "params_ema": trained(inputs)},
        "takes the weights in params_ema, and leaves those in params;",
    ),
    "torchvision's model_ema": (
        lambda inputs: {"model": trained(inputs), "model_ema": {"n_averaged": ONE, **trained(inputs, "module.")}},
        r"takes the weights in model, and leaves those in model_ema\.module;",
    ),
    "Lightning's keys of two": (
        lambda inputs: {"state_dict": {**trained(inputs, "ema_model."), **trained(inputs, "model.")}},
        r"takes the weights in state_dict\.model, and leaves those in state_dict\.ema_model;",
    ),
}
NAMED = {  # content, and the line
    "student and teacher": (
        lambda inputs: {"student": trained(inputs), "teacher": trained(inputs), "epoch": 1},
        r"w\.pth: holds no state dict \(tensors by name\), but student, teacher, epoch; save a state dict alone",
    ),
    "keys of student and teacher": (
        lambda inputs: {**trained(inputs, "student."), **trained(inputs, "teacher.")},
        r"w\.pth: networks whose keys begin with student\., teacher\. \(.*; save one's alone, without that",
    ),
    "a number beside the tensors": (
        lambda inputs: {**trained(inputs), "epoch": 3},
        r"w\.pth: holds no state dict \(tensors by name\), but epoch; save a state dict alone",
    ),
    "a sparse tensor": (
        lambda inputs: {**trained(inputs), "layer0.0.0.weight": torch.zeros(64, 3, 3, 3).to_sparse()},
        r"w\.pth: holds no .*: layer0\.0\.0\.weight is sparse, quantized or on no device; save it as a dense tensor",
    ),
    "whole numbers of 8 bits": (
        lambda inputs: {key: x.to(torch.int8) for key, x in trained(inputs).items()},
        r"w\.pth: \S+ holds numbers of torch\.int8; save the weights as float32",
    ),
    "a block less": (
        lambda inputs: trained(inputs, without="layer3.5."),
        r"w\.pth: not the weights of an SSP or baseline network with a ResNet-50 or -101 \(",
    ),
    "a segmenter with such a backbone": (
        lambda inputs: {
            "state_dict": {**{f"backbone.{key}": x for key, x in backbone().items()}, "head.bias": ONE["weight"]}
        },
        r"w\.pth: not the weights of an SSP or baseline network with a ResNet-50 or -101 \(",
    ),
    "plain texts that are names of modules": (
        lambda inputs: {"os": "linux", "sys": "code", "args": argparse.Namespace(lr=1)},
        REFUSED.format(r"argparse\.Namespace"),
    ),
    "range": (lambda inputs: {**ONE, "steps": range(3)}, REFUSED.format("range")),
}
FILES = {  # bytes, the file's name, and the line
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        "w.pth",
        "text, not .*git",
    ),
    "a web page": (b"<!DOCTYPE html><html></html>", "w.pth", r"text, not weights, it begins '<!DOCTYPE html><html>"),
    "a web page, .safetensors": (
        b"<!DOCTYPE html><html></html>",
        "w.safetensors",
        r"text, not weights, it begins '<!D",
    ),
    "an answer of a server": (b"Entry not found", "w.pth", "text, not weights, it begins 'Entry not found'; fetch"),
    "packed by gzip": (gzip.compress(b"weights"), "w.pth.gz", "packed by gzip; unpack it"),
    "an archive of tar": (bytes(257) + b"ustar", "w.pth.tar", "an archive of tar; unpack it"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "w.h5", "a file of HDF5, such as Keras's; save the weights with torch.save"),
    "a NumPy array": (b"\x93NUMPY\x01\x00", "w.npy", "a NumPy array; save the weights with torch.save"),
    "ONNX": (b"\x08\x08\x12\x07pytorch", "w.onnx", "a file of ONNX; take the PyTorch weights that it was made from"),
}


def write(inputs: Inputs, content: bytes, name: str) -> list[str]:
    (inputs.folder / name).write_bytes(content)
    return predict(inputs, inputs.folder / name)


def zipped(inputs: Inputs) -> list[str]:
    with zipfile.ZipFile(inputs.folder / "w.zip", "w") as archive:
        archive.writestr("w.pth", "weights")
    return predict(inputs, inputs.folder / "w.zip")


def in_form(inputs: Inputs, protocol: int) -> list[str]:
    torch.save({**ONE, "tensors": [torch.ones(1)]}, inputs.folder / "w.pth", pickle_protocol=protocol)
    return predict(inputs, inputs.folder / "w.pth")


def in_safetensors(inputs: Inputs, name: str) -> list[str]:
    save = pytest.importorskip("safetensors.torch").save_file
    save({key: x.contiguous() for key, x in trained(inputs).items()}, inputs.folder / name)
    return predict(inputs, inputs.folder / name)


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
    *(
        Case(f"checkpoint: {name}", lambda inputs, make=make: segment(inputs, make(inputs)), 0, f"note: .*: {says}")
        for name, (make, says) in TWO.items()
    ),
    *(
        Case(f"checkpoint: {name}", lambda inputs, make=make: segment(inputs, make(inputs)), 2, says)
        for name, (make, says) in NAMED.items()
    ),
    *(
        Case(
            f"checkpoint: {name}", lambda inputs, x=(content, file): write(inputs, *x), 2, rf"error: .*/{file}: {says}"
        )
        for name, (content, file, says) in FILES.items()
    ),
    Case("checkpoint: a zip archive", zipped, 2, r"w\.zip: a zip archive of other files than torch\.save's; unpack it"),
    Case(
        "checkpoint: pickle's form 4", lambda inputs: in_form(inputs, 4), 2, r"w\.pth: refused: in a form .*" + RESAVE
    ),
    Case("checkpoint: safetensors under .pth", lambda inputs: in_safetensors(inputs, "w.pth"), 0, SEGMENTED),
    Case(
        "checkpoint: torch.save's under .safetensors",
        lambda inputs: segment(inputs, trained(inputs), "w.safetensors"),
        2,
        r"w\.safetensors: not of safetensors, but a zip archive as torch\.save writes it; rename it to \.pth",
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
        "pretrained: with prefix backbone., and a head beside it",
        lambda inputs: train(
            inputs,
            {
                "meta": {},
                "state_dict": {**{f"backbone.{k}": x for k, x in backbone().items()}, "head.bias": ONE["weight"]},
            },
        ),
        0,
        "mIoU ",
    ),
    Case(
        "pretrained: model and model_ema",
        lambda inputs: train(inputs, {"model": backbone(), "model_ema": backbone()}),
        0,
        r"note: .*w\.pth: takes the weights in model, and leaves those in model_ema;",
    ),
    Case(
        "pretrained: nan",
        lambda inputs: train(inputs, {**backbone(), "layer1.0.bn1.weight": torch.full((64,), torch.nan)}),
        2,
        r"w\.pth: layer1\.0\.bn1\.weight holds nan or infinity; take other weights",
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
