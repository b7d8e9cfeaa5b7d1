"""A network by a file of weights, or of which nothing was trained, and the predictor with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from engine.checkpoint import load_checkpoint, load_network
from engine.custom import build_network, resolve_network
from engine.evaluation.training_provenance import describe_training, other_data_note
from engine.options import default_device
from engine.setting import MAX_SIDE
from engine.variation import Variation, check_meaning, describe_settings
from model import BACKBONES, METHODS, FewShotNetwork, check_refine, fold_batch_norms
from model.fast.check import steps_give_forward
from prediction.frozen import choose_start
from prediction.predictor import Predictor
from util.errors import UserError


class Loaded(NamedTuple):
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
) -> Loaded:
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
    if state is not None:
        load_network(net, state, weights)
    trained = Variation.of(info.get("settings") or {})
    used = _finish(net, info["method"], trained, settings)
    words = [f"{info['method']} {info['backbone']}", "refine" if refine else "", describe_settings(used, trained)]
    network = ", ".join(filter(None, words))
    name = Path(weights or "random").name  # its folder is not for those who look at the page
    return Loaded(net, f"{network}; weights {name}, {describe_training(info)}", other_data_note(info))


def load_frozen(
    pretrained: str | os.PathLike | None = None,
    refine: bool | None = None,
    method: str | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Loaded:
    """Build a network of which nothing was trained: the features of a backbone as it is, and the method.

    Arguments:
        pretrained: a file of the backbone's weights; None for those of ``main.py --pretrained``, or, without a
            backbone, for the best one that is at hand.
        refine: whether SSP refines; None for yes.
        method: ssp if it is None.
        backbone, settings: as for :func:`load_trained`.
    Raises:
        UserError: there are no weights, they belong to another network, there is nothing to refine, or a setting cannot
            be.
    """
    method = method or "ssp"
    if refine is None:
        refine = method != "baseline"
    try:
        check_refine(method, refine)
    except ValueError as error:
        raise UserError(f"{error}; leave it out") from error
    net, backbone, name = choose_start(method, backbone, pretrained, refine)
    used = _finish(net, method, Variation.of({}), settings)
    words = [f"{method} {backbone}", "refine" if refine else "", f"settings {used}" if used else ""]
    network = ", ".join(filter(None, words))
    return Loaded(net, f"{network}; {name}, nothing was trained", "")


def load_any(weights: str | os.PathLike | None, pretrained: str | os.PathLike | None, *network: Any) -> Loaded:
    """:func:`load_trained` with weights, :func:`load_frozen` without; raises UserError if both files are given."""
    if weights is None:
        return load_frozen(pretrained, *network)
    if pretrained is not None:
        raise UserError(f"{weights}: has a backbone of its own; leave {pretrained} out")
    return load_trained(weights, *network)


def _finish(net: FewShotNetwork, method: str, trained: Variation, settings: Mapping[str, Any] | None) -> Variation:
    """Put a network into eval mode, with the settings it was trained with but for those given; returns all of them."""
    if not steps_give_forward(net, by_support=False):
        says = "its forward gives other logits than its steps, which predict.py calls; replace these (docs/extend.md)"
        raise UserError(f"--method {method}: {says}")
    used = trained.updated(settings or {})
    check_meaning(settings or {}, method, net.refine)
    net.matching = used.change(net.matching)
    net.eval()
    return used


def load_predictor(
    weights: str | os.PathLike | None = None,
    refine: bool | None = None,
    device: str | torch.device | None = None,
    max_side: int = MAX_SIDE,
    method: str | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    pretrained: str | os.PathLike | None = None,
) -> Predictor:
    """Build what segments images like a few supports.

    Arguments:
        weights: of a trained network, as for :func:`load_trained`; None for one of which nothing was trained.
        refine, method, backbone, settings: as for :func:`load_trained`, or for :func:`load_frozen` without weights.
        device: None for CUDA if there is one, else the CPU.
        max_side: larger images are resized to so many pixels; 0 for none.
        pretrained: without weights: a file of the backbone's, as for :func:`load_frozen`.
    Returns:
        A Predictor without supports.
    Raises:
        UserError: as :func:`load_trained` and :func:`load_frozen`; or weights and pretrained are both given.
    """
    device = device or default_device()
    net, about, note = load_any(weights, pretrained, refine, method, backbone, settings)
    net = fold_batch_norms(net).to(device, memory_format=torch.channels_last)
    return Predictor(net, max_side, about, note)
