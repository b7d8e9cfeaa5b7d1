"""State dicts of the networks: what they are of, and ImageNet weights in four spellings (docs/method.md, section 2).

Wrong weights are ValueErrors; what they are and where they come from is for the caller to say.
"""

from __future__ import annotations

import builtins
import json
import pickle
import pickletools
import re
import shlex
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, nn

from model.network import FewShotNetwork
from model.resnet import BLOCKS, ResNet
from model.timm_backbone import COUNTER, TimmBackbone

DAMAGED = "cannot be read, it is truncated or not a checkpoint; fetch it again"
NO_STATE = "holds no state dict (tensors by name)"
MOST_NAMES = 2**24  # bytes of the names and shapes in a file, and of its plain numbers
PICKLES = 5  # of a file in torch.save's older form
MOST_UNPACKED = 4  # bytes for each byte of a file; torch.save compresses nothing, and weights hardly shrink
# The names under which programs keep a state dict, of which the first that is there is taken.
CONTAINERS = "state_dict model_state_dict model_state model net network weights params_ema params model_ema ema".split()
DEEPEST = 4  # such names one in the other
WRAPPERS = ("module.", "model.", "net.", "network.")  # the names of a network in another module, as Lightning's
AROUND_BACKBONE = ("backbone.", "encoder.")  # the same of a backbone in a network
# The names under which PyTorch's own wrappers keep a module, anywhere in it.
OF_PYTORCH = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|_forward_module\.")
# What runs programs or code, beside Python's built-in functions: a file of weights that names it was made to harm.
RUNS_CODE = (
    "_io.open _pickle asyncio code commands ctypes importlib io.open marshal multiprocessing nt os pdb pickle pip "
    "posix pty runpy shutil socket subprocess sys timeit torch.hub torch.serialization.load webbrowser"
).split()
OTHER_FILES = (  # where bytes stand that tell what a file is, if it is not PyTorch's; what that is; the way out
    (0, b"\x1f\x8b", "packed by gzip", "unpack it"),
    (257, b"ustar", "an archive of tar", "unpack it"),
    (0, b"\x89HDF", "a file of HDF5, such as Keras's", "save the weights with torch.save"),
    (0, b"\x93NUMPY", "a NumPy array", "save the weights with torch.save"),
    (0, b"\x08", "a file of ONNX", "take the PyTorch weights that it was made from"),
)
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
        start = file.read(300)  # what the system refuses is no damage
    if other := _name_other(path, start):
        raise ValueError(other)
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


def _name_other(path: Path, start: bytes) -> str | None:
    """What a file is, and the way out, if its first bytes are none of PyTorch's or safetensors'; else None."""
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        begins = start[:40].decode(errors="replace")
        return f"text, not weights, it begins {begins!r}; fetch the file itself (of Git LFS: git lfs pull)"
    for offset, found, name, way_out in OTHER_FILES:
        if start[offset:].startswith(found):
            return f"{name}; {way_out}"
    if path.suffix == ".safetensors" and start.startswith(b"PK"):
        return "not of safetensors, but a zip archive as torch.save writes it; rename it to .pth"
    if zipfile.is_zipfile(path) and not _find_pickle(path):
        return "a zip archive of other files than torch.save's; unpack it"
    return None


def _find_pickle(path: Path) -> str | None:
    """The pickle in an archive of torch.save's."""
    with zipfile.ZipFile(path) as archive:
        return next((part for part in archive.namelist() if part.endswith("data.pkl")), None)


def _describe_refusal(path: Path, reason: str) -> str:
    """What to say of a file that torch.load refuses, by its reason."""
    found = re.search(r"GLOBAL (\S+)", reason)
    named = [*_find_globals(path)]
    if code := next(filter(_runs_code, [*named, *(found.groups() if found else ())]), None):
        # nobody shall be told how to run it
        return f"refused: names {code}, which weights have no use for; do not trust the file"
    if found:
        what = f"{'numbers of numpy, ' if found[1].startswith('numpy') else ''}{found[1]}"
        return f"refused: holds {what}, besides plain tensors; {_resaving(path)}"
    if _is_plain_pickle(path):
        return f"refused: a pickle that torch.save did not write; {_resaving(path)}"
    if named:
        return f"refused: in a form of pickle other than torch.save's own; {_resaving(path)}"
    return "refused: not a checkpoint of plain tensors (it is damaged or holds code that loading would run)"


