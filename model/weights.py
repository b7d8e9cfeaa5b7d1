"""Weights in and out: released state dicts, our own checkpoints, ImageNet weights of three spellings.

Nothing here trusts a pickle: files are read with ``weights_only=True`` or as safetensors.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from model.resnet import BLOCKS
from util.errors import UserError
from util.files import atomic_write

FORMAT = "ssp-checkpoint-1"  # of our own files: weights and what they were trained on
SUFFIX = ".ckpt"  # of our own files; plain state dicts are .pth
PRETRAINED = Path(__file__).parents[1] / "pretrained"
GET_PRETRAINED = (
    "get them with prepare.py weights (timm's resnet50s.gluon_in1k / resnet101s.gluon_in1k), name another file with "
    "--pretrained, or start from random weights with --pretrained none"
)


class Checkpoint(NamedTuple):
    """A network's weights and what is known of their training ("method" and "backbone" always are)."""

    state_dict: dict[str, Tensor]
    info: dict[str, Any]


def read(path: str | Path) -> dict[str, Any]:
    """The content of a .pth, .ckpt or .safetensors file: tensors and plain containers only."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what matters is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused: not a checkpoint of plain tensors (it is damaged or holds code that loading would run)"
        ) from error
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise UserError(f"{path}: cannot be read, it is truncated or not a checkpoint; fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path}: to read it, install safetensors (pip install safetensors)") from error
    return load_file(path)


def unwrap(content: Mapping[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The state dict of a file, wrapped under a "state_dict" or "model" key or not, without ``module.``."""
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds no state dict (tensors by name)")
    return state


