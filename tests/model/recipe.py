"""The golden files' weights and inputs, made from names."""

from __future__ import annotations

import json
import zlib

import numpy as np
import torch
from torch import Tensor, nn

from model.weights import flat_key
from tests.files import GOLDEN

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ssp_key(key: str) -> str:
    """The recipe names every network's keys as the ssp network does."""
    flat = flat_key(key)
    for stem, name in (("conv1.", "layer0.0."), ("bn1.", "layer0.1.")):
        if flat.startswith(stem):
            return name + flat.removeprefix(stem)
    return flat


def fill(net: nn.Module, backbone: str, centred: bool = True) -> None:
    """Give a network the golden files' weights."""
    state = {key: _value(ssp_key(key), tuple(old.shape)) for key, old in net.state_dict().items()}
    blocks = max(int(ssp_key(key).split(".")[1]) for key in state if ssp_key(key).startswith("layer3."))
    for key in state:
        if ssp_key(key).startswith("layer3.") and key.endswith("bn3.weight"):
            state[key] *= np.float32(0.2)
        if centred and ssp_key(key) == f"layer3.{blocks}.bn3.bias":
            state[key] = np.load(GOLDEN / "centre_bias.npz")[backbone]
    net.load_state_dict({key: torch.as_tensor(value) for key, value in state.items()}, strict=True)


def _value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) == 4:
        return noise * np.float32(np.sqrt(2.0 / (shape[1] * shape[2] * shape[3])))
    if key.endswith("running_mean"):
        return np.float32(0.1) * noise
    if key.endswith("running_var"):
        return np.exp(np.float32(0.2) * noise)
    if key.endswith(".weight"):
        return 1 + np.float32(0.1) * noise
    return np.float32(0.1) * noise


def episode(name: str, shots: int | None = None) -> dict:
    """A golden file as the network's arguments, its expected outputs ("out") and its "meta"."""
    file = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(file["meta"]))
    shots = range(meta["shot"] if shots is None else shots)
    return {
        "arguments": (
            [_image(file[f"support_image_{k}"]) for k in shots],
            [_mask(file[f"support_label_{k}"]) for k in shots],
            _image(file["query_image"]),
            _mask(file["query_label"]),
        ),
        "out": [torch.as_tensor(file[f"out_{i}"]) for i in range(meta["n_out"])],
        "meta": meta,
    }


def _image(array: np.ndarray) -> Tensor:
    scaled = array.astype(np.float32) / 255
    normalised = (scaled - np.float32(MEAN)) / np.float32(STD)
    return torch.as_tensor(normalised).permute(0, 3, 1, 2).contiguous()


def _mask(array: np.ndarray) -> Tensor:
    mask = np.where(array == 255, 255, (array == 1).astype(np.int64))
    return torch.as_tensor(mask)
