"""Any network of timm as a backbone (docs/extend.md). timm is optional, imported with the first one."""

from __future__ import annotations

import difflib
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from model.matching import resize

OLDEST = (1, 0, 31)  # version of timm: earlier ones give fewer networks' features, and those of Swin in one size only
# The paper's ResNet is cut after its third stage, of stride 16 before it is dilated to 8.
OWN_STRIDE = 16
FEATURES = ({"feature_cls": "getter"}, {})  # the getter leaves out what comes later; a few networks lack it
OUTPUT_STRIDES = ({"output_stride": 8}, {"output_stride": 16}, {})
ANY_SIZE = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})  # how transformers take images of any size
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # by which images come normalised
FILE, PATIENCE = "model.safetensors", 5  # of weights on timm's hub; seconds to wait for its answer
COUNTER = "num_batches_tracked"  # which nothing reads, and files of old versions lack


class TimmBackbone(nn.Module):
    """Images (B, 3, H, W), normalised by ImageNet's mean and deviation -> features (B, channels, h, w) of stages.

    Features of several stages are resized to the finest and joined. Images are resized where the network cannot take
    their size: to whole patches, or to the one size it knows. It begins with random weights.

    Arguments:
        name: timm's, such as convnext_tiny.fb_in1k.
        stages: numbers of timm's feature stages (of a transformer, its blocks), from 0 on; none for the last one whose
            own stride is at most 16. A network that can be dilated has a stride of 8 there, or 16.
    Raises:
        ValueError: timm is missing, does not know the name, or gives no feature maps; or has no such stage.
    """

    def __init__(self, name: str, stages: Sequence[int] = ()) -> None:
        super().__init__()
        self.name = name
        known = [stage["reduction"] for stage in _features_only(name, ({},))[0].feature_info.info]
        if wrong := [stage for stage in stages if stage >= len(known)]:
            raise ValueError(f"timm:{name} has the stages 0 to {len(known) - 1}, there is no {wrong[0]}")
        largest = max(OWN_STRIDE, min(known))
        self.stages = tuple(sorted(set(stages))) or ([n for n, stride in enumerate(known) if stride <= largest][-1],)
        self.net, self.options = _features_only(name, out_indices=self.stages)
        info = self.net.feature_info
        self.channels, self.stride = sum(info.channels()), min(info.reduction())
        self.whole, self.size = self._sizes()
        data = self.net.pretrained_cfg
        values = IMAGENET_MEAN, IMAGENET_STD, data.get("mean", IMAGENET_MEAN), data.get("std", IMAGENET_STD)
        mean, std, own_mean, own_std = torch.tensor(values)[..., None, None]
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)
        self._freeze_unused()

    def forward(self, images: Tensor) -> Tensor:
        height, width = self.working_size(images.shape[-2:])
        if (height, width) != images.shape[-2:]:
            images = resize(images, (height, width))
        features = self._features(images * self.scale + self.shift)
        finest = max((x.shape[-2:] for x in features), key=lambda size: size[0] * size[1])
        return torch.cat([x if x.shape[-2:] == finest else resize(x, finest) for x in features], 1)

    def _features(self, images: Tensor) -> list[Tensor]:
        try:
            return self.net(images)
        except (AssertionError, IndexError, RuntimeError) as error:  # a size that it cannot take
            if "memory" in str(error):
                raise
            size = f"{images.shape[-1]}x{images.shape[-2]}"
            raise ValueError(f"timm:{self.name} cannot take {size} pixels: {_first_line(error)}") from error

    def working_size(self, size: Sequence[int]) -> tuple[int, int]:
        """The (height, width) in which an image of this size passes. Raises ValueError if it is less than a patch."""
        if self.size:
            return self.size
        height, width = size
        whole = self.whole
        if min(height, width) < whole:
            raise ValueError(f"{width}x{height} pixels are less than a patch of {whole}x{whole} of timm:{self.name}")
        return nearest_multiple(height, whole), nearest_multiple(width, whole)

    @property
    def whole_net(self) -> nn.Module:
        """The network that has timm's names."""
        return getattr(self.net, "model", self.net)  # the getter's

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load weights of the whole network, under timm's names; its classifier may be missing.

        They may have other names throughout, if their kinds (weight, bias, ...) and shapes are timm's, in timm's order.
        Raises ValueError, naming the first difference, if they are those of another network.
        """
        net = self.whole_net
        own = net.state_dict()
        whole = _create(self.name).state_dict()
        if self.is_renamed(state):
            given, names = _without_counters(state), _without_counters(whole)
            if _kinds(given) == _kinds(names)[: len(given)]:
                state = dict(zip(names, given.values(), strict=False))
        state = {**{key: value for key, value in own.items() if key.endswith(COUNTER)}, **state}
        if missing := [key for key in own if key not in state]:
            raise ValueError(
                f"{len(missing)} of {len(own)} keys of timm:{self.name} are missing, {missing[0]} the first"
            )
        if extra := [key for key in state if key not in whole]:
            raise ValueError(f"{len(extra)} keys do not belong to timm:{self.name}, {extra[0]} the first")
        for key, value in own.items():
            if state[key].shape != value.shape:
                raise ValueError(f"{key} has shape {tuple(state[key].shape)}, expected {tuple(value.shape)}")
        net.load_state_dict({key: state[key] for key in own})

    def is_renamed(self, state: Mapping[str, Tensor]) -> bool:
        """Whether none of the weights has a name of timm's, so that only their order tells what they are."""
        return not state.keys() & self.whole_net.state_dict().keys()

    def fetch(self) -> None:
        """Load timm's own weights, which timm downloads. Raises ValueError if it cannot."""
        logging.disable(logging.WARNING)  # one for each of a hub's many tries
        try:
            fetched = _create(self.name, **self.options, pretrained=True)
        except Exception as error:  # whatever a network, a hub or a disk can raise
            raise ValueError(f"timm could not get the weights of {self.name}: {_first_line(error)}") from error
        finally:
            logging.disable(logging.NOTSET)
        self.net.load_state_dict(fetched.state_dict())

    @torch.no_grad()
    def _sizes(self) -> tuple[int, tuple[int, int] | None]:
        """What the sides of an image must be multiples of, 1 for any; or the one (height, width) that can pass."""
        self.net.eval()
        fixed = tuple(self.net.pretrained_cfg.get("input_size", (3, 224, 224))[1:])
        whole = max(stage["reduction"] for stage in self.net.feature_info.info)
        # By what sides must be multiples of; 0: there is only one size.
        tried = {1: [(97, 131)], whole: [(4 * whole, 6 * whole), (7 * whole, 5 * whole)], 0: [fixed]}
        for multiple, sizes in tried.items():
            try:
                found = [[x.shape[1] for x in self.net(torch.zeros(1, 3, *size))] for size in sizes]
            except Exception:  # whatever a network says of a size that it cannot take
                continue
            if all(channels == self.net.feature_info.channels() for channels in found):
                self.net.train()
                return max(multiple, 1), None if multiple else fixed
        raise ValueError(f"timm:{self.name} gives no feature maps")

    def _freeze_unused(self) -> None:
        """Train no parameter that the features do not depend on: training in several processes waits for each."""
        size = self.working_size((4 * max(self.whole, OWN_STRIDE),) * 2)
        parameters = [parameter for parameter in self.net.parameters() if parameter.requires_grad]
        with torch.enable_grad():
            total = sum(x.sum() for x in self.net.eval()(torch.zeros(1, 3, *size)))
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.net.train()