def _is_plain_pickle(path: Path) -> bool:
    """Whether a file is a pickle, but none of torch.save's, which is a zip or begins with a long integer."""
    with path.open("rb") as file:
        start = file.read(3)
    return start[:1] == pickle.PROTO and start[2:] != pickle.LONG1


def _runs_code(name: str) -> bool:
    """Whether a function that a pickle names runs programs or code; "." is a name that it hides."""
    if name == ".":
        return True
    module, _, rest = name.partition(".")
    if not rest or module in ("builtins", "__builtin__"):
        return isinstance(getattr(builtins, rest or module, None), BuiltinFunctionType)
    return any(f"{name}.".startswith(f"{code}.") for code in RUNS_CODE)


def _find_globals(path: Path) -> Iterator[str]:
    """What pickles of a file import in their first million operations, as module.name; nothing is executed."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(path.open("rb"))
        if zipfile.is_zipfile(path):
            file = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(_find_pickle(path) or ""))
        try:
            for _ in range(PICKLES):
                yield from _find_globals_of(islice(pickletools.genops(file), 10**6))
        except ValueError:  # damaged, or the end: unpickling would come no further
            return


def _find_globals_of(operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> Iterator[str]:
    pushed, memo = [""], {}  # texts, "" for all else
    for operation, value, _ in operations:
        name = operation.name
        if name == "MEMOIZE":
            memo[len(memo)] = pushed[-1]
        elif name.endswith("PUT"):
            memo[value] = pushed[-1]
        elif name not in ("PROTO", "FRAME"):
            if name in ("GLOBAL", "INST"):
                yield value.replace(" ", ".", 1)
            elif name == "STACK_GLOBAL":
                yield ".".join(pushed[-2:]) if all(pushed[-2:]) else "."
            is_text = isinstance(value, str) and name not in ("GLOBAL", "INST")
            pushed = [pushed[-1], memo.get(value, "") if name.endswith("GET") else value if is_text else ""]


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
    if _is_safetensors(path):
        with path.open("rb") as file:
            names = int.from_bytes(file.read(8), "little")
    elif zipfile.is_zipfile(path):
        parts = zipfile.ZipFile(path).infolist()
        names = sum(part.file_size for part in parts if part.filename.endswith(".pkl"))
        unpacked = sum(part.file_size for part in parts)
    return names <= MOST_NAMES and unpacked <= MOST_UNPACKED * path.stat().st_size


def _is_safetensors(path: Path) -> bool:
    """Whether a file is of safetensors, whatever its name: a length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" or (path.suffix == ".safetensors" and not start.startswith(b"PK"))


def _read(path: Path) -> Any:
    if _is_safetensors(path):
        from safetensors.torch import load_file  # an optional package

        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; the errors that are raised say what matters
        return torch.load(path, map_location="cpu", weights_only=True)


def unwrap(
    content: Mapping[str, Any], starts: Collection[str] = NETWORK_STARTS, wrappers: Collection[str] = WRAPPERS
) -> dict[str, Tensor]:
    """Take a state dict out of the containers that it is in, and its keys out of what the network was wrapped in.

    Arguments:
        content: what a file holds; a state dict alone is returned as it is.
        starts: how the keys of the network begin. Other keys beside a wrapped network, such as a loss's, are left out.
        wrappers: how keys begin in what may be around it.
    Raises:
        ValueError: the content holds no state dict.
    """
    for _ in range(DEEPEST):
        content = _contained(content)
    state = {OF_PYTORCH.sub("", str(key)): value for key, value in content.items()}
    while not any(key.startswith(tuple(starts)) for key in state):
        wrapper = next((name for name in wrappers if any(key.startswith(name) for key in state)), None)
        if wrapper is None:
            break
        state = {key.removeprefix(wrapper): value for key, value in state.items() if key.startswith(wrapper)}
    if not state:
        raise ValueError(NO_STATE)
    _check_dense(state)
    return state


