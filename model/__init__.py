"""The networks of the paper, and those with a custom backbone or a head, by :func:`build_model`.

torch is imported with the first network that is asked for, so that scripts answer --help and wrong flags at once.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.names import BACKBONES, METHODS, timm_name

if TYPE_CHECKING:
    from torch import nn

    from model.baseline import Baseline
    from model.network import FewShotNetwork
    from model.resnet import calibrate_batch_norms, fold_batch_norms
    from model.ssp import SSP

HOMES = {
    "SSP": "ssp",
    "Baseline": "baseline",
    "FewShotNetwork": "network",
    "calibrate_batch_norms": "resnet",
    "fold_batch_norms": "resnet",
}

__all__ = [
    "BACKBONES",
    "METHODS",
    "SSP",
    "Baseline",
    "FewShotNetwork",
    "build_model",
    "calibrate_batch_norms",
    "check_refine",
    "fold_batch_norms",
]


def __getattr__(name: str) -> Any:
    """What stands in another module, imported when it is asked for (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


def build_model(
    method: str | type[FewShotNetwork] = "ssp",
    backbone: str | nn.Module = "resnet50",
    refine: bool = False,
    pretrained: str | Path | None = None,
) -> FewShotNetwork:
    """Build a network, in training mode.

    Arguments:
        method: "ssp", the paper's network, "baseline", which cannot refine, or a custom FewShotNetwork.
        backbone: "resnet50", "resnet101", "timm:NAME" or "timm:NAME@STAGE,STAGE" (docs/extend.md), or a custom
            backbone: a module with the attributes ``channels`` and ``stride``.
        refine: whether the network uses the self-support refinement.
        pretrained: a file of weights of the backbone (.pth or .safetensors), such as ImageNet's; "timm" for timm's own;
            None for the backbone as it is built: for a named one, random weights.
    Raises:
        ValueError: another method or backbone, a baseline that refines, or weights that cannot be used.
    """
    if isinstance(method, str) and method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {METHODS}")
    if isinstance(backbone, str) and backbone not in BACKBONES and not timm_name(backbone):
        raise ValueError(f"backbone {backbone!r} is not one of {BACKBONES}, nor timm:NAME")
    check_refine(method if isinstance(method, str) else "", refine)
    from model.weights import adapt_pretrained, read_tensors

    net = _network_class(method)(_make_backbone(backbone), refine)
    if pretrained == "timm":
        if not (isinstance(backbone, str) and timm_name(backbone)):
            raise ValueError(f"timm has no weights of {backbone}")
        net.backbone.fetch()
    elif pretrained is not None:
        try:
            adapt_pretrained(net, read_tensors(pretrained))
        except ValueError as error:
            raise ValueError(f"{pretrained}: {error}") from error
    return net


def _network_class(method: str | type[FewShotNetwork]) -> type[FewShotNetwork]:
    from model.baseline import Baseline
    from model.ssp import SSP

    return {"ssp": SSP, "baseline": Baseline}[method] if isinstance(method, str) else method


def _make_backbone(backbone: str | nn.Module) -> nn.Module:
    if not isinstance(backbone, str):
        return backbone
    if named := timm_name(backbone):
        from model.timm_backbone import TimmBackbone

        return TimmBackbone(named.name, named.stages)
    from model.resnet import ResNet

    return ResNet(backbone)


def check_refine(method: str, refine: bool) -> None:
    """Raise ValueError if the baseline is to refine."""
    if method == "baseline" and refine:
        raise ValueError("refine belongs to ssp, the baseline has nothing to refine")
