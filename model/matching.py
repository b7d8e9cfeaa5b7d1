"""The paper's matching, as pure functions (docs/method.md, section 3); its settings are in model/settings.py.

This is the method. What you edit here is what runs: the faster forms in model/fast/ are tried against it, and leave
the work to it where they differ.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.settings import PAPER, Matching

WEIGHTS_TOGETHER = 2**24  # weights of adaptive background prototypes that lie in memory at a time: 64 MB in float32


class Chosen(NamedTuple):
    """The confident pixels of one image, as indices into its h * w pixels."""

    fg: Tensor  # (n,)
    bg: Tensor  # (m,)


class SelfSupport(NamedTuple):
    """What the query's own confident pixels say of its foreground and background."""

    fg: Tensor  # SSFP, (B, C, 1, 1)
    bg: Tensor  # SSBP, (B, C, 1, 1)
    adaptive_bg: Tensor  # ASBP, one per pixel, (B, C, h, w)
    chosen: list[Chosen]  # one for each of the B images


class Trace(NamedTuple):
    """What the steps of a matching gave: logits (B, 2, h, w), background first, and confident pixels."""

    first: Tensor  # step 2
    final: Tensor
    chosen: list[Chosen] | None = None  # step 3, of each of the B images; None without self-support
    out1: Tensor | None = None  # step 4
    chosen_again: list[Chosen] | None = None  # step 5, of its last round; None without refinement
    out2: Tensor | None = None
    settings: Matching = PAPER

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The logits that a network gives: "final" and, when refining, "out1"."""
        refined = self.out1 is not None and self.out2 is not None
        return {"final": self.final, "out1": self.out1} if refined else {"final": self.final}


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


def score(
    features: Tensor, fg: Tensor, bg: Tensor, lengths: Tensor | None = None, settings: Matching = PAPER
) -> Tensor:
    """Score features against two prototypes by cosine.

    Arguments:
        features: (B, C, h, w).
        fg, bg: prototypes (B, C, 1, 1), or one a pixel (B, C, h, w).
        lengths: the features' norms (B, h, w), if they are known.
        settings: of which the temperature counts.
    Returns:
        Logits (B, 2, h, w), background first.
    """
    lengths = norm(features) if lengths is None else lengths
    return settings.temperature * torch.stack([cosine(features, lengths, bg), cosine(features, lengths, fg)], 1)


def norm(x: Tensor) -> Tensor:
    """Lengths (B, h, w) of vectors (B, C, h, w), at least 1e-8, torch's eps for cosines. Faster than torch.norm."""
    return (x * x).sum(1).clamp_min(1e-16).sqrt()


def cosine(features: Tensor, lengths: Tensor, prototype: Tensor) -> Tensor:
    """Cosines (B, h, w) of features (B, C, h, w), whose norms are given, with prototypes (B, C, 1, 1 or h, w)."""
    if prototype.shape[2:] == (1, 1):
        products = (prototype.flatten(2).transpose(1, 2) @ features.flatten(2)).view_as(lengths)
    else:
        products = (features * prototype).sum(1)
    return products / (lengths * norm(prototype))


def confident(probability: Tensor, threshold: float, fallback: int = PAPER.fallback_pixels) -> Tensor:
    """Indices of the pixels above the threshold, or of the likeliest (fallback: how many) if none is. (N,) -> (n,)."""
    chosen = (probability > threshold).nonzero().flatten()
    if chosen.numel():
        return chosen
    return probability.topk(min(fallback, probability.numel())).indices


def self_support(
    features: Tensor, logits: Tensor, lengths: Tensor | None = None, settings: Matching = PAPER
) -> SelfSupport:
    """Self-support prototypes of a query under the logits of a first matching.

    Arguments:
        features: of the query, (B, C, h, w).
        logits: (B, 2, h, w).
        lengths: the features' norms (B, h, w), if they are known.
        settings: thresholds, fallback and the adaptive background's scale.
    """
    probability = logits.softmax(1).flatten(2)  # (B, 2, N)
    lengths = norm(features) if lengths is None else lengths
    parts, sets = [], []
    for pixels, length, (p_bg, p_fg) in zip(features.flatten(2), lengths.flatten(1), probability, strict=True):
        fg = confident(p_fg, settings.fg_threshold, settings.fallback_pixels)
        chosen = confident(p_bg, settings.bg_threshold, settings.fallback_pixels)
        share = torch.zeros_like(p_fg).index_fill(0, fg, 1 / len(fg))
        bg = pixels[:, chosen]  # (C, n)
        adaptive = adaptive_prototypes(pixels, length, bg, length[chosen], settings.adaptive_scale)
        parts.append((pixels @ share, bg.mean(1), adaptive))
        sets.append(Chosen(fg, chosen))
    fg, bg, adaptive = (torch.stack(part) for part in zip(*parts, strict=True))
    return SelfSupport(fg[..., None, None], bg[..., None, None], adaptive.view_as(features), sets)


