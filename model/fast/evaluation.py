"""Matching many episodes with one query: what does not depend on the episode is computed once (docs/method.md, 8).

The reference is :func:`model.matching.trace`, episode by episode; this gives its logits up to rounding.

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

from model.matching import Matching

SUMS_BYTES = 2**29  # memory for the sums S of the episodes matched at a time; a set takes 4 N C
KERNEL_ROWS = 384  # rows of the kernel computed at a time: only the half above the diagonal is
SMALLEST = 1e-8  # length that a vector is divided by, as in matching.norm
CACHED_BYTES = 2**21  # memory for the prototypes mixed at a time: on a CPU they are to stay in its cache


class Scratch:
    """Memory that is used again for one query after the other: on a CPU fresh pages take as long as what fills them."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int, expected: int = 0) -> Tensor:
        """A tensor of a shape, of like's type and device, whose content is undefined; it overwrites the last one.

        expected: the bytes that later ones will take, so as not to begin anew with each that is larger.
        """
        size = math.prod(shape)
        if name not in self.buffers or self.buffers[name].numel() < size:
            self.buffers.pop(name, None)
            self.buffers[name] = like.new_empty(max(size, expected // like.element_size()))
        return self.buffers[name][:size].view(shape)


class Query:
    """One query's features, (N, C), and its kernel (N, N)."""

    def __init__(self, features: Tensor, scratch: Scratch, settings: Matching) -> None:
        channels, count = features[0].flatten(1).shape
        self.scratch, self.settings = scratch, settings
        self.pixels, self.unit = scratch.take("pixels", features, 2, count, channels)
        self.pixels.copy_(features[0].flatten(1).t())
        lengths = torch.linalg.vector_norm(self.pixels, dim=1, keepdim=True)
        torch.div(self.pixels, lengths.clamp_min(SMALLEST), out=self.unit)
        self.kernel = kernel(self.unit, settings.adaptive_scale, scratch.take("kernel", features, count, count))

    def cosine(self, prototypes: Tensor) -> Tensor:
        """The cosine of every pixel with prototypes (..., C): (..., N)."""
        return F.normalize(prototypes, dim=-1) @ self.unit.t()

    def mean(self, chosen: Tensor) -> Tensor:
        """The mean (..., C) of the pixels of sets (..., N) bool."""
        return chosen.to(self.pixels) @ self.pixels / chosen.sum(-1, keepdim=True)


def kernel(unit: Tensor, scale: float, out: Tensor) -> Tensor:
    """exp(scale cos) of all pairs of directions (N, C), written to out (N, N) and returned; symmetric."""
    rows = len(unit) if unit.is_cuda else KERNEL_ROWS
    for start in range(0, len(unit), rows):
        block = out[start : start + rows, start:]
        torch.addmm(block, unit[start : start + rows], unit[start:].t(), beta=0, alpha=scale, out=block)
        block.exp_()
        out[start + rows :, start : start + rows] = block[:, rows:].t()
    return out


@torch.no_grad()
def match_episodes(
    features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching, scratch: Scratch | None = None
) -> Tensor:
    """Match one query with many episodes.

    Arguments:
        features: of the query, (1, C, h, w).
        fg, bg: prototypes of E episodes, (E, C, 1, 1).
        refine: whether step 5 of the method is taken.
        settings: of the network.
        scratch: of the queries before, if there are any.
    Returns:
        Final logits (E, 2, h, w).
    """
    scratch = scratch or Scratch()
    query = Query(features, scratch, settings)
    slots = SUMS_BYTES // (query.pixels.numel() * query.pixels.element_size())
    together = max(1, (slots - 1) // (2 if refine else 1))
    parts = math.ceil(len(fg) / together)
    pairs = zip(fg.flatten(1).chunk(parts), bg.flatten(1).chunk(parts), strict=True)
    logits = torch.cat([_match(query, *pair, refine) for pair in pairs])
    return logits.unflatten(2, features.shape[-2:])


def score_episodes(features: Tensor, fg: Tensor, bg: Tensor, settings: Matching) -> Tensor:
    """Score one query with the prototypes of many episodes (step 2); arguments and result as match_episodes'."""
    unit = F.normalize(features, dim=1)[0].flatten(1)  # (C, N)
    cosines = [F.normalize(prototypes.flatten(1), dim=1) @ unit for prototypes in (bg, fg)]
    return settings.temperature * torch.stack(cosines, 1).unflatten(2, features.shape[-2:])


def _match(query: Query, fg: Tensor, bg: Tensor, refine: bool) -> Tensor:
    """Final logits (E, 2, N) for prototypes (E, C); the steps and names of matching.trace."""
    s, sums = query.settings, Sums(query, len(fg) * (2 if refine else 1))
    fg_set, bg_set = confident_pixels(*query.cosine(torch.stack((fg, bg))), s)
    own_fg, own_bg = query.mean(torch.stack((fg_set, bg_set)))
    fg1 = s.fg_mix * own_fg + (1 - s.fg_mix) * fg
    asbp = sums.add(bg_set)
    fg_cosine, bg_cosine = query.cosine(fg1), mixed_cosine(query, s.bg_mix * own_bg, [(1 - s.bg_mix, *asbp)])
    if refine:
        support, once, again = s.refine_mix
        fg_set, bg_set = confident_pixels(fg_cosine, bg_cosine, s)
        own_fg_again, own_bg_again = query.mean(torch.stack((fg_set, bg_set)))
        fg2 = support * fg + once * fg1 + again * (s.fg_mix * own_fg_again + (1 - s.fg_mix) * fg)
        fixed = support * bg + s.bg_mix * (once * own_bg + again * own_bg_again)
        adaptive = [((1 - s.bg_mix) * once, *asbp), ((1 - s.bg_mix) * again, *sums.add(bg_set))]
        fg_cosine = s.final_mix * query.cosine(fg2) + (1 - s.final_mix) * fg_cosine
        bg_cosine = s.final_mix * mixed_cosine(query, fixed, adaptive) + (1 - s.final_mix) * bg_cosine
    return s.temperature * torch.stack((bg_cosine, fg_cosine), 1)


def confident_pixels(fg_cosine: Tensor, bg_cosine: Tensor, settings: Matching) -> tuple[Tensor, Tensor]:
    """The confident foreground and background pixels, each (E, N) bool, under cosines (E, N)."""
    p_bg, p_fg = (settings.temperature * torch.stack((bg_cosine, fg_cosine))).softmax(0)
    fg = confident_sets(p_fg, settings.fg_threshold, settings.fallback_pixels)
    return fg, confident_sets(p_bg, settings.bg_threshold, settings.fallback_pixels)


def confident_sets(probability: Tensor, threshold: float, fallback: int) -> Tensor:
    """Pixels above the threshold in each episode, (E, N) bool; the likeliest (fallback: how many) if there is none."""
    chosen = probability > threshold
    top = probability.topk(min(fallback, probability.shape[1])).indices
    likeliest = torch.zeros_like(chosen).scatter_(1, top, True)
    return torch.where(chosen.any(1, keepdim=True), chosen, likeliest)


class Sums:
    """S and z of background sets of a query, each from those of the set before it that differs in the fewest pixels.

    S and z are those of the numerator and the denominator in A_i = S_i / z_i.
    """

    def __init__(self, query: Query, most: int) -> None:
        count = len(query.pixels)
        self.query = query
        self.sets = torch.zeros(1, count, dtype=torch.bool, device=query.pixels.device)  # the empty one first
        self.s = query.scratch.take("sums", query.pixels, 1 + most, *query.pixels.shape, expected=SUMS_BYTES)
        self.z = query.pixels.new_zeros(1 + most, count)
        self.s[0] = 0

    def add(self, sets: Tensor) -> tuple[Tensor, Tensor]:
        """S (M, N, C) and z (M, N) of sets (M, N) bool."""
        pixels, kernel, scratch = self.query.pixels, self.query.kernel, self.query.scratch
        known = len(self.sets)
        self.sets = torch.cat((self.sets, sets))
        new = slice(known, len(self.sets))
        if pixels.is_cuda:  # every set anew: to learn in which pixels two differ, the device would be waited for
            torch.matmul(kernel, sets[..., None] * pixels, out=self.s[new])
            torch.mm(sets.to(kernel), kernel, out=self.z[new])
            return self.s[new], self.z[new]
        for number, start in spanning_tree(self.sets, known):
            differing = (self.sets[number] ^ self.sets[start]).nonzero().flatten()
            sign = torch.where(self.sets[number, differing], 1.0, -1.0).to(pixels)
            rows = scratch.take("rows", kernel, len(differing), len(kernel))
            torch.index_select(kernel, 0, differing, out=rows)
            torch.addmm(self.s[start], rows.t(), sign[:, None] * pixels[differing], out=self.s[number])
            torch.addmv(self.z[start], rows.t(), sign, out=self.z[number])
        return self.s[new], self.z[new]


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


def mixed_cosine(query: Query, fixed: Tensor, adaptive: Sequence[tuple[float, Tensor, Tensor]]) -> Tensor:
    """The cosine (E, N) of every pixel i with fixed (E, C) + the sum over (w, S, z) of w S_i / z_i."""
    episodes, channels = fixed.shape
    count = len(query.pixels)
    rows = count if fixed.is_cuda else max(1, CACHED_BYTES // (fixed.numel() * fixed.element_size()))
    shares = [weight / z for weight, _, z in adaptive]
    along, lengths = fixed.new_empty(2, episodes, count)
    memory = query.scratch.take("mixed", fixed, episodes, rows, channels)
    for start in range(0, count, rows):
        here = slice(start, min(start + rows, count))
        mixed, before = memory[:, : here.stop - start], fixed[:, None]
        for share, (_, s, _) in zip(shares, adaptive, strict=True):
            before = torch.addcmul(before, s[:, here], share[:, here, None], out=mixed)
        torch.linalg.vecdot(mixed, query.unit[here], out=along[:, here])
        torch.linalg.vector_norm(mixed, dim=2, out=lengths[:, here])
    return along / lengths.clamp_min_(SMALLEST)
