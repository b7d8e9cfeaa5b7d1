"""The networks for torch.hub:

    net = torch.hub.load("PATH/TO/SSP", "ssp_resnet50", source="local", weights="resnet50_1shot_61.40.ckpt")
    predictor = torch.hub.load("PATH/TO/SSP", "predictor", source="local", weights="resnet50_1shot_61.40.ckpt")

weights is a file of main.py or of the authors' release; None gives random weights. refine says whether SSP
refines; None takes what the weights say, else no. Weights that cannot be read, or that belong to another network,
raise util.errors.UserError, one line.
"""

from __future__ import annotations

import os
import pathlib

import torch

import engine.checkpoint
import engine.custom
import engine.evaluation.training_provenance
import model
import prediction.predictor
import util.errors

dependencies = ["torch", "torchvision", "numpy", "PIL", "tqdm"]


def ssp_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """SSP with a ResNet-50, in eval mode, on the CPU."""
    return _network(weights, refine, "ssp", "resnet50")


def ssp_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """SSP with a ResNet-101, in eval mode, on the CPU."""
    return _network(weights, refine, "ssp", "resnet101")


def baseline_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """The baseline with a ResNet-50, in eval mode, on the CPU; it has nothing to refine."""
    return _network(weights, refine, "baseline", "resnet50")


def baseline_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """The baseline with a ResNet-101, in eval mode, on the CPU; it has nothing to refine."""
    return _network(weights, refine, "baseline", "resnet101")


def predictor(
    weights: str | os.PathLike,
    refine: bool | None = None,
    device: str | torch.device | None = None,
    max_side: int = engine.setting.MAX_SIDE,
    method: str | None = None,
    backbone: str | None = None,
) -> prediction.predictor.Predictor:
    """Build what segments images like a few supports (prediction), with the network that the weights are of.

    Arguments:
        weights, refine: as above.
        device: None for CUDA if there is one, else the CPU.
        max_side: larger images are resized to so many pixels.
        method, backbone: FILE.py:CLASS of a custom head or backbone, whose code runs; None for the weights'.
    Returns:
        A Predictor without supports.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    net, about, note = _loaded(weights, refine, method, backbone)
    net = model.fold_batch_norms(net).to(device, memory_format=torch.channels_last)
    return prediction.predictor.Predictor(net, max_side, about, note)


def _network(
    weights: str | os.PathLike | None, refine: bool | None, method: str, backbone: str
) -> model.FewShotNetwork:
    return _loaded(weights, refine, method, backbone)[0]


def _loaded(
    weights: str | os.PathLike | None, refine: bool | None, method: str | None, backbone: str | None
) -> tuple[model.FewShotNetwork, str, str]:
    """The network of this method and backbone (None: the weights'), in eval mode, what it is, and a note on it."""
    state, info = None, {"method": method, "backbone": backbone}
    if weights is not None:
        state, info = engine.checkpoint.load_checkpoint(weights)
        if method and backbone in model.BACKBONES and (method, backbone) != (info["method"], info["backbone"]):
            found = f"{info['method']}_{info['backbone']}"
            raise util.errors.UserError(
                f"{weights}: holds the weights of {found}, not of {method}_{backbone}; ask for it"
            )
        info = {**info, **engine.custom.resolve_network(weights, info, {"method": method, "backbone": backbone})}
    refine = bool(info.get("refine")) if refine is None else refine
    try:
        model.check_refine(info["method"], refine)
    except ValueError as error:
        where = "" if weights is None else f"{weights}: "
        raise util.errors.UserError(f"{where}{error}; leave it out") from error
    net = engine.custom.build_network(info["method"], info["backbone"], refine)
    if state is not None:
        engine.checkpoint.load_network(net, state, weights)
    network = f"{info['method']} {info['backbone']}{', refine' if refine else ''}"
    trained = engine.evaluation.training_provenance.describe_training(info)
    name = pathlib.Path(weights or "random").name  # its folder is not for those who look at the page
    note = engine.evaluation.training_provenance.other_data_note(info)
    return net.eval(), f"{network}; weights {name}, {trained}", note
