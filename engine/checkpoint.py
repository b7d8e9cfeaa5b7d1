"""Files of weights: released state dicts and our own checkpoints (model.weights reads them safely)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset import DATASETS
from dataset.coco import CLASS_ORDERS
from dataset.own import MOST_FOLDS
from dataset.provenance import PROVENANCE_RULES
from engine.recorded import recorded_info
from engine.setting import SUFFIX
from engine.variation import is_settings, is_tag
from model.names import is_backbone, is_method, is_papers
from util.distributed import say
from util.errors import UserError, refusal
from util.fields import Rule, check_fields, dict_of, list_of, number, one_of, optional, scalar, whole, with_fields
from util.files import atomic_write, is_name

if TYPE_CHECKING:  # files are found before torch is imported to read them
    from torch import Tensor, nn


FORMAT = "ssp-checkpoint-1"  # our own files: weights and what they were trained on
STATE_FORMAT = "ssp-training-1"  # the state of a run, engine.training.state's
# What a checkpoint may say of its training; what it need not say is absent.
INFO_RULES: dict[str, Rule] = {
    "dataset": one_of(*DATASETS),
    "class_order": one_of(None, *CLASS_ORDERS),
    "fold": one_of(None, *range(MOST_FOLDS)),
    "shot": whole(1, 100),
    "refine": one_of(False, True),
    "settings": is_settings,
    "tag": optional(is_tag),
    "miou": number(),
    "arguments": dict_of(scalar),
    "data": optional(with_fields(PROVENANCE_RULES)),
    **dict.fromkeys(("base_classes", "novel_classes"), list_of(lambda x: type(x) is int)),
    **dict.fromkeys(("base_names", "selection_names", "novel_names"), list_of(lambda x: type(x) is str)),
}


class Checkpoint(NamedTuple):
    """A network's weights and what is known of their training; "method" and "backbone" are always known."""

    state_dict: dict[str, Tensor]
    info: dict[str, Any]


@contextmanager
def errors_name(source: str | Path) -> Iterator[None]:
    """Turn ValueErrors and OSErrors of the block into UserErrors that name where the weights come from."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {refusal(error)}") from error


def read(path: str | Path) -> dict[str, Any]:
    """Read a .pth, .ckpt or .safetensors file; raises UserError unless it holds tensors and plain containers."""
    from model.weights import read_tensors

    with errors_name(path):
        return read_tensors(path)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a trained network's file: our own, or a released state dict.

    Of a file that is recorded as the authors' (engine.recorded) the info tells the setting too, with "weights":
    "authors". Raises UserError if the file cannot be used, or has changed since it was recorded.
    """
    from model.weights import method_and_backbone, unwrap

    content = read(path)
    if content.get("format") == STATE_FORMAT:
        raise UserError(f"{path}: the state of a training run, no checkpoint; {_where_best(path, content)}")
    with errors_name(path):
        state = unwrap(content)
    say_taken(path, content, state)
    info = content.get("info") if content.get("format") == FORMAT else {}
    try:
        check_fields(info, INFO_RULES, may_lack=True)
    except ValueError as error:
        raise UserError(f"{path}: damaged: {error}; fetch it again") from error
    known = _stated_network(info) or method_and_backbone(state)
    if known is None:
        raise UserError(f"{path}: {_describe_others(state)}")
    return Checkpoint(state, {**recorded_info(Path(path)), **info, **known})


def say_taken(path: str | Path, content: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Say which of several networks in a file is taken."""
    from model.weights import find_networks

    taken, others = find_networks(content, state)
    if others:
        where = f"takes the weights in {', '.join(taken)}" if taken else "takes the weights without a prefix"
        say(f"note: {path}: {where}, and leaves those in {', '.join(others)}; for others, save them alone")


def _where_best(path: str | Path, content: Mapping[str, Any]) -> str:
    """Where the best weights of a run lie, by the path and the content of its state."""
    best = f"{content.get('best_name') or ''}{SUFFIX}"
    if is_name(best) and (file := Path(path).with_name(best)).is_file():
        return f"the run's best weights are {file}"
    return "the run's best weights are not beside it; train on with main.py --resume"


def _describe_others(state: Mapping[str, Tensor]) -> str:
    """What to say of weights that are no trained network's of the paper."""
    from model.weights import is_of_pspnet

    first = f"{len(state)} keys, the first is {next(iter(state))!r}"
    if is_of_pspnet(state):
        return (
            f"PSPNet's weights, or those of another few-shot network with its backbone, such as BAM ({first}); its "
            "backbone alone can be used, as main.py --pretrained"
        )
    stems = ("layer0.0.6.weight", "backbone.conv1.6.weight")
    prefixes = [key.removesuffix(stem) for key in state for stem in stems if key.endswith(stem)]
    if any(prefixes):
        return f"networks whose keys begin with {', '.join(prefixes)} ({first}); save one's alone, without that"
    of_backbones = {"layer1.0.conv1.weight", "fc.weight", "head.weight", "classifier.weight"}
    if not prefixes and state.keys() & of_backbones:
        return f"weights of a backbone alone, such as ImageNet's ({first}); these are for main.py --pretrained"
    return (
        f"not the weights of an SSP or baseline network with a ResNet-50 or -101 ({first}); of other networks take "
        f"main.py's {SUFFIX}"
    )


def _stated_network(info: Mapping[str, Any]) -> dict[str, str] | None:
    """The method and the backbone that a checkpoint names, if they are not the paper's, which the keys tell."""
    network = {name: info.get(name) for name in ("method", "backbone")}
    if not all(isinstance(name, str) for name in network.values()):
        return None
    is_other = is_method(network["method"]) and is_backbone(network["backbone"]) and not is_papers(**network)
    return network if is_other else None


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write our own checkpoint, atomically."""
    write(path, {"format": FORMAT, "state_dict": checkpoint.state_dict, "info": checkpoint.info})


def save_weights(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a plain state dict that the authors' release can load, atomically."""
    write(path, dict(state))


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors and plain containers, atomically."""
    import torch

    buffer = io.BytesIO()  # so that a full disk fails in our own write, not inside torch.save
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


def load_network(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Load a state dict of a file; raises UserError unless keys and shapes fit and all numbers are finite."""
    from model.weights import load_strict

    with errors_name(path):
        load_strict(net, state)
        check_finite(state, "the training has failed, take other weights")


def check_finite(state: Mapping[str, Tensor], way_out: str) -> None:
    """Raise ValueError, with the way out, unless all numbers of weights are finite."""
    for name, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds nan or infinity; {way_out}")
