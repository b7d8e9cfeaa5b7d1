"""The backbone that a network of which nothing was trained finds with: one that is named, or the best at hand."""

from __future__ import annotations

import os

from engine.checkpoint import errors_name, read
from engine.custom import build_network
from engine.package import BACKBONE, find_package
from engine.pretrained import load_start
from engine.setting import FROM_TIMM, RANDOM
from model import FewShotNetwork
from model.names import TIMM
from model.timm_backbone import count_download
from model.weights import resnet_of, unwrap
from util.errors import UserError

# Self-supervised, of 22 million parameters; Apache-2.0. With registers, whose feature maps have no stray peaks.
BEST = "timm:vit_small_patch14_reg4_dinov2.lvd142m"


def choose_start(
    method: str, backbone: str | None, pretrained: str | os.PathLike | None, refine: bool
) -> tuple[FewShotNetwork, str, str]:
    """Build a network with the weights that its backbone starts from.

    Arguments:
        backbone: its name; None for the one of the paper's or the package's that the file is of, or, without a file,
            for the best at hand.
        pretrained: a file of its weights; None for what is usual (engine.pretrained.load_start).
    Returns:
        The network, its backbone's name, and where the weights are from.
    Raises:
        UserError: there are no weights at hand, or they are those of another network.
    """
    file = None if pretrained is None else os.fspath(pretrained)
    if file == RANDOM:
        raise UserError(
            f"--pretrained {RANDOM}: of random weights that nobody trains nothing can be found; name a file"
        )
    if backbone is None and file is None:
        backbone, file = find_best()
    guessed = backbone is None
    if guessed:
        backbone = recognise_backbone(file)
    net = build_network(method, backbone, refine)
    try:
        found = load_start(net, backbone, file)
    except UserError as error:
        if guessed:
            raise UserError(f"{error}; if they are another network's, name it with --backbone timm:NAME") from error
        raise
    return net, backbone, {FROM_TIMM: "timm's weights", "": "as it is made"}.get(found, f"weights {found}")


def recognise_backbone(path: str) -> str:
    """The backbone that a file of weights is of, if it is one of the paper's or the package's."""
    content = read(path)
    with errors_name(path):
        return resnet_of(unwrap(content)) or BACKBONE


def find_best() -> tuple[str, str | None]:
    """The best backbone at hand, and the file of its weights: BEST, if timm can fetch it, else that of the package."""
    try:
        count_download(BEST.removeprefix(TIMM))
    except ValueError:
        try:
            return BACKBONE, str(find_package())
        except UserError as error:
            raise UserError(f"no weights at hand: {error}, or name a trained network with --checkpoint") from error
    return BEST, None
