"""The training loss (docs/method.md, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.settings import LOSS_WEIGHTS

IGNORE = 255


def valid_pixels(query_mask: Tensor, support_masks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Pixels (scalars) that count in the terms of the query and in the one of the supports."""
    masks = {"query": [query_mask], "support": support_masks}
    return {name: sum((mask != IGNORE).sum() for mask in some) for name, some in masks.items()}


def loss_terms(
    out: Mapping[str, Tensor],
    query_mask: Tensor,
    support_masks: Sequence[Tensor],
    counts: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Cross-entropy of each output of a network, unweighted scalars; pixels of 255 in a mask are left out.

    Arguments:
        out: logits (B, 2, H, W); "support_self" (K*B, 2, H, W), k-major.
        query_mask: (B, H, W) int64.
        support_masks: K of (B, H, W) int64.
        counts: :func:`valid_pixels` of the batch that these are a part of, so that the terms of all parts add up to
            those of the batch.
    """
    counts = counts or valid_pixels(query_mask, support_masks)
    terms = {}
    for name, logits in out.items():
        of_support = name == "support_self"
        mask = torch.cat(list(support_masks)) if of_support else query_mask
        total = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum")
        terms[name] = total / counts["support" if of_support else "query"]
    return terms


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[str, float] = LOSS_WEIGHTS) -> Tensor:
    """The weighted sum that is minimised: in the paper the supports' self-support loss counts 0.2, the rest 1."""
    return sum(weights.get(name, 1.0) * term for name, term in terms.items())