def find_networks(content: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """The places in a file's content of the network whose state dict was taken out, and of others with its keys.

    Such as a moving average of its weights. A place is the names around a key, joined by points.
    """
    key = max(state, key=len)  # no other key of the network ends so
    taken, others = [], []
    for name, value in _flatten(content):
        if name.endswith(f".{key}"):
            (taken if value is state[key] else others).append(name.removesuffix(f".{key}"))
        elif name == key and value is not state[key]:
            others.append("the names without a prefix")
    return taken, others


def _flatten(content: Mapping[str, Any], deepest: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", x) for name, x in _flatten(value, deepest - 1)) if deepest else ()
        else:
            yield OF_PYTORCH.sub("", str(key)), value


def _contained(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The container of weights in a container, of a known name or the only one there is; itself if there is none."""
    inner = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    name = next((name for name in CONTAINERS if name in inner), None)
    if name is None and not any(isinstance(value, Tensor) for value in content.values()):
        states = [key for key, value in inner.items() if any(isinstance(x, Tensor) for x in value.values())]
        name = next(iter(names)) if len(names := states or inner) == 1 else None
    return content if name is None else inner[name]


def _check_dense(state: Mapping[str, Any]) -> None:
    """Raise ValueError unless all values are tensors with all their numbers in memory."""
    for key, value in state.items():
        if isinstance(value, Tensor) and not is_dense(value):
            raise ValueError(f"{NO_STATE}: {key} is sparse, quantized or on no device; save it as a dense tensor")
        if not isinstance(value, Tensor):
            others = [key] if any(map(is_dense, state.values())) else state
            raise ValueError(f"{NO_STATE}, but {', '.join(others):.200}; save a state dict alone")


def _check_numbers(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ValueError if weights are complex, whole or of 8 bits, unless those of the network are."""
    for key, value in state.items():
        is_small = value.is_floating_point() and value.dtype.itemsize == 1
        is_whole = key in own and own[key].is_floating_point() and not value.is_floating_point()
        if (value.is_complex() or is_small or is_whole) and not (key in own and own[key].dtype == value.dtype):
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
    if method == "baseline" and not all(flat_key(key).startswith(_OF_BACKBONE) for key in state):
        return None  # a network of others with such a backbone
    backbone = resnet_of(state)
    return {"method": method, "backbone": backbone} if method and backbone else None


def resnet_of(state: Mapping[str, Tensor]) -> str | None:
    """Which of the paper's ResNets weights are of, by the blocks of their third stage; None for any other network."""
    blocks = sum(flat_key(key).startswith("layer3.") and key.endswith(".conv1.weight") for key in state)
    return next((name for name, count in BLOCKS.items() if count[2] == blocks), None)


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


def adapt_pretrained(net: FewShotNetwork, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Load weights of a backbone into a network.

    A ResNet takes ImageNet's weights (docs/method.md, section 2) without layer4 and fc, or PSPNet's without its head; a
    timm network weights under timm's names, a custom backbone its state dict.

    Arguments:
        net: the network.
        content: what a file of weights holds.
    Returns:
        The state dict that was taken out of the content.
    Raises:
        ValueError: they are the weights of another network; OtherStem if that begins otherwise.
    """
    backbone = net.backbone
    own = (backbone.whole_net if isinstance(backbone, TimmBackbone) else backbone).state_dict()
    state = unwrap(content, (*NETWORK_STARTS, *own))
    if method_and_backbone(state):
        raise ValueError("is a trained few-shot network, not ImageNet weights; use it as a checkpoint")
    if isinstance(backbone, TimmBackbone):
        _check_numbers(state, own)
        backbone.load(state)
        return state
    if isinstance(backbone, ResNet):
        taken = state = unwrap(state, own, (*WRAPPERS, *AROUND_BACKBONE))
        state = {key: value for key, value in state.items() if not key.startswith(("layer4.", "fc."))}
        if "conv2.weight" in state:
            state = {_respell(key, _SEMSEG_STEM): value for key, value in state.items()}
        elif is_of_pspnet(state):
            state = {_respell(key, _PSPNET_STEM): value for key, value in state.items()}
            state = {key: value for key, value in state.items() if key.startswith(_OF_BACKBONE)}
        _check_stem(state)
        load_strict(backbone, state)
        return taken
    load_strict(backbone, state)
    return state


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
