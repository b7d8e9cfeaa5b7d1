"""The networks of the paper, by :func:`build_model`.

torch is imported with the first network that is asked for, so that scripts answer --help and wrong flags at once.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.baseline import Baseline
    from model.network import FewShotNetwork
    from model.resnet import calibrate_batch_norms, fold_batch_norms
    from model.ssp import SSP

METHODS = ("ssp", "baseline")
BACKBONES = ("resnet50", "resnet101")
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
    method: str = "ssp",
    backbone: str = "resnet50",
    refine: bool = False,
    pretrained: str | Path | None = None,
) -> FewShotNetwork:
    """Build a network, in training mode.

    Arguments:
        method: "ssp", the paper's network, or "baseline", which cannot refine.
        backbone: "resnet50" or "resnet101".
        refine: whether the network uses the self-support refinement.
        pretrained: a file of ImageNet weights (.pth or .safetensors); None for random weights.
    Raises:
        ValueError: another method or backbone, a baseline that refines, or a file that cannot be used.
    """
    if method not in METHODS or backbone not in BACKBONES:
        raise ValueError(f"method {method!r} is not one of {METHODS}, or backbone {backbone!r} of {BACKBONES}")
    check_refine(method, refine)
    from model.baseline import Baseline
    from model.ssp import SSP
    from model.weights import adapt_pretrained, read_tensors, unwrap

    net = SSP(backbone, refine) if method == "ssp" else Baseline(backbone)
    if pretrained is not None:
        try:
            adapt_pretrained(net, unwrap(read_tensors(pretrained)))
        except ValueError as error:
            raise ValueError(f"{pretrained}: {error}") from error
    return net


def check_refine(method: str, refine: bool) -> None:
    """Raise ValueError if the baseline is to refine."""
    if method == "baseline" and refine:
        raise ValueError("refine belongs to ssp, the baseline has nothing to refine")
