"""Random networks and pictures for the tests of the predictor."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image

from dataset.transform import normalise
from model import FewShotNetwork, build_model, calibrate_batch_norms
from prediction import Predictor

SIZES = [(64, 48), (40, 56), (72, 72)]  # (width, height) of three supports
QUERY = (56, 64)


def random_picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Blots of colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def box(size: tuple[int, int]) -> np.ndarray:
    """The left half is the object, a strip is ignored."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[8:-8, : size[0] // 2] = 1
    mask[8:-8, size[0] // 2 : size[0] // 2 + 4] = 255
    return mask


PICTURES = [random_picture(size, seed) for seed, size in enumerate(SIZES)]
MASKS = [box(size) for size in SIZES]
IMAGE = random_picture(QUERY, 9)
NAMES = ("ssp", "ssp refine", "baseline")


def random_network(name: str) -> FewShotNetwork:
    """A network, by one of NAMES, with calibrated batch norms."""
    torch.manual_seed(0)
    net = build_model(name.split()[0], refine="refine" in name)
    calibrate_batch_norms(net, torch.stack([normalise(x.resize((64, 64))) for x in PICTURES]))
    return net.eval()


network = cache(random_network)  # each made once


def predictor_of(net: FewShotNetwork, shot: int = 1, **options: int) -> Predictor:
    predictor = Predictor(net, **options)
    predictor.set_support(PICTURES[:shot], MASKS[:shot])
    return predictor
