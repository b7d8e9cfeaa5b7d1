"""The networks for torch.hub:

    net = torch.hub.load("PATH/TO/SSP", "ssp_resnet50", source="local", weights="resnet50_1shot_61.40.ckpt")
    predictor = torch.hub.load("PATH/TO/SSP", "predictor", source="local", weights="resnet50_1shot_61.40.ckpt")

weights is a file of main.py or of the authors' release; None gives random weights. refine says whether SSP
refines; None takes what the weights say, else no. Weights that cannot be read, or that belong to another network,
raise util.errors.UserError, one line.
"""

from __future__ import annotations

import os

import model
import prediction.load

dependencies = ["torch", "torchvision", "numpy", "PIL", "tqdm"]


def ssp_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """SSP with a ResNet-50, in eval mode, on the CPU."""
    return prediction.load.load_trained(weights, refine, "ssp", "resnet50").net


def ssp_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """SSP with a ResNet-101, in eval mode, on the CPU."""
    return prediction.load.load_trained(weights, refine, "ssp", "resnet101").net


def baseline_resnet50(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """The baseline with a ResNet-50, in eval mode, on the CPU; it has nothing to refine."""
    return prediction.load.load_trained(weights, refine, "baseline", "resnet50").net


def baseline_resnet101(weights: str | os.PathLike | None = None, refine: bool | None = None) -> model.FewShotNetwork:
    """The baseline with a ResNet-101, in eval mode, on the CPU; it has nothing to refine."""
    return prediction.load.load_trained(weights, refine, "baseline", "resnet101").net


predictor = prediction.load.load_predictor  # segments images like a few supports
