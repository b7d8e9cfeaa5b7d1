"""Matching many episodes with one query: what does not depend on the episode is computed once (docs/method.md, 8).

A row is an episode under some settings: settings that differ in one value share what does not depend on it.

The reference is :func:`model.matching.trace`, episode by episode; this gives its logits up to rounding.

An adaptive background prototype is A_i = S_i / z_i with S_i the sum over the background set B of
k_ij F_j, z_i that of k_ij, and k_ij = exp(2 cos(F_i, F_j)) the query's own kernel. The sets of a query's
episodes differ in few pixels: S of one follows from S of another by adding and taking away the pixels in
which they differ. A GPU sums every set anew: it is waited for to learn in which pixels two sets differ.

The kernel of all pixels is kept while it fits KERNEL_BYTES, as for the images of the benchmarks. Of larger images it
is computed for a block of pixels i at a time, anew for each step, and so are the sums: memory grows with the image.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.matching import Matching

SUMS_BYTES = 2**29  # memory for the sums S of the rows matched at a time; a set takes 4 N C
KERNEL_BYTES = 2**30  # memory for the kernel of all pixels: N = 16,384, at a stride of 8 an image of 1,024 pixels' side
BLOCK_BYTES = 2**27  # memory for the kernel of a block of pixels, where that of all does not fit
KERNEL_ROWS = 384  # rows of the kernel computed at a time: only the half above the diagonal is
SMALLEST = 1e-8  # length that a vector is divided by, as in matching.norm
CACHED_ROWS = 8  # rows whose prototypes are mixed at a time
CACHED_BYTES = 2**21  # memory for them: on a CPU they are to stay in its cache


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
    """One query's features, (N, C), and its kernel (N, N), whole or block by block."""

    def __init__(self, features: Tensor, scratch: Scratch, adaptive_scale: float) -> None:
        channels, count = features[0].flatten(1).shape
        self.scratch = scratch
        self.pixels, self.unit = scratch.take("pixels", features, 2, count, channels)
        self.pixels.copy_(features[0].flatten(1).t())
        lengths = torch.linalg.vector_norm(self.pixels, dim=1, keepdim=True)
        torch.div(self.pixels, lengths.clamp_min(SMALLEST), out=self.unit)
        self.scale = adaptive_scale
        self.block = block_pixels(count, features.element_size())
        self.kernel = self._compute_kernel() if self.block == count else None

    def blocks(self) -> list[slice]:
        """The pixels that are taken at a time: all, if the kernel is kept."""
        count = len(self.pixels)
        return [slice(start, min(start + self.block, count)) for start in range(0, count, self.block)]

    def kernel_of(self, block: slice) -> Tensor:
        """The kernel (N, n) of all pixels with n of them, one of blocks; it overwrites that of another block."""
        if self.kernel is not None:
            return self.kernel
        some = self.unit[block]
        out = self.scratch.take("kernel", some, len(self.unit), len(some))
        return torch.addmm(out, self.unit, some.t(), beta=0, alpha=self.scale, out=out).exp_()

    def _compute_kernel(self) -> Tensor:
        count = len(self.unit)
        return kernel(self.unit, self.scale, self.scratch.take("kernel", self.unit, count, count))

    def cosine(self, prototypes: Tensor) -> Tensor:
        """The cosine of every pixel with prototypes (..., C): (..., N)."""
        return F.normalize(prototypes, dim=-1) @ self.unit.t()

    def mean(self, chosen: Tensor) -> Tensor:
        """The mean (..., C) of the pixels of sets (..., N) bool."""
        return chosen.to(self.pixels) @ self.pixels / chosen.sum(-1, keepdim=True)


