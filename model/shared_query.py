"""Matching many episodes with one query: what does not depend on the episode is computed once (docs/method.md, 8).

The reference is :func:`model.matching.match`, episode by episode; this gives its logits up to rounding.

An adaptive background prototype is A_i = S_i / z_i with S_i the sum over the background set B of
k_ij F_j, z_i that of k_ij, and k_ij = exp(2 cos(F_i, F_j)) the query's own. Two things make many of them
cheap. The sets of a query's episodes differ in few pixels: S of one follows from S of the most similar
one seen before, by adding and taking away the pixels in which they differ. And a cosine needs A_i only in
products: with fixed vectors p they are sums over B of k_ij (F_j . p), a matrix product for all episodes
at once, so that of S only norms and pairwise products are needed.
"""

from __future__ import annotations

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

from model.matching import (
    ADAPTIVE_SCALE,
    BG_MIX,
    BG_THRESHOLD,
    FALLBACK_PIXELS,
    FG_MIX,
    FG_THRESHOLD,
    FINAL_MIX,
    REFINE_MIX,
    TEMPERATURE,
    product,
)

TOGETHER = 8  # episodes matched at a time; each holds 4 N C bytes
KEPT_SETS = 16  # background sets whose sums are kept to start from


def squared_norms(x: Tensor) -> Tensor:
    """The squared norms of the columns of (C, N); torch.norm walks them one by one."""
    return (x * x).sum(0)


class Query:
    """One query's features, (C, N), and its kernel, for one background set after the other."""

    def __init__(self, features: Tensor) -> None:
        self.pixels = features
        self.norms = squared_norms(features).sqrt()  # (N,)
        self.unit = features / self.norms.clamp_min(1e-12)
        cosines = product(self.unit.t(), self.unit)
        self.kernel = (ADAPTIVE_SCALE * cosines).exp_()  # k, (N, N), symmetric
        self.kernel_cosines = cosines.mul_(self.kernel)
        self.seen: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT_SETS)  # background sets and their S

    def cosine(self, prototypes: Tensor) -> Tensor:
        """The cosine of every pixel with prototypes (E, C): (E, N)."""
        return F.normalize(prototypes, dim=1) @ self.unit

    def weighted_sum(self, chosen: Tensor) -> Tensor:
        """S (C, N) of a background set (N,) bool."""
        starts = torch.stack([torch.zeros_like(chosen), *(other for other, _ in self.seen)])
        changes = (starts ^ chosen).sum(1).tolist()
        nearest = changes.index(min(changes))
        before = self.seen[nearest - 1][1] if nearest else None  # nothing is summed before the empty set
        if before is not None and changes[nearest] == 0:
            return before
        pixels = (starts[nearest] ^ chosen).nonzero().flatten()
        sign = torch.where(chosen[pixels], 1.0, -1.0).to(self.pixels)
        total = product(sign * self.pixels[:, pixels], self.kernel[pixels])
        if before is not None:
            total += before
        self.seen.append((chosen, total))
        return total


class Adaptive:
    """The adaptive background prototypes A of E background sets (E, N) of a query, in products only."""

    def __init__(self, query: Query, chosen: Tensor) -> None:
        self.query = query
        self.weights = chosen.to(query.pixels)
        self.z = self.weights @ query.kernel  # (E, N)
        self.sums = [query.weighted_sum(each) for each in chosen]
        self.squared = torch.stack([squared_norms(total) for total in self.sums]) / self.z**2  # |A_i|^2
        self.toward = (self.weights * query.norms) @ query.kernel_cosines / self.z  # A_i . F_i / |F_i|

    def dot(self, prototypes: Tensor) -> Tensor:
        """A_i . p of prototypes (E, C): (E, N)."""
        return (self.weights * (prototypes @ self.query.pixels)) @ self.query.kernel / self.z

    def dot_adaptive(self, other: Adaptive) -> Tensor:
        """A_i . A'_i of as many other sets: (E, N)."""
        pairs = zip(self.sums, other.sums, strict=True)
        products = [(mine * its).sum(0) for mine, its in pairs]
        return torch.stack(products) / (self.z * other.z)


