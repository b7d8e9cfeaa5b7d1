"""State dicts of the networks: what they are of, and ImageNet weights in four spellings (docs/method.md, section 2).

Wrong weights are ValueErrors; what they are and where they come from is for the caller to say.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import shlex
import warnings
import zipfile
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.network import FewShotNetwork
from model.resnet import BLOCKS, ResNet
from model.timm_backbone import COUNTER, TimmBackbone

DAMAGED = "cannot be read, it is truncated or not a checkpoint; fetch it again"
NO_STATE = "holds no state dict (tensors by name)"
MOST_NAMES = 2**24  # bytes of the names and shapes in a file, and of its plain numbers
MOST_UNPACKED = 4  # bytes for each byte of a file; torch.save compresses nothing, and weights hardly shrink
# The names under which programs keep a state dict, of which the first that is there is taken.
CONTAINERS = "state_dict model_state_dict model_state model net network weights params_ema params model_ema ema".split()
DEEPEST = 4  # such names one in the other
WRAPPERS = ("module.", "model.", "net.", "network.")  # the names of a network in another module, as Lightning's
# Modules whose functions run programs or code: a file of weights that names one was made to harm.
RUNS_CODE = (
    "builtins code ctypes importlib multiprocessing nt os pdb pip posix pty runpy shutil socket subprocess sys timeit "
    "webbrowser"
).split()
NETWORK_STARTS = ("layer0.", "backbone.")  # of the keys of the networks here
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
        raise ValueError(_describe_refusal(path, str(error))) from error
    except ModuleNotFoundError as error:
        raise ValueError("to read it, install safetensors (pip install safetensors)") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise MemoryError from error
        if "TorchScript" in str(error):
            raise ValueError(f"holds a TorchScript program; {_resaving(path)}") from error
        raise ValueError(DAMAGED) from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise ValueError(DAMAGED) from error
    if not is_bounded:
        raise ValueError("holds, or claims to hold, far more names or bytes than weights have; fetch it again")
    if not isinstance(content, dict):
        raise ValueError(f"holds a {type(content).__name__}, not a state dict")
    return content


def _describe_refusal(path: Path, reason: str) -> str:
    """What to say of a file that torch.load refuses, by its reason."""
    found = re.search(r"GLOBAL (\S+)", reason)
    named = found[1] if found else ""
    code = named if named.partition(".")[0] in RUNS_CODE else _name_code(path)
    if code:  # nobody shall be told how to run it
        return f"refused: names {code}, which weights have no use for; do not trust the file"
    if named:
        what = f"{'numbers of numpy, ' if named.startswith('numpy') else ''}{named}"
        return f"refused: holds {what}, besides plain tensors; {_resaving(path)}"
    if _is_plain_pickle(path):
        return f"refused: a pickle that torch.save did not write; {_resaving(path)}"
    return "refused: not a checkpoint of plain tensors (it is damaged or holds code that loading would run)"


def _is_plain_pickle(path: Path) -> bool:
    """Whether a file is a pickle, but none of torch.save's, which is a zip or begins with a long integer."""
    with path.open("rb") as file:
        start = file.read(3)
    return start[:1] == pickle.PROTO and start[2:] != pickle.LONG1


def _name_code(path: Path) -> str:
    """A module of RUNS_CODE that a pickle names in its first million operations, else ""; nothing is executed."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            parts = [part for part in archive.namelist() if part.endswith("data.pkl")]
            if not parts:
                return ""
            file = stack.enter_context(archive.open(parts[0]))
        try:
            texts = (value for _, value, _ in islice(pickletools.genops(file), 10**6) if isinstance(value, str))
            return next((text for text in texts if text.partition(" ")[0].partition(".")[0] in RUNS_CODE), "")
        except ValueError:  # damaged: unpickling would come no further
            return ""


def _resaving(path: Path) -> str:
    """The line that saves the weights of a file anew, for a user who lets its code run."""
    old, new = (
        json.dumps(str(name), ensure_ascii=False) for name in (path, path.with_name(f"{path.stem}_weights.pth"))
    )
    load = f'torch.load({old}, map_location="cpu", weights_only=False)'
    if _is_plain_pickle(path):
        load = f'pickle.load(open({old}, "rb"))'
    return "if you trust its maker, save its weights anew: python -c " + shlex.quote(
        f"import pickle, torch; x = {load}; "
        f"x = next((x[k] for k in {CONTAINERS} if k in x), x) if isinstance(x, dict) else x; "
        'x = x.state_dict() if hasattr(x, "state_dict") else x; '
        f'torch.save({{k: torch.as_tensor(v) for k, v in x.items() if getattr(v, "ndim", 0)}}, {new})'
    )


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


def unwrap(content: Mapping[str, Any], starts: Collection[str] = NETWORK_STARTS) -> dict[str, Tensor]:
    """Take a state dict out of the containers that it is in, and its keys out of what the network was wrapped in.

    Arguments:
        content: what a file holds; a state dict alone is returned as it is.
        starts: how the keys of the network begin. Other keys beside a wrapped network, such as a loss's, are left out.
    Raises:
        ValueError: the content holds no state dict.
    """
    for _ in range(DEEPEST):
        content = _contained(content)
    state = {str(key).replace("_orig_mod.", ""): value for key, value in content.items()}
    while not any(key.startswith(tuple(starts)) for key in state):
        wrapper = next((name for name in WRAPPERS if any(key.startswith(name) for key in state)), None)
        if wrapper is None:
            break
        state = {key.removeprefix(wrapper): value for key, value in state.items() if key.startswith(wrapper)}
    if not state:
        raise ValueError(NO_STATE)
    _check_dense(state)
    return state


def _contained(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of weights in a container, of a known name or the only one there is; itself if there is none."""
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    name = next((name for name in CONTAINERS if name in inner), None)
    if name is None and len(inner) == 1 and not any(isinstance(value, Tensor) for value in content.values()):
        name = next(iter(inner))
    return content if name is None else inner[name]