def block_pixels(count: int, item: int) -> int:
    """Of how many of an image's pixels the kernel lies in memory at a time, item bytes a number."""
    return count if count * count * item <= KERNEL_BYTES else max(1, BLOCK_BYTES // (count * item))


def kernel(unit: Tensor, scale: float, out: Tensor) -> Tensor:
    """exp(scale cos) of all pairs of directions (N, C), written to out (N, N) and returned; symmetric."""
    rows = len(unit) if unit.is_cuda else KERNEL_ROWS
    for start in range(0, len(unit), rows):
        block = out[start : start + rows, start:]
        torch.addmm(block, unit[start : start + rows], unit[start:].t(), beta=0, alpha=scale, out=block)
        block.exp_()
        out[start + rows :, start : start + rows] = block[:, rows:].t()
    return out


def match_episodes(
    features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching, scratch: Scratch | None = None
) -> Tensor:
    """Match one query with many episodes: final logits (E, 2, h, w); arguments as of :func:`match_variations`."""
    return match_variations(features, fg, bg, refine, [settings], scratch)[0]


@torch.no_grad()
def match_variations(
    features: Tensor,
    fg: Tensor,
    bg: Tensor,
    refine: bool,
    settings: Sequence[Matching],
    scratch: Scratch | None = None,
) -> Tensor:
    """Match one query with many episodes, under each of several settings.

    Arguments:
        features: of the query, (1, C, h, w).
        fg, bg: prototypes of E episodes, (E, C, 1, 1).
        refine: whether step 5 of the method is taken.
        settings: V of them.
        scratch: of the queries before, if there are any.
    Returns:
        Final logits (V, E, 2, h, w).
    """
    scratch = scratch or Scratch()
    logits: dict[Matching, Tensor] = {}
    for scale in dict.fromkeys(one.adaptive_scale for one in settings):  # each has a kernel of its own
        some = [one for one in dict.fromkeys(settings) if one.adaptive_scale == scale]
        query = Query(features, scratch, scale)
        of_some = some if refine else [replace(one, rounds=0) for one in some]
        rows = _match(query, fg.flatten(1), bg.flatten(1), of_some).unflatten(0, (len(fg), len(some)))
        logits |= zip(some, rows.unbind(1), strict=True)
    return torch.stack([logits[one] for one in settings]).unflatten(3, features.shape[-2:])


def score_episodes(features: Tensor, fg: Tensor, bg: Tensor, settings: Matching) -> Tensor:
    """Score one query with the prototypes of many episodes (step 2); arguments and result as match_episodes'."""
    unit = F.normalize(features, dim=1)[0].flatten(1)  # (C, N)
    cosines = [F.normalize(prototypes.flatten(1), dim=1) @ unit for prototypes in (bg, fg)]
    return settings.temperature * torch.stack(cosines, 1).unflatten(2, features.shape[-2:])


def _match(query: Query, fg: Tensor, bg: Tensor, settings: Sequence[Matching]) -> Tensor:
    """Final logits (E * V, 2, N), episode by episode, for prototypes (E, C) and V settings."""
    memory = SUMS_BYTES * (1 if len(settings) == 1 else 2)  # of many settings more sets are alike
    slots = memory // (query.block * query.pixels[0].nbytes)
    rows, sums_a_row = torch.arange(len(fg) * len(settings)), 1 + max(one.rounds for one in settings)
    fits = (slots - 1) // sums_a_row
    together = max(1, fits if fits >= len(rows) else fits // 2)  # some start from the sums of those before
    sums = Sums(query, 1 + sums_a_row * max(together, min(fits, len(rows))))
    parts = rows.chunk(math.ceil(len(rows) / together))
    logits = []
    for part in parts:
        episodes, of = part // len(settings), [settings[number] for number in (part % len(settings)).tolist()]
        logits.append(_match_rows(query, sums, (fg[episodes], bg[episodes]), of, episodes.tolist()))
    return torch.cat(logits)


def _match_rows(
    query: Query,
    sums: Sums,
    prototypes: tuple[Tensor, Tensor],
    settings: Sequence[Matching],
    episodes: Sequence[int],
) -> Tensor:
    """Final logits (R, 2, N) of R rows, with their prototypes (R, C), settings and numbers of their episodes.

    The steps and names are those of matching.trace.
    """
    fg, bg = prototypes

    def column(value: Callable[[Matching], float]) -> Tensor:
        """What each row's settings say, (R, 1)."""
        return fg.new_tensor([[value(one)] for one in settings])

    def weigh(weights: list[float], part: int) -> list[float]:
        """Weights of each row times a part of its refine_mix."""
        return [one.refine_mix[part] * weight for one, weight in zip(settings, weights, strict=True)]

    rounds = max(one.rounds for one in settings)
    sums.make_room(len(fg) * (1 + rounds))
    fg_mix, support_fg = column(lambda s: s.fg_mix), column(lambda s: 1 - s.fg_mix)
    support_bg, own_bg_mix = column(lambda s: s.support_bg_mix), column(lambda s: (1 - s.support_bg_mix) * s.bg_mix)
    adaptive_bg = [(1 - s.support_bg_mix) * (1 - s.bg_mix) for s in settings]
    support, once, again = (column(lambda s, part=part: s.refine_mix[part]) for part in range(3))
    new, old = column(lambda s: s.final_mix), column(lambda s: 1 - s.final_mix)
    first_mix = [(e, s.support_bg_mix, s.bg_mix) for e, s in zip(episodes, settings, strict=True)]
    next_mix = [(*mix, s.refine_mix) for mix, s in zip(first_mix, settings, strict=True)]

    fg_set, bg_set = confident_pixels(*query.cosine(torch.stack((fg, bg))), settings)
    own_fg, own_bg = query.mean(torch.stack((fg_set, bg_set)))
    mixed_fg = fg_mix * own_fg + support_fg * fg
    share, adaptive = support_bg, [Adaptive(adaptive_bg, Sets.of(bg_set))]  # of the mix: what BP weighs, and all ASBPs
    out = query.cosine(mixed_fg), background_cosine(sums, share * bg + own_bg_mix * own_bg, adaptive, first_mix)
    final = out
    for number in range(1, rounds + 1):
        before = out
        fg_set, bg_set = confident_pixels(*before, settings)
        own_fg, own_bg_again = query.mean(torch.stack((fg_set, bg_set)))
        mixed_fg = support * fg + once * mixed_fg + again * (fg_mix * own_fg + support_fg * fg)
        share = support + once * share + again * support_bg
        own_bg = once * own_bg + again * own_bg_again
        adaptive = [Adaptive(weigh(each.weights, 1), each.sets) for each in adaptive]
        adaptive.append(Adaptive(weigh(adaptive_bg, 2), Sets.of(bg_set)))
        out = query.cosine(mixed_fg), background_cosine(sums, share * bg + own_bg_mix * own_bg, adaptive, next_mix)
        is_last = column(lambda s, number=number: s.rounds == number).bool()
        refined = (new * now + old * last for now, last in zip(out, before, strict=True))
        final = tuple(torch.where(is_last, *pair) for pair in zip(refined, final, strict=True))
    return column(lambda s: s.temperature)[:, None] * torch.stack(final[::-1], 1)


def confident_pixels(fg_cosine: Tensor, bg_cosine: Tensor, settings: Sequence[Matching]) -> tuple[Tensor, Tensor]:
    """The confident foreground and background pixels, each (R, N) bool, under cosines (R, N) and R settings."""
    temperature, fg_threshold, bg_threshold = (
        fg_cosine.new_tensor([[getattr(one, name)] for one in settings])
        for name in ("temperature", "fg_threshold", "bg_threshold")
    )
    p_bg, p_fg = (temperature * torch.stack((bg_cosine, fg_cosine))).softmax(0)
    fallback = [one.fallback_pixels for one in settings]
    return confident_sets(p_fg, fg_threshold, fallback), confident_sets(p_bg, bg_threshold, fallback)


def confident_sets(probability: Tensor, threshold: Tensor, fallback: Sequence[int]) -> Tensor:
    """Pixels above the threshold (R, 1) in each row, (R, N) bool; the likeliest (fallback: how many) if none is."""
    chosen = probability > threshold
    top = probability.topk(min(max(fallback), probability.shape[1])).indices
    taken = torch.arange(top.shape[1], device=top.device) < torch.tensor(fallback, device=top.device)[:, None]
    likeliest = torch.zeros_like(chosen).scatter_(1, top, taken)
    return torch.where(chosen.any(1, keepdim=True), chosen, likeliest)


class Sets(NamedTuple):
    """Background sets of R rows, and what tells equal ones."""

    chosen: Tensor  # (R, N) bool
    keys: list[Any]

    @staticmethod
    def of(chosen: Tensor) -> Sets:
        # On a GPU every set counts as another: to learn which are equal, the device would be waited for.
        return Sets(chosen, [object() for _ in chosen] if chosen.is_cuda else [row.tobytes() for row in chosen.numpy()])


class Adaptive(NamedTuple):
    """What the adaptive prototypes of the sets of R rows weigh in a mix."""

    weights: list[float]
    sets: Sets


class Sums:
    """S and z of background sets of a query, each from those of the set before it that differs in the fewest pixels.

    S and z are those of the numerator and the denominator in A_i = S_i / z_i, of the pixels i of a block. Equal sets
    share theirs.
    """

    def __init__(self, query: Query, slots: int) -> None:
        self.query = query
        pixels, channels = query.pixels[: query.block].shape
        self.s = query.scratch.take("sums", query.pixels, slots, pixels, channels, expected=SUMS_BYTES)
        self.z = query.pixels.new_empty(slots, pixels)
        self.block: slice | None = None

    def move(self, block: slice) -> None:
        """Take another block of pixels, whose sums are still to be made."""
        if block == self.block:
            return
        self.block, self.kernel = block, self.query.kernel_of(block)
        self.s[0], self.z[0] = 0, 0
        self.sets = self.query.pixels.new_zeros(1, len(self.query.pixels), dtype=torch.bool)  # the empty one first
        self.slots: dict[Any, int] = {None: 0}  # where the sums of each of these are, oldest first
        self.free = deque(range(1, len(self.s)))

    def make_room(self, count: int) -> None:
        """Forget the oldest sets but the empty one, until so many new ones fit."""
        surplus = max(0, count - len(self.free)) if self.block else 0
        if surplus:
            self.free += [self.slots.pop(key) for key in list(self.slots)[1 : 1 + surplus]]
            self.sets = torch.cat((self.sets[:1], self.sets[1 + surplus :]))

    def add(self, sets: Sets) -> list[int]:
        """The slots, in s (slots, n, C) and z (slots, n), of the sums of each of the sets."""
        pixels, kernel, size = self.query.pixels, self.kernel, self.kernel.shape[1]
        known = len(self.slots)
        new = {key: number for number, key in enumerate(sets.keys) if key not in self.slots}
        self.slots |= {key: self.free.popleft() for key in new}
        of_rows = [self.slots[key] for key in sets.keys]
        if not new:
            return of_rows
        self.sets = torch.cat((self.sets, sets.chosen[list(new.values())]))
        s, z = self.s[:, :size], self.z[:, :size]
        if pixels.is_cuda:
            s[of_rows] = torch.matmul(kernel.t(), sets.chosen[..., None] * pixels)
            z[of_rows] = torch.mm(sets.chosen.to(kernel), kernel)
            return of_rows
        slots = list(self.slots.values())
        for number, start in spanning_tree(self.sets, known):
            differing = (self.sets[number] ^ self.sets[start]).nonzero().flatten()
            sign = torch.where(self.sets[number, differing], 1.0, -1.0).to(pixels)
            rows = self.query.scratch.take("rows", kernel, len(differing), size)
            torch.index_select(kernel, 0, differing, out=rows)
            torch.addmm(s[slots[start]], rows.t(), sign[:, None] * pixels[differing], out=s[slots[number]])
            torch.addmv(z[slots[start]], rows.t(), sign, out=z[slots[number]])
        return of_rows


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


def background_cosine(sums: Sums, fixed: Tensor, adaptive: Sequence[Adaptive], mixes: Sequence[tuple]) -> Tensor:
    """The cosine (R, N) of every pixel i with fixed (R, C) + the sum over adaptive ones of weight S_i / z_i.

    mixes: what, besides its sets, makes each row what it is; settings that leave it as it is share the row.
    """
    keys = list(zip(mixes, *(each.sets.keys for each in adaptive), strict=True))
    place = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    rows = [keys.index(key) for key in place]
    weights = [fixed.new_tensor([each.weights[row] for row in rows]) for each in adaptive]
    cosines = []
    for block in sums.query.blocks():
        sums.move(block)
        slots = [sums.add(each.sets) for each in adaptive]
        cosines.append(mixed_cosine(sums, fixed[rows], weights, [[some[row] for row in rows] for some in slots]))
    return torch.cat(cosines, 1)[[place[key] for key in keys]]


def mixed_cosine(sums: Sums, fixed: Tensor, weights: Sequence[Tensor], slots: Sequence[Sequence[int]]) -> Tensor:
    """:func:`background_cosine` of a block's pixels, a few rows and pixels at a time, which stay in the cache."""
    query, unit = sums.query, sums.query.unit[sums.block]
    rows, (count, channels) = len(fixed), unit.shape
    together = rows if fixed.is_cuda else min(rows, CACHED_ROWS)
    pixels = count if fixed.is_cuda else max(1, CACHED_BYTES // (together * channels * fixed.element_size()))
    shares = [of[:, None] * sums.z[some, :count].reciprocal() for of, some in zip(weights, slots, strict=True)]
    along, lengths = fixed.new_empty(2, rows, count)
    memory = query.scratch.take("mixed", fixed, together, pixels, channels)
    runs = {first: runs_in_line(slots, first, min(first + together, rows)) for first in range(0, rows, together)}
    for first, start in itertools.product(runs, range(0, count, pixels)):
        some, here = slice(first, min(first + together, rows)), slice(start, min(start + pixels, count))
        mixed = memory[: some.stop - first, : here.stop - start]
        for run in runs[first]:
            before, out = fixed[run, None], mixed[run.start - first : run.stop - first]
            for share, of_rows in zip(shares, slots, strict=True):
                s = sums.s[of_rows[run.start] : of_rows[run.stop - 1] + 1, here]
                before = torch.addcmul(before, s, share[run, here, None], out=out)
        torch.linalg.vecdot(mixed, unit[here], out=along[some, here])
        torch.linalg.vector_norm(mixed, dim=2, out=lengths[some, here])
    return along / lengths.clamp_min_(SMALLEST)


def runs_in_line(slots: Sequence[Sequence[int]], first: int, last: int) -> list[slice]:
    """The rows from first to before last, in runs whose sums lie in line: one operation takes them all."""
    starts = [row for row in range(first + 1, last) if any(each[row] != each[row - 1] + 1 for each in slots)]
    return [slice(*pair) for pair in itertools.pairwise([first, *starts, last])]
