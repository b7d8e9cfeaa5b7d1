"""Matching many episodes with one query: what does not depend on the episode is computed once (docs/method.md, 8).

The reference is :func:`model.matching.match`, episode by episode; this gives its logits up to rounding.

An adaptive background prototype is A_i = S_i / z_i with S_i the sum over the background set B of
k_ij F_j, z_i that of k_ij, and k_ij = exp(2 cos(F_i, F_j)) the query's own kernel. The sets of a query's
episodes differ in few pixels: S of one follows from S of another by adding and taking away the pixels in
which they differ. A GPU sums every set anew: it is waited for to learn in which pixels two sets differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
)

SUMS_BYTES = 2**29  # of the sums S of the episodes matched at a time; a set takes 4 N C
KERNEL_ROWS = 256  # of the kernel computed at a time: only the half above the diagonal is
CACHED_BYTES = 2**21  # of the prototypes mixed at a time: on a CPU they are to stay in its cache


class Scratch:
    """Memory that is used again for one query after the other: on a CPU fresh pages take as long as what fills them."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """A tensor of a shape, of like's type and device, whose content is undefined; it overwrites the last one."""
        size = math.prod(shape)
        if name not in self.buffers or self.buffers[name].numel() < size:
            self.buffers.pop(name, None)
            self.buffers[name] = like.new_empty(size)
        return self.buffers[name][:size].view(shape)


class Query:
    """One query's features, (N, C), and its kernel (N, N)."""

    def __init__(self, features: Tensor, scratch: Scratch) -> None:
        self.pixels = features[0].flatten(1).t().contiguous()
        self.unit = F.normalize(self.pixels, dim=1)
        self.kernel = kernel(self.unit, scratch.take("kernel", self.unit, len(self.unit), len(self.unit)))

    def cosine(self, prototypes: Tensor) -> Tensor:
        """The cosine of every pixel with prototypes (E, C): (E, N)."""
        return F.normalize(prototypes, dim=1) @ self.unit.t()

    def mean(self, chosen: Tensor) -> Tensor:
        """The mean (E, C) of the pixels of sets (E, N) bool."""
        return chosen.to(self.pixels) @ self.pixels / chosen.sum(1, keepdim=True)

    def kernel_sums(self, chosen: Tensor) -> Tensor:
        """z (E, N) of sets (E, N) bool."""
        return (self.kernel @ chosen.to(self.kernel).t()).t().contiguous()


def kernel(unit: Tensor, out: Tensor) -> Tensor:
    """exp(2 cos) of all pairs of directions (N, C), written to out (N, N) and returned; symmetric."""
    rows = len(unit) if unit.is_cuda else KERNEL_ROWS
    for start in range(0, len(unit), rows):
        block = out[start : start + rows, start:]
        torch.mm(unit[start : start + rows], unit[start:].t(), out=block)
        block.mul_(ADAPTIVE_SCALE).exp_()
        out[start + rows :, start : start + rows] = block[:, rows:].t()
    return out