def nearest_multiple(number: int, whole: int) -> int:
    """What Python's round(number / whole) * whole is, in whole numbers alone, as ONNX graphs have sizes."""
    is_odd = number // whole % 2  # of two that are as near, round takes the even one
    return (2 * number + whole - 1 + is_odd) // (2 * whole) * whole


def _create(name: str, **options: Any) -> nn.Module:
    """A network of timm. Raises ValueError if there is no timm, or no such name."""
    timm = _check_timm(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name, **options)


def _check_timm(name: str) -> ModuleType:
    """The module timm. Raises ValueError if it is missing or too old, or does not know the name."""
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"timm:{name} needs the package timm (pip install timm)") from error
    if tuple(map(int, re.findall(r"\d+", timm.__version__)[:3])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise ValueError(f"timm:{name} needs timm {needed}, this is {timm.__version__} (pip install -U timm)")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), 3)
        raise ValueError(f"timm knows no {name}{'; close to it: ' + ', '.join(close) if close else ''}")
    return timm


def count_download(name: str) -> int:
    """How many bytes fetch downloads of a network of timm: 0 if they are on this disk, or timm's hub has none.

    Raises ValueError if there is no timm, or the hub does not answer at once.
    """
    _check_timm(name)
    import huggingface_hub as hub  # timm's own dependency
    from timm.models import get_pretrained_cfg

    try:
        repository = get_pretrained_cfg(name).hf_hub_id
        if not repository or isinstance(hub.try_to_load_from_cache(repository, FILE), str):
            return 0
        return hub.get_hf_file_metadata(hub.hf_hub_url(repository, FILE), timeout=PATIENCE).size or 0
    except Exception as error:  # whatever a hub, a network or a disk can raise
        raise ValueError(f"timm cannot get the weights of {name}: {_first_line(error)}") from error


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(COUNTER)}


def _kinds(state: Mapping[str, Tensor]) -> list[tuple[str, torch.Size]]:
    """What each tensor of a state dict is (weight, bias, running_mean, ...), and its shape."""
    return [(key.rpartition(".")[2], value.shape) for key, value in state.items()]


def _features_only(
    name: str, output_strides: Sequence[Mapping[str, Any]] = OUTPUT_STRIDES, **options: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """A network of timm that gives features, with the first of the strides that it can have; and its options."""
    for stride, features, size in product(output_strides, FEATURES, ANY_SIZE):
        its_options = {"features_only": True, **options, **stride, **features, **size}
        try:
            return _create(name, **its_options), its_options
        except (TypeError, AssertionError, NotImplementedError, AttributeError, RuntimeError) as error:
            refused = error  # of options that it does not know
    raise ValueError(f"timm:{name} gives no feature maps ({_first_line(refused)})") from refused


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