def match_episodes(features: Tensor, fg: Tensor, bg: Tensor, refine: bool) -> Tensor:
    """Match one query with many episodes.

    Arguments:
        features: of the query, (1, C, h, w).
        fg, bg: prototypes of E episodes, (E, C, 1, 1).
        refine: whether step 5 of the method is taken.
    Returns:
        Final logits (E, 2, h, w).
    """
    query = Query(features[0].flatten(1))
    parts = zip(fg.flatten(1).split(TOGETHER), bg.flatten(1).split(TOGETHER), strict=True)
    logits = torch.cat([_match(query, *part, refine) for part in parts])
    return logits.unflatten(2, features.shape[-2:])


def _match(query: Query, fg: Tensor, bg: Tensor, refine: bool) -> Tensor:
    """Final logits (E, 2, N) for prototypes (E, C); the steps and names of matching.match."""
    own_fg, own_bg, chosen = _self_support(query, query.cosine(fg), query.cosine(bg))
    first = Adaptive(query, chosen)
    fg1 = FG_MIX * own_fg + (1 - FG_MIX) * fg
    fg_cosine, bg_cosine = query.cosine(fg1), _cosine(query, BG_MIX * own_bg, [(1 - BG_MIX, first)])
    if refine:
        support, once, again = REFINE_MIX
        own_fg2, own_bg2, chosen = _self_support(query, fg_cosine, bg_cosine)
        fg2 = support * fg + once * fg1 + again * (FG_MIX * own_fg2 + (1 - FG_MIX) * fg)
        fixed = support * bg + BG_MIX * (once * own_bg + again * own_bg2)
        adaptive = [((1 - BG_MIX) * once, first), ((1 - BG_MIX) * again, Adaptive(query, chosen))]
        fg_cosine = FINAL_MIX * query.cosine(fg2) + (1 - FINAL_MIX) * fg_cosine
        bg_cosine = FINAL_MIX * _cosine(query, fixed, adaptive) + (1 - FINAL_MIX) * bg_cosine
    return TEMPERATURE * torch.stack((bg_cosine, fg_cosine), 1)


def _self_support(query: Query, fg_cosine: Tensor, bg_cosine: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SSFP and SSBP, each (E, C), and the background sets (E, N) under cosines (E, N)."""
    logits = TEMPERATURE * torch.stack((bg_cosine, fg_cosine))
    p_bg, p_fg = logits.softmax(0)
    fg_set, bg_set = confident_sets(p_fg, FG_THRESHOLD), confident_sets(p_bg, BG_THRESHOLD)
    own_fg, own_bg = (
        chosen.to(query.pixels) @ query.pixels.t() / chosen.sum(1, keepdim=True) for chosen in (fg_set, bg_set)
    )
    return own_fg, own_bg, bg_set


def _cosine(query: Query, fixed: Tensor, adaptive: list[tuple[float, Adaptive]]) -> Tensor:
    """The cosine of every pixel i with fixed (E, C) + sum of a * A_i over the given (a, A): (E, N)."""
    along = fixed @ query.unit
    squared = fixed.square().sum(1, keepdim=True)
    for factor, prototypes in adaptive:
        along = along + factor * prototypes.toward
        squared = squared + factor**2 * prototypes.squared + 2 * factor * prototypes.dot(fixed)
    if len(adaptive) == 2:
        (factor, prototypes), (other_factor, others) = adaptive
        squared = squared + 2 * factor * other_factor * prototypes.dot_adaptive(others)
    return along / squared.clamp_min(1e-16).sqrt()


def confident_sets(probability: Tensor, threshold: float) -> Tensor:
    """Pixels above the threshold in each episode, (E, N) bool; the 12 likeliest if there is none."""
    chosen = probability > threshold
    empty = ~chosen.any(1)
    if empty.any():
        top = probability[empty].topk(min(FALLBACK_PIXELS, probability.shape[1])).indices
        chosen[empty] = torch.zeros_like(chosen[empty]).scatter_(1, top, True)
    return chosen
