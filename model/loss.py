"""The training loss (design, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
WEIGHTS = {"final": 1.0, "out1": 1.0, "query_self": 1.0, "support_self": 0.2}


def loss_terms(out: Mapping[str, Tensor], query_mask: Tensor, support_masks: Sequence[Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of each output of a network (unweighted scalars); 255 in a mask is left out.

    out: logits (B, 2, H, W), "support_self" (K*B, 2, H, W) k-major; query_mask and each of the K
    support_masks (B, H, W) int64.
    """
    return {
        name: F.cross_entropy(
            logits, torch.cat(list(support_masks)) if name == "support_self" else query_mask, ignore_index=IGNORE
        )
        for name, logits in out.items()
    }


def total_loss(terms: Mapping[str, Tensor]) -> Tensor:
    """The weighted sum that is minimised: the self-support loss of the supports counts 0.2, the rest 1."""
    return sum(WEIGHTS[name] * term for name, term in terms.items())
