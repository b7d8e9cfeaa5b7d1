"""A network as ONNX graphs: image to features, features and mask to prototypes, features and prototypes to logits.

The graphs hold the steps of model/matching.py as they stand there, or those of a custom head, with the network's
settings. :func:`exportable_steps` puts a few names in another form while they are written, since a graph cannot branch
on how many pixels are confident: prediction/graph_check.py compares what comes of it with PyTorch.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.transform import normalise
from model import FewShotNetwork, matching
from util.errors import UserError, first_line

ROWS = 512  # pixels whose adaptive prototypes are computed at a time: memory grows with the image, not its square
EXAMPLE = (97, 131)  # height and width of the image that is traced; the graphs take any


class Features(nn.Module):
    """image: uint8 (H, W, 3) RGB -> features (1, C, h, w)."""

    def __init__(self, net: FewShotNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net.features(normalise(image)[None])


class Prototypes(nn.Module):
    """features (1, C, h, w) and mask, uint8 (H, W): 1, 0 or 255 -> foreground and background prototype (1, ...)."""

    def __init__(self, net: FewShotNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.net.prototypes(features, mask[None])


class Match(nn.Module):
    """features of a query, prototypes fg and bg (K, 1, ...) of K supports, size (height, width) -> logits."""

    def __init__(self, net: FewShotNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor, fg: Tensor, bg: Tensor, size: Tensor) -> Tensor:
        height, width = size.tolist()
        torch._check(height > 1)
        torch._check(width > 1)
        logits = self.net.match(features, self.net.over_shots(fg), self.net.over_shots(bg))["final"]
        return matching.resize(logits, (height, width))


@torch.no_grad()
def make_graphs(net: FewShotNetwork, producer: str) -> dict[str, bytes]:
    """The ONNX files of a network in eval mode on the CPU: "features", "prototypes", "match"; they name the producer.

    Raises UserError if PyTorch's exporter cannot write a step of it.
    """
    free = torch.export.Dim.DYNAMIC
    image, mask = torch.zeros(*EXAMPLE, 3, dtype=torch.uint8), torch.zeros(EXAMPLE, dtype=torch.uint8)
    mask[:50] = 1
    features = Features(net)(image + torch.arange(EXAMPLE[1], dtype=torch.uint8)[:, None])
    fg, bg = (torch.stack([x, x, x]) for x in net.prototypes(features, mask[None]))
    size, grid = torch.tensor(EXAMPLE), {2: free, 3: free}
    shots = {0: free}
    steps = {
        "features": (Features(net), {"image": image}, {"image": {0: free, 1: free}}, ["features"]),
        "prototypes": (
            Prototypes(net),
            {"features": features, "mask": mask},
            {"features": grid, "mask": {0: free, 1: free}},
            ["fg", "bg"],
        ),
        "match": (
            Match(net),
            {"features": features, "fg": fg, "bg": bg, "size": size},
            {"features": grid, "fg": shots, "bg": shots, "size": {}},
            ["logits"],
        ),
    }
    graphs = {}
    for name, (step, inputs, free_sizes, outputs) in steps.items():
        try:
            with exportable_steps(), silent():
                program = torch.onnx.export(
                    step.eval(),
                    tuple(inputs.values()),
                    dynamo=True,
                    input_names=list(inputs),
                    output_names=outputs,
                    dynamic_shapes=free_sizes,
                    verbose=False,
                )
        except torch.onnx.OnnxExporterError as error:
            reason = first_line(error.__cause__ or error)
            line = f"PyTorch {torch.__version__} cannot write {name}.onnx of this network ({reason})"
            raise UserError(f"{line}; choose another --backbone") from error
        model = program.model_proto
        model.producer_name = producer
        graphs[name] = model.SerializeToString()
    return graphs


@contextmanager
def silent() -> Iterator[None]:
    """Drop what the exporter prints and logs in the block: what it could not write is in its exception."""
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def exportable_steps() -> Iterator[None]:
    """Put what a graph cannot hold in another form, for the block.

    Of model/matching.py that is ``confident``, ``adaptive_prototypes`` and, as sizes are symbols, Python's ``len``.
    """
    forms = {"confident": confident, "adaptive_prototypes": adaptive_prototypes, "len": lambda x: x.shape[0]}
    with patch.multiple(matching, create=True, **forms):
        yield


def confident(probability: Tensor, threshold: float, fallback: int = matching.PAPER.fallback_pixels) -> Tensor:
    """:func:`model.matching.confident` without a branch; the likeliest pixels come in the order of the image."""
    above = probability > threshold
    likeliest = probability.topk(torch.sym_min(fallback, probability.numel())).indices
    is_likeliest = torch.zeros_like(above).index_fill(0, likeliest, True)
    return (above | (is_likeliest & ~above.any())).nonzero().flatten()


def adaptive_prototypes(
    pixels: Tensor,
    lengths: Tensor,
    background: Tensor,
    background_lengths: Tensor,
    scale: float = matching.PAPER.adaptive_scale,
) -> Tensor:
    """:func:`model.matching.adaptive_prototypes` in blocks of a number of pixels that does not depend on the data."""
    directions = background / background_lengths
    count = pixels.shape[1]
    padded = F.pad((pixels / lengths).t(), (0, 0, 0, -count % ROWS))

    def prototypes_of(nothing: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
        weights = matching.adaptive_weights(some.t(), directions, scale)
        return nothing.clone(), matching.product(background, weights.t()).t()

    blocks = padded.unflatten(0, (-1, ROWS))
    _, found = torch._higher_order_ops.scan(prototypes_of, torch.zeros(1), blocks)
    return found.flatten(0, 1)[:count].t()