def _check_dense(state: Mapping[str, Any]) -> None:
    """Raise ValueError unless all values are tensors with all their numbers in memory."""
    if not all(map(is_dense, state.values())):
        raise ValueError(NO_STATE)


def _check_numbers(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ValueError if weights are complex or of 8 bits, unless those of the network are."""
    for key, value in state.items():
        is_small = value.is_floating_point() and value.dtype.itemsize == 1
        if (value.is_complex() or is_small) and not (key in own and own[key].dtype == value.dtype):
            raise ValueError(f"{key} holds numbers of {value.dtype}; save the weights as float32")


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
    """Load a state dict; raises ValueError, naming the first difference, unless keys and shapes are the network's.

    A batch norm's counter may be missing: nothing reads it, and files of old PyTorch versions lack it.
    """
    _check_dense(state)
    own = net.state_dict()
    _check_numbers(state, own)
    state = {**{key: torch.tensor(0) for key in own if key.endswith(COUNTER)}, **state}
    expected = {key: tuple(value.shape) for key, value in own.items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"{len(missing)} of {len(expected)} keys are missing, {missing[0]} the first")
    if extra := sorted(found.keys() - expected.keys()):
        raise ValueError(f"{len(extra)} keys do not belong to the network, {extra[0]} the first")
    for key, shape in expected.items():
        if found[key] != shape:
            raise ValueError(f"{key} has shape {found[key]}, expected {shape}")
    net.load_state_dict(state, strict=True)


# The stem of semseg's and CSAIL's files, and of PSPNet's; the authors' and timm's have the flat keys themselves.
_SEMSEG_STEM = {
    "conv1.": "conv1.0.", "bn1.": "conv1.1.", "conv2.": "conv1.3.", "bn2.": "conv1.4.",
    "conv3.": "conv1.6.", "bn3.": "bn1.",
}  # fmt: skip
_PSPNET_STEM = {
    "layer0.0.": "conv1.0.", "layer0.1.": "conv1.1.", "layer0.3.": "conv1.3.", "layer0.4.": "conv1.4.",
    "layer0.6.": "conv1.6.", "layer0.7.": "bn1.",
}  # fmt: skip
_OF_BACKBONE = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")  # the flat keys


def adapt_pretrained(net: FewShotNetwork, content: Mapping[str, Any]) -> None:
    """Load weights of a backbone into a network.

    A ResNet takes ImageNet's weights (docs/method.md, section 2) without layer4 and fc, or PSPNet's without its head; a
    timm network weights under timm's names, a custom backbone its state dict.

    Arguments:
        net: the network.
        content: what a file of weights holds.
    Raises:
        ValueError: they are the weights of another network; OtherStem if that begins otherwise.
    """
    backbone = net.backbone
    own = (backbone.whole_net if isinstance(backbone, TimmBackbone) else backbone).state_dict()
    state = unwrap(content, (*NETWORK_STARTS, *own))
    if method_and_backbone(state):
        raise ValueError("is a trained few-shot network, not ImageNet weights; use it as a checkpoint")
    if isinstance(backbone, TimmBackbone):
        _check_numbers(state, {})
        backbone.load(state)
        return
    if isinstance(backbone, ResNet):
        state = {key: value for key, value in state.items() if not key.startswith(("layer4.", "fc."))}
        if "conv2.weight" in state:
            state = {_respell(key, _SEMSEG_STEM): value for key, value in state.items()}
        elif is_of_pspnet(state):
            state = {_respell(key, _PSPNET_STEM): value for key, value in state.items()}
            state = {key: value for key, value in state.items() if key.startswith(_OF_BACKBONE)}
        _check_stem(state)
    load_strict(backbone, state)


def is_of_pspnet(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of PSPNet, or of a few-shot network with its backbone, such as BAM."""
    return "layer0.0.weight" in state and "layer1.0.conv1.weight" in state


def flat_key(key: str) -> str:
    """A network's key as ImageNet files spell it: layer0.0.0.weight and backbone.conv1.0.weight -> conv1.0.weight."""
    for prefix, flat in (("layer0.0.", "conv1."), ("layer0.1.", "bn1."), ("backbone.", "")):
        if key.startswith(prefix):
            return flat + key.removeprefix(prefix)
    return key


def _respell(key: str, stems: Mapping[str, str]) -> str:
    for stem, flat in stems.items():
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