def describe(state: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Method and backbone of a few-shot network's state dict, read off its keys; None if it is none."""
    prefix = {"backbone.": "baseline", "layer0.": "ssp"}
    method = next((name for start, name in prefix.items() if any(key.startswith(start) for key in state)), None)
    blocks = sum(flat_key(key).startswith("layer3.") and key.endswith(".conv1.weight") for key in state)
    backbone = next((name for name, count in BLOCKS.items() if count[2] == blocks), None)
    return {"method": method, "backbone": backbone} if method and backbone else None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a trained network's file: our own, or a released state dict. Raises UserError, one line."""
    content = read(path)
    state = unwrap(content, path)
    known = describe(state)
    if known is None:
        raise UserError(
            f"{path}: not the weights of an SSP or baseline network with a ResNet-50 or -101 "
            f"({len(state)} keys, the first is {next(iter(state))!r})"
        )
    info = content.get("info") if content.get("format") == FORMAT else {}
    if not isinstance(info, dict):
        raise UserError(f"{path}: damaged: it does not hold what it was trained on; fetch it again")
    return Checkpoint(state, {**info, **known})


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write our own checkpoint, atomically."""
    write(path, {"format": FORMAT, "state_dict": checkpoint.state_dict, "info": checkpoint.info})


def save_weights(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a plain state dict that the authors' release can load, atomically."""
    write(path, dict(state))


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors and plain containers, atomically."""
    buffer = io.BytesIO()  # so that a full disk is met by a write of ours, not inside torch.save
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def find_checkpoint(folder: str | Path, pattern: str = "*") -> Path:
    """The one checkpoint in a folder; a run's .pth and .ckpt pair counts as one, the .ckpt tells more."""
    folder = Path(folder)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise UserError(f"{folder}: no such checkpoint or folder; train one with main.py or name one with --checkpoint")
    found = {path.stem: path for suffix in (".pth", SUFFIX) for path in sorted(folder.glob(f"{pattern}{suffix}"))}
    if not found:
        raise UserError(f"{folder}: holds no {pattern}.pth or {pattern}{SUFFIX}; name a checkpoint with --checkpoint")
    if len(found) > 1:
        names = ", ".join(path.name for path in found.values())
        raise UserError(f"{folder}: holds {len(found)} checkpoints ({names}); name one with --checkpoint")
    return next(iter(found.values()))


def load_strict(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load a state dict whose keys and shapes must be the network's own; says what differs if not."""
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if missing := sorted(expected.keys() - found.keys()):
        raise UserError(f"{path}: {len(missing)} of {len(expected)} keys are missing, {missing[0]} the first")
    if extra := sorted(found.keys() - expected.keys()):
        raise UserError(f"{path}: {len(extra)} keys do not belong to the network, {extra[0]} the first")
    for key, shape in expected.items():
        if found[key] != shape:
            raise UserError(f"{path}: {key} has shape {found[key]}, expected {shape}")
    net.load_state_dict(state, strict=True)


# The stem of semseg's and CSAIL's files; the authors' and timm's have the flat keys themselves.
_SEMSEG_STEM = {
    "conv1.": "conv1.0.", "bn1.": "conv1.1.", "conv2.": "conv1.3.", "bn2.": "conv1.4.",
    "conv3.": "conv1.6.", "bn3.": "bn1.",
}  # fmt: skip


def load_pretrained(net: nn.Module, path: str | Path) -> None:
    """Load the ImageNet weights of a file into the trunk of a network; see :func:`adapt_pretrained`."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no ImageNet weights there: {GET_PRETRAINED}")
    adapt_pretrained(net, unwrap(read(path), path), path)


def adapt_pretrained(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load ImageNet weights (docs/method.md, section 2) into the trunk of a network; layer4 and fc are left out.

    path: where they are from, for messages. Raises UserError where they are of another network.
    """
    if describe(state):
        raise UserError(f"{path}: is a trained few-shot network, not ImageNet weights; --pretrained wants the latter")
    state = {key: value for key, value in state.items() if not key.startswith(("layer4.", "fc."))}
    if "conv2.weight" in state:
        state = {_respell(key): value for key, value in state.items()}
    _check_stem(state, path)
    own = net.state_dict()
    names = {flat_key(key): key for key in own}
    for key in names:  # a counter that nothing reads; files of old PyTorch versions lack it
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, torch.tensor(0))
    load_strict(net, {names.get(key, key): value for key, value in state.items()}, path)


def find_pretrained(path: str | None, backbone: str) -> Path:
    """The ImageNet weights named, or pretrained/BACKBONE.pth (or .safetensors) in the project's folder."""
    if path is not None:
        return Path(path)
    files = [PRETRAINED / f"{backbone}{suffix}" for suffix in (".pth", ".safetensors")]
    return next((file for file in files if file.is_file()), files[0])


def flat_key(key: str) -> str:
    """A network's key as ImageNet files spell it: layer0.0.0.weight and backbone.conv1.0.weight -> conv1.0.weight."""
    for prefix, flat in (("layer0.0.", "conv1."), ("layer0.1.", "bn1."), ("backbone.", "")):
        if key.startswith(prefix):
            return flat + key.removeprefix(prefix)
    return key


def _respell(key: str) -> str:
    for stem, flat in _SEMSEG_STEM.items():
        if key.startswith(stem):
            return flat + key.removeprefix(stem)
    return key


def _check_stem(state: Mapping[str, Tensor], path: str | Path) -> None:
    """The stem must be three 3x3 convolutions of 64, 64 and 128 channels."""
    names = ("conv1.0.weight", "conv1.3.weight", "conv1.6.weight")
    widths = [tuple(state[name].shape) for name in names if name in state]
    if widths == [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]:
        return
    if "conv1.weight" in state:
        found = f"one convolution of shape {tuple(state['conv1.weight'].shape)} (torchvision's 7x7 stem)"
    else:
        first = [key for key in state if key.startswith(("conv1.", "stem."))]
        found = f"convolutions of shapes {widths}" if widths else f"the stem keys {first[:3]}"
    raise UserError(
        f"{path}: its stem has {found}, expected the deep stem of three 3x3 convolutions with 64, 64 and 128 "
        f"channels; {GET_PRETRAINED}"
    )