def adaptive_prototypes(
    pixels: Tensor, lengths: Tensor, background: Tensor, background_lengths: Tensor, scale: float = PAPER.adaptive_scale
) -> Tensor:
    """The ASBP of each pixel of an image, block by block: memory grows with the number of pixels, not its square.

    Arguments:
        pixels: features (C, N).
        lengths: their norms (N,).
        background: those of the confident background pixels, (C, n), with their norms (n,).
        scale: as of adaptive_weights.
    Returns:
        ASBP (C, N). Gradients compute the weights of a block again, but those of an image of one block.
    """
    directions = background / background_lengths

    def prototypes_of(some: Tensor, their_lengths: Tensor) -> Tensor:
        return product(background, adaptive_weights(some / their_lengths, directions, scale).t())

    size = max(1, WEIGHTS_TOGETHER // background.shape[1])
    if size >= len(lengths):
        return prototypes_of(pixels, lengths)
    again = {"use_reentrant": False, "preserve_rng_state": False}
    found = torch.empty_like(pixels)
    for start in range(0, len(lengths), size):
        here = slice(start, start + size)
        found[:, here] = checkpoint(prototypes_of, pixels[:, here], lengths[here], **again)
    return found


def adaptive_weights(pixels: Tensor, background: Tensor, scale: float = PAPER.adaptive_scale) -> Tensor:
    """How much each confident background pixel counts in the ASBP of some pixels: softmax over scaled cosines.

    Arguments:
        pixels: features (C, M) of length 1.
        background: features (C, n) of length 1, of the confident background pixels.
        scale: that the cosines are multiplied by.
    Returns:
        Weights (M, n); those of a pixel sum up to 1.
    """
    similarity = product(pixels.t(), background)
    return (scale * similarity).softmax(1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for large matrices: on CPUs as a 1x1 convolution, up to twice as fast on those that are not Intel's."""
    return a @ b if a.is_cuda else F.conv1d(b[None], a[..., None])[0]


def trace(features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching = PAPER) -> Trace:
    """Match a query with the supports: steps 2 to 5 of docs/method.md, section 3.

    Arguments:
        features: of the query, (B, C, h, w).
        fg, bg: the supports' mean prototypes FP and BP, (B, C, 1, 1), of step 1.
        refine: whether step 5 is taken.
        settings: the network's.
    Returns:
        What each step gave. The prototypes are not kept, for ASBP is as large as the features.
    """
    lengths = norm(features)
    own_share = 1 - settings.support_bg_mix

    def mixed(own: SelfSupport) -> tuple[Tensor, Tensor]:
        """The mix of steps 4 and 5: the supports' prototypes with the query's own, of which two are background."""
        global_bg = settings.support_bg_mix * bg + own_share * settings.bg_mix * own.bg
        return (
            settings.fg_mix * own.fg + (1 - settings.fg_mix) * fg,
            torch.add(global_bg, own.adaptive_bg, alpha=own_share * (1 - settings.bg_mix)),
        )

    # Step 2: the first match, with the supports' prototypes.
    first = score(features, fg, bg, lengths, settings)
    # Step 3: the query's confident pixels make prototypes of its own: SSFP, SSBP, ASBP.
    own = self_support(features, first, lengths, settings)
    # Step 4: mixed prototypes FP1 and BP1, and the second match.
    fg1, bg1 = mixed(own)
    out1 = score(features, fg1, bg1, lengths, settings)
    if not refine or not settings.rounds:
        return Trace(first, out1, own.chosen, out1, settings=settings)

    # Step 5: self-support again, under the last match; FP2 and BP2 mix all that came before.
    support, once, again = settings.refine_mix
    fg2, bg2, out2 = fg1, bg1, out1
    for _ in range(settings.rounds):
        before = out2
        own_again = self_support(features, before, lengths, settings)
        chosen_again = own_again.chosen
        fg_again, bg_again = mixed(own_again)
        del own_again  # its ASBP is in bg_again
        fg2 = support * fg + once * fg2 + again * fg_again
        bg2 = torch.add(support * bg, bg2, alpha=once).add(bg_again, alpha=again)
        out2 = score(features, fg2, bg2, lengths, settings)
    final = settings.final_mix * out2 + (1 - settings.final_mix) * before
    return Trace(first, final, own.chosen, out1, chosen_again, out2, settings)


class _Module(ModuleType):
    """This module, whose settings cannot be set by mistake: a network holds its own, and would not notice."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "PAPER" or name.lower() in Matching.__dataclass_fields__:
            raise AttributeError(f"{name}: a network holds its settings; net.matching = Matching(fg_threshold=0.8)")
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Module
