"""A trained network, and the predictor with it, by a file of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engine.checkpoint import load_checkpoint, load_network
from engine.custom import build_network, resolve_network
from engine.evaluation.training_provenance import describe_training, other_data_note
from engine.setting import MAX_SIDE
from engine.variation import Variation, check_meaning, describe_settings
from model import BACKBONES, METHODS, FewShotNetwork, check_refine, fold_batch_norms
from model.fast.check import steps_give_forward
from prediction.predictor import Predictor
from util.errors import UserError


class Trained(NamedTuple):
    """A network in eval mode, on the CPU, with what people should know of it."""

    net: FewShotNetwork
    about: str  # what it is and was trained on
    note: str  # a reason to trust it little, "" if there is none


def load_trained(
    weights: str | os.PathLike | None,
    refine: bool | None = None,
    method: str | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trained:
    """Build the network that a file of weights is of.

    Arguments:
        weights: a file of main.py or of the authors' release; None for random weights.
        refine: whether SSP refines; None takes what the weights say, else no.
        method, backbone: of the network, or FILE.py:CLASS of a custom head or backbone, whose code runs; None for the
            weights'.
        settings: of the matching, by name (docs/method.md, section 3), such as {"fg_threshold": 0.8}; those left out
            are what the network was trained with.
    Raises:
        UserError: the weights cannot be read or belong to another network, there is nothing to refine, or a setting
            cannot be.
    """
    state, info = None, {"method": method, "backbone": backbone}
    if weights is not None:
        state, info = load_checkpoint(weights)
        if method in METHODS and backbone in BACKBONES and (method, backbone) != (info["method"], info["backbone"]):
            found = f"{info['method']}_{info['backbone']}"
            raise UserError(f"{weights}: holds the weights of {found}, not of {method}_{backbone}; ask for it")
        info = {**info, **resolve_network(weights, info, {"method": method, "backbone": backbone})}
    refine = bool(info.get("refine")) if refine is None else refine
    try:
        check_refine(info["method"], refine)
    except ValueError as error:
        where = "" if weights is None else f"{weights}: "
        raise UserError(f"{where}{error}; leave it out") from error
    net = build_network(info["method"], info["backbone"], refine)
    if not steps_give_forward(net, by_support=False):
        says = "its forward gives other logits than its steps, which predict.py calls; replace these (docs/extend.md)"
        raise UserError(f"--method {info['method']}: {says}")
    if state is not None:
        load_network(net, state, weights)
    trained = Variation.of(info.get("settings") or {})
    used = trained.updated(settings or {})
    check_meaning(settings or {}, info["method"], refine)
    net.matching = used.change(net.matching)
    words = [f"{info['method']} {info['backbone']}", "refine" if refine else "", describe_settings(used, trained)]
    network = ", ".join(filter(None, words))
    name = Path(weights or "random").name  # its folder is not for those who look at the page
    return Trained(net.eval(), f"{network}; weights {name}, {describe_training(info)}", other_data_note(info))


def load_predictor(
    weights: str | os.PathLike,
    refine: bool | None = None,
    device: str | torch.device | None = None,
    max_side: int = MAX_SIDE,
    method: str | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Predictor:
    """Build what segments images like a few supports, with the network that the weights are of.

    Arguments:
        weights, refine, method, backbone, settings: as for :func:`load_trained`.
        device: None for CUDA if there is one, else the CPU.
        max_side: larger images are resized to so many pixels; 0 for none.
    Returns:
        A Predictor without supports.
    Raises:
        UserError: as :func:`load_trained`.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    net, about, note = load_trained(weights, refine, method, backbone, settings)
    net = fold_batch_norms(net).to(device, memory_format=torch.channels_last)
    return Predictor(net, max_side, about, note)
