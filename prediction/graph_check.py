"""Compare ONNX graphs of a network with PyTorch on painted images, before anybody trusts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.prepare.toy import scene
from dataset.transform import normalise
from model import FewShotNetwork, matching
from util.errors import UserError

TOLERANCE = 1e-4  # of logits
SIZES = ((240, 320), (375, 500), (480, 333))  # height and width of the queries
SUPPORTS = ((224, 300), (300, 224), (225, 225), (190, 301), (257, 240))
SHOTS = (1, len(SUPPORTS))
DOUBT = 0.9  # how near the background's prototypes are brought to the foreground's, so that no pixel is confident
# A pixel this near to the border of the confident ones is in or out by rounding alone, in PyTorch as in a graph, and
# moves the logits by more than the tolerance; another image is then taken.
BORDER = 2e-5
TRIES = 40  # images that are painted for a comparison

Pair = tuple[Tensor, Tensor]  # foreground and background prototypes (K, 1, ...)


class Comparison(NamedTuple):
    """How far the logits of a graph are from PyTorch's, for one query."""

    size: tuple[int, int]  # height and width
    supports: int
    doubtful: bool  # whether the prototypes were made alike, so that the method falls back on the likeliest pixels
    difference: float


def compare_graphs(net: FewShotNetwork, graphs: Mapping[str, bytes]) -> list[Comparison]:
    """Run both on images of several sizes, from their pixels to the logits, and compare these.

    Arguments:
        net: in eval mode on the CPU.
        graphs: the files of :func:`prediction.graphs.make_graphs`.
    Raises:
        UserError: they differ by more than TOLERANCE.
    """
    graph, plain = run_graphs(graphs), run_network(net)
    supports = [paint(number, size) for number, size in enumerate(SUPPORTS)]
    masks = [mark(size) for size in SUPPORTS]
    of_graph, of_plain = (
        [side.prototypes(side.features(image), mask) for image, mask in zip(supports, masks, strict=True)]
        for side in (graph, plain)
    )
    comparisons = []
    for size in SIZES:
        for shots, doubtful in (*((shots, False) for shots in SHOTS), (SHOTS[-1], True)):
            pairs = [stack(some[:shots], doubtful) for some in (of_graph, of_plain)]
            image, expected = find_query(plain, pairs[1], size)
            found = graph.match(graph.features(image), *pairs[0], size)
            difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
            comparisons.append(Comparison(size, shots, doubtful, difference))
            if not difference <= TOLERANCE:
                where = f"{size[1]}x{size[0]} pixels with {shots} support{'s' if shots > 1 else ''}"
                raise UserError(
                    f"the graphs give other logits than PyTorch, {difference:.1e} apart at {where} (at most "
                    f"{TOLERANCE:.0e} is taken); nothing is written"
                )
    return comparisons


class Side(NamedTuple):
    """The three steps as PyTorch or the graphs take them."""

    features: Any  # uint8 (H, W, 3) -> (1, C, h, w)
    prototypes: Any  # features, uint8 (H, W) -> Pair of one support
    match: Any  # features, fg and bg of K supports, size -> logits (1, 2, *size), float32 array


def run_network(net: FewShotNetwork) -> Side:
    """PyTorch's side."""

    @torch.inference_mode()
    def match(features: Tensor, fg: Tensor, bg: Tensor, size: tuple[int, int]) -> np.ndarray:
        logits = net.match(features, net.over_shots(fg), net.over_shots(bg))["final"]
        return matching.resize(logits, size).numpy()

    features = torch.inference_mode()(lambda image: net.features(normalise(torch.from_numpy(image))[None]))
    prototypes = torch.inference_mode()(lambda x, mask: net.prototypes(x, torch.from_numpy(mask)[None].long()))
    return Side(features, prototypes, match)


def run_graphs(graphs: Mapping[str, bytes]) -> Side:
    """ONNX Runtime's side."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that it leaves out
    sessions = {
        name: InferenceSession(content, options, providers=["CPUExecutionProvider"]) for name, content in graphs.items()
    }

    def run(name: str, **inputs: Tensor | np.ndarray) -> list[Tensor]:
        feed = {key: np.asarray(value) for key, value in inputs.items()}
        return [torch.from_numpy(value) for value in sessions[name].run(None, feed)]

    return Side(
        lambda image: run("features", image=image)[0],
        lambda features, mask: tuple(run("prototypes", features=features, mask=mask)),
        lambda features, fg, bg, size: run("match", features=features, fg=fg, bg=bg, size=np.array(size))[0].numpy(),
    )


def stack(pairs: list[Pair], doubtful: bool) -> Pair:
    """The prototypes of some supports, (K, 1, ...), those of the background brought near where nobody is to be sure."""
    fg, bg = (torch.stack(some) for some in zip(*pairs, strict=True))
    return fg, (DOUBT * fg + (1 - DOUBT) * bg if doubtful else bg)


def find_query(plain: Side, pair: Pair, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image of which no pixel lies at a border of the confident ones, and PyTorch's logits of it.

    Raises UserError if there is none among TRIES.
    """
    for number in range(100, 100 + TRIES):
        image = paint(number, size)
        with borders() as distances:
            logits = plain.match(plain.features(image), *pair, size)
        if min(distances, default=1.0) > BORDER:
            return image, logits
    raise UserError(
        f"of {TRIES} painted images each has a pixel within {BORDER:.0e} of a threshold, where rounding decides: the "
        "graphs cannot be compared with PyTorch; nothing is written"
    )


@contextmanager
def borders() -> Iterator[list[float]]:
    """Note, in this block, how near a pixel's probability comes to where it would be confident, or would not be."""
    distances: list[float] = []
    of_method = matching.confident

    def confident(probability: Tensor, threshold: float, *fallback: int) -> Tensor:
        chosen = of_method(probability, threshold, *fallback)
        distances.append(float((probability - threshold).abs().min()))
        left = torch.ones_like(probability, dtype=torch.bool).index_fill(0, chosen, False)
        if left.any():
            distances.append(float(probability[chosen].min() - probability[left].max()))
        return chosen

    with patch.object(matching, "confident", confident):
        yield distances


def paint(number: int, size: tuple[int, int]) -> np.ndarray:
    """A painted image, uint8 (H, W, 3)."""
    return np.array(scene(number, 0).image.resize(size[::-1], Image.Resampling.BICUBIC))


def mark(size: tuple[int, int]) -> np.ndarray:
    """A mask, uint8 (H, W): an object with a rim that is neither object nor background."""
    mask = np.zeros(size, np.uint8)
    height, width = size
    mask[height // 4 : height // 4 * 3, width // 5 : width // 2] = 255
    mask[height // 3 : height // 3 * 2, width // 4 : width // 5 * 2] = 1
    return mask
