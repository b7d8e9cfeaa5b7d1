"""The paper's matching, as pure functions (design, section 3). Settings the paper fixes stand here."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 10.0  # scales the cosine scores into logits
FG_THRESHOLD, BG_THRESHOLD = 0.7, 0.6  # confidence of a pixel that supports itself
FALLBACK_PIXELS = 12  # taken by confidence where no pixel passes the threshold
ADAPTIVE_SCALE = 2.0  # sharpness of the adaptive background's softmax
FG_MIX = 0.5  # weight of the self-support foreground prototype, the rest is the support's
BG_MIX = 0.3  # weight of the global background prototype, the rest is the adaptive one
REFINE_MIX = (0.5, 0.2, 0.3)  # support, first self-support and second self-support prototypes
FINAL_MIX = 0.7  # weight of the refined logits, the rest is the first matching's


class SelfSupport(NamedTuple):
    """What the query's own confident pixels say of its foreground and background."""

    fg: Tensor  # SSFP, (B, C, 1, 1)
    bg: Tensor  # SSBP, (B, C, 1, 1)
    adaptive_bg: Tensor  # ASBP, one per pixel, (B, C, h, w)


def resize(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear, corners aligned, as everything is resized in this method. (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def masked_average(features: Tensor, mask: Tensor) -> Tensor:
    """Prototype of a region: features (B, C, h, w), 0/1 mask (B, H, W) of any size -> (B, C, 1, 1)."""
    weight = resize(mask[:, None].to(features.dtype), features.shape[-2:])
    total = (features * weight).sum((2, 3), keepdim=True)
    return total / (weight.sum((2, 3), keepdim=True) + 1e-5)


def prototypes(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground (mask == 1) and background (mask == 0) prototypes, each (B, C, 1, 1); 255 is in neither."""
    return masked_average(features, mask == 1), masked_average(features, mask == 0)


def score(features: Tensor, fg: Tensor, bg: Tensor) -> Tensor:
    """Logits (B, 2, h, w), background first, of features against prototypes (B, C, 1, 1 or h, w)."""
    similarity = (F.cosine_similarity(features, bg, dim=1), F.cosine_similarity(features, fg, dim=1))
    return TEMPERATURE * torch.stack(similarity, dim=1)


def confident(probability: Tensor, threshold: float) -> Tensor:
    """Indices of the pixels above the threshold, of the 12 likeliest if there is none. (N,) -> (n,)."""
    chosen = (probability > threshold).nonzero().flatten()
    if chosen.numel():
        return chosen
    return probability.topk(min(FALLBACK_PIXELS, probability.numel())).indices


def self_support(features: Tensor, logits: Tensor) -> SelfSupport:
    """Self-support prototypes of query features (B, C, h, w) under the logits (B, 2, h, w) of a first matching."""
    probability = logits.softmax(1).flatten(2)  # (B, 2, N)
    parts = []
    for pixels, (p_bg, p_fg) in zip(features.flatten(2), probability, strict=True):  # (C, N)
        fg = pixels[:, confident(p_fg, FG_THRESHOLD)]
        bg = pixels[:, confident(p_bg, BG_THRESHOLD)]  # (C, n)
        similarity = F.normalize(pixels, dim=0).t() @ F.normalize(bg, dim=0)  # (N, n)
        adaptive = bg @ (ADAPTIVE_SCALE * similarity).softmax(1).t()  # (C, N)
        parts.append((fg.mean(1), bg.mean(1), adaptive))
    fg, bg, adaptive = (torch.stack(part) for part in zip(*parts, strict=True))
    return SelfSupport(fg[..., None, None], bg[..., None, None], adaptive.view_as(features))


def match(features: Tensor, fg: Tensor, bg: Tensor, refine: bool) -> dict[str, Tensor]:
    """Match query features (B, C, h, w) with support prototypes (B, C, 1, 1): steps 2 to 5 of design 3.

    Returns logits (B, 2, h, w): "final" and, when refining, "out1", the matching before refinement.
    """

    def mixed(own: SelfSupport) -> tuple[Tensor, Tensor]:
        return (
            FG_MIX * own.fg + (1 - FG_MIX) * fg,
            BG_MIX * own.bg + (1 - BG_MIX) * own.adaptive_bg,
        )

    first = self_support(features, score(features, fg, bg))
    fg1, bg1 = mixed(first)
    out1 = score(features, fg1, bg1)
    if not refine:
        return {"final": out1}

    fg_again, bg_again = mixed(self_support(features, out1))
    support, once, again = REFINE_MIX
    fg2 = support * fg + once * fg1 + again * fg_again
    bg2 = support * bg + once * bg1 + again * bg_again
    out2 = score(features, fg2, bg2)
    return {"final": FINAL_MIX * out2 + (1 - FINAL_MIX) * out1, "out1": out1}
