"""State dicts of the networks: what they are of, and ImageNet weights in three spellings (docs/method.md, section 2).

Wrong weights are ValueErrors; what they are and where they come from is for the caller to say.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.network import FewShotNetwork
from model.resnet import BLOCKS, ResNet
from model.timm_backbone import TimmBackbone

DAMAGED = "cannot be read, it is truncated or not a checkpoint; fetch it again"
NO_STATE = "holds no state dict (tensors by name)"
MOST_NAMES = 2**24  # bytes of the names and shapes in a file, and of its plain numbers
MOST_UNPACKED = 4  # bytes for each byte of a file; torch.save compresses nothing, and weights hardly shrink
STEM = [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)]  # the weights' shapes of the three convolutions


class OtherStem(ValueError):
    """ImageNet weights of a network that begins otherwise, such as torchvision's ResNets."""


def read_tensors(path: str | Path) -> dict[str, Any]:
    """Read a file of tensors and plain containers; nothing in it is executed.

    This is the one file that model/ opens, for ``build_model(pretrained=PATH)``.

    Arguments:
        path: a .safetensors file, or what torch.save wrote (.pth, .ckpt).
    Returns:
        The content, a dict.
    Raises:
        ValueError: the file is missing, truncated, holds code, or holds no dict.
        OSError: it cannot be read, so nothing is known of it.
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):
        raise ValueError("no such file")
    with path.open("rb") as file:
        file.read(1)  # what the system refuses is no damage
    try:
        is_bounded = _is_bounded(path)
        content = _read(path) if is_bounded else None
    except pickle.UnpicklingError as error:
        raise ValueError(
            "refused: not a checkpoint of plain tensors (it is damaged or holds code that loading would run)"
        ) from error
    except ModuleNotFoundError as error:
        raise ValueError("to read it, install safetensors (pip install safetensors)") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise MemoryError from error
        raise ValueError(DAMAGED) from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise ValueError(DAMAGED) from error
    if not is_bounded:
        raise ValueError("holds, or claims to hold, far more names or bytes than weights have; fetch it again")
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not a state dict")
    return content


def _is_bounded(path: Path) -> bool:
    """Whether what a file says of its own size is credible: of its names, and of all its parts together."""
    names = unpacked = 0
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            names = int.from_bytes(file.read(8), "little")
    elif zipfile.is_zipfile(path):
        parts = zipfile.ZipFile(path).infolist()
        names = sum(part.file_size for part in parts if part.filename.endswith(".pkl"))
        unpacked = sum(part.file_size for part in parts)
    return names <= MOST_NAMES and unpacked <= MOST_UNPACKED * path.stat().st_size


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # an optional package

        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; the errors that are raised say what matters
        return torch.load(path, map_location="cpu", weights_only=True)


def unwrap(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take a state dict out of a "state_dict" or "model" key, if it is in one, and strip ``module.`` off its keys.

    Raises ValueError if the content holds no state dict.
    """
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    if not state:
        raise ValueError(NO_STATE)
    _check_dense(state)
    return state


def _check_dense(state: Mapping[str, Any]) -> None:
    """Raise ValueError unless all values are tensors with all their numbers in memory."""
    if not all(map(is_dense, state.values())):
        raise ValueError(NO_STATE)


def is_dense(value: Any) -> bool:
    """Whether a value is a tensor with all its numbers in memory."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return not (value.is_meta or value.is_quantized or value.is_nested)


def method_and_backbone(state: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Read the method and the ResNet of one of the paper's networks off its keys; None for any other network."""
    last_of_stem = {"backbone.conv1.6.weight": "baseline", "layer0.0.6.weight": "ssp"}
    method = next((name for key, name in last_of_stem.items() if key in state), None)
    blocks = sum(flat_key(key).startswith("layer3.") and key.endswith(".conv1.weight") for key in state)
    backbone = next((name for name, count in BLOCKS.items() if count[2] == blocks), None)
    return {"method": method, "backbone": backbone} if method and backbone else None


def load_strict(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict; raises ValueError, naming the first difference, unless keys and shapes are the network's."""
    _check_dense(state)
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"{len(missing)} of {len(expected)} keys are missing, {missing[0]} the first")
    if extra := sorted(found.keys() - expected.keys()):
        raise ValueError(f"{len(extra)} keys do not belong to the network, {extra[0]} the first")
    for key, shape in expected.items():
        if found[key] != shape:
            raise ValueError(f"{key} has shape {found[key]}, expected {shape}")
    net.load_state_dict(state, strict=True)


# The stem of semseg's and CSAIL's files; the authors' and timm's have the flat keys themselves.
_SEMSEG_STEM = {
    "conv1.": "conv1.0.", "bn1.": "conv1.1.", "conv2.": "conv1.3.", "bn2.": "conv1.4.",
    "conv3.": "conv1.6.", "bn3.": "bn1.",
}  # fmt: skip


def adapt_pretrained(net: FewShotNetwork, state: Mapping[str, Tensor]) -> None:
    """Load weights of a backbone into a network.

    A ResNet takes ImageNet's weights (docs/method.md, section 2) without layer4 and fc, a timm network weights under
    timm's names, a custom backbone its state dict. Raises ValueError if they are the weights of another network,
    OtherStem if that begins otherwise.
    """
    backbone = net.backbone
    if method_and_backbone(state):
        raise ValueError("is a trained few-shot network, not ImageNet weights")
    if isinstance(backbone, TimmBackbone):
        backbone.load(state)
        return
    if isinstance(backbone, ResNet):
        state = {key: value for key, value in state.items() if not key.startswith(("layer4.", "fc."))}
        if "conv2.weight" in state:
            state = {_respell(key): value for key, value in state.items()}
        _check_stem(state)
        for key in backbone.state_dict():  # a counter that nothing reads and that files of old PyTorch versions lack
            if key.endswith("num_batches_tracked"):
                state.setdefault(key, torch.tensor(0))
    load_strict(backbone, state)


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


def _check_stem(state: Mapping[str, Tensor]) -> None:
    """Raise OtherStem unless the stem is three 3x3 convolutions of 64, 64 and 128 channels."""
    names = ("conv1.0.weight", "conv1.3.weight", "conv1.6.weight")
    widths = [tuple(state[name].shape) for name in names if name in state]
    if widths == STEM:
        return
    if "conv1.weight" in state:
        found = f"one convolution of shape {tuple(state['conv1.weight'].shape)} (torchvision's 7x7 stem)"
    else:
        first = [key for key in state if key.startswith(("conv1.", "stem."))]
        found = f"convolutions of shapes {widths}" if widths else f"the stem keys {first[:3]}"
    raise OtherStem(
        f"its stem has {found}, expected the deep stem of three 3x3 convolutions with 64, 64 and 128 channels"
    )