def match_episodes(features: Tensor, fg: Tensor, bg: Tensor, refine: bool, scratch: Scratch | None = None) -> Tensor:
    """Match one query with many episodes.

    Arguments:
        features: of the query, (1, C, h, w).
        fg, bg: prototypes of E episodes, (E, C, 1, 1).
        refine: whether step 5 of the method is taken.
        scratch: of the queries before, if there are any.
    Returns:
        Final logits (E, 2, h, w).
    """
    scratch = scratch or Scratch()
    query = Query(features, scratch)
    slots = SUMS_BYTES // (query.pixels.numel() * query.pixels.element_size())
    together = max(1, (slots - 1) // (2 if refine else 1))
    parts = math.ceil(len(fg) / together)
    pairs = zip(fg.flatten(1).chunk(parts), bg.flatten(1).chunk(parts), strict=True)
    logits = torch.cat([_match(query, *pair, refine, scratch) for pair in pairs])
    return logits.unflatten(2, features.shape[-2:])


def _match(query: Query, fg: Tensor, bg: Tensor, refine: bool, scratch: Scratch) -> Tensor:
    """Final logits (E, 2, N) for prototypes (E, C); the steps and names of matching.match."""
    episodes = len(fg)
    sums = scratch.take("sums", fg, 1 + episodes * (2 if refine else 1), *query.pixels.shape)
    sums[0] = 0  # the empty set's

    fg_set, bg_set = _self_support(query.cosine(fg), query.cosine(bg))
    sets = torch.cat((torch.zeros_like(bg_set[:1]), bg_set))
    add_sums(query, sets, sums[: len(sets)], known=1)
    own_bg = query.mean(bg_set)
    fg1 = FG_MIX * query.mean(fg_set) + (1 - FG_MIX) * fg
    first = ((1 - BG_MIX) / query.kernel_sums(bg_set), sums[1 : episodes + 1])  # the ASBP's share of BP1
    fg_cosine, bg_cosine = query.cosine(fg1), mixed_cosine(query, BG_MIX * own_bg, [first])
    if refine:
        support, once, again = REFINE_MIX
        fg_set, bg_set = _self_support(fg_cosine, bg_cosine)
        add_sums(query, torch.cat((sets, bg_set)), sums, known=len(sets))
        fg2 = support * fg + once * fg1 + again * (FG_MIX * query.mean(fg_set) + (1 - FG_MIX) * fg)
        fixed = support * bg + BG_MIX * (once * own_bg + again * query.mean(bg_set))
        second = (again * (1 - BG_MIX) / query.kernel_sums(bg_set), sums[episodes + 1 :])
        adaptive = [(once * first[0], first[1]), second]
        fg_cosine = FINAL_MIX * query.cosine(fg2) + (1 - FINAL_MIX) * fg_cosine
        bg_cosine = FINAL_MIX * mixed_cosine(query, fixed, adaptive) + (1 - FINAL_MIX) * bg_cosine
    return TEMPERATURE * torch.stack((bg_cosine, fg_cosine), 1)


def _self_support(fg_cosine: Tensor, bg_cosine: Tensor) -> tuple[Tensor, Tensor]:
    """The confident foreground and background pixels, each (E, N) bool, under cosines (E, N)."""
    p_bg, p_fg = (TEMPERATURE * torch.stack((bg_cosine, fg_cosine))).softmax(0)
    return confident_sets(p_fg, FG_THRESHOLD), confident_sets(p_bg, BG_THRESHOLD)


def confident_sets(probability: Tensor, threshold: float) -> Tensor:
    """Pixels above the threshold in each episode, (E, N) bool; the 12 likeliest if there is none."""
    chosen = probability > threshold
    top = probability.topk(min(FALLBACK_PIXELS, probability.shape[1])).indices
    likeliest = torch.zeros_like(chosen).scatter_(1, top, True)
    return torch.where(chosen.any(1, keepdim=True), chosen, likeliest)


def add_sums(query: Query, sets: Tensor, sums: Tensor, known: int) -> None:
    """Write the sums S of all background sets but the first ones, which are known.

    Arguments:
        query: the query.
        sets: (M, N) bool.
        sums: (M, N, C), changed in place.
        known: of the M, those at the front.
    """
    if sums.is_cuda:
        torch.matmul(query.kernel, sets[known:, :, None] * query.pixels, out=sums[known:])
        return
    for number, start in spanning_tree(sets, known):
        pixels = (sets[number] ^ sets[start]).nonzero().flatten()
        sign = torch.where(sets[number, pixels], 1.0, -1.0).to(sums)[:, None]
        torch.addmm(sums[start], query.kernel[pixels].t(), sign * query.pixels[pixels], out=sums[number])


def spanning_tree(sets: Tensor, known: int) -> list[tuple[int, int]]:
    """From which set each is reached so that they differ in the fewest pixels altogether (Prim's algorithm).

    Arguments:
        sets: (M, N) bool.
        known: of the M, those at the front: what can be started from.
    Returns:
        A set that is not known and one that is or came before it, for each of them in order.
    """
    weights = sets.float()
    sizes = weights.sum(1)
    apart = (sizes[:, None] + sizes - 2 * weights @ weights.t()).tolist()  # pixels in which two sets differ
    nearest = {number: min(range(known), key=apart[number].__getitem__) for number in range(known, len(sets))}
    order = []
    while nearest:
        number = min(nearest, key=lambda each: apart[each][nearest[each]])
        order.append((number, nearest.pop(number)))
        for other, start in nearest.items():
            if apart[other][number] < apart[other][start]:
                nearest[other] = number
    return order


def mixed_cosine(query: Query, fixed: Tensor, adaptive: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The cosine (E, N) of every pixel i with fixed (E, C) + the sum over (w, S) of w_i S_i: (E, N), (E, N, C)."""
    count = len(query.pixels)
    rows = count if fixed.is_cuda else max(1, CACHED_BYTES // (fixed.numel() * fixed.element_size()))
    along, lengths = [], []
    for start in range(0, count, rows):
        here = slice(start, start + rows)
        mixed = fixed[:, None]
        for weights, sums in adaptive:
            mixed = torch.addcmul(mixed, weights[:, here, None], sums[:, here])  # (E, rows, C)
        along.append(torch.linalg.vecdot(mixed, query.unit[here]))
        lengths.append(torch.linalg.vector_norm(mixed, dim=2))
    return torch.cat(along, 1) / torch.cat(lengths, 1).clamp_min(1e-8)
