"""The matching of a training step: logits and gradients of model.matching.trace up to rounding, for less.

Both self-supports of an image weigh its background pixels with one kernel k_ij = exp(2 cos(F_i, F_j)), and their
background sets differ in few pixels. So the kernel is computed once, the sums of the second set follow from those
of the first (docs/method.md, 8), and where both hold a pixel its gradients are one product. Written as one function
with its derivative, a step keeps two sums of an image in place of what each operation would keep. Of the kernel only
some rows lie in memory at a time, each entry of two confident pixels once; gradients compute them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.fast.evaluation import SMALLEST, confident_pixels
from model.matching import Matching

KERNEL_ROWS = 512  # of the kernel, computed at a time


class SelfSupport(NamedTuple):
    """What the confident pixels of an image give: step 3 of the method."""

    fg_set: Tensor  # (N,) bool
    bg_set: Tensor  # (N,) bool
    own_fg: Tensor  # SSFP, (C,)
    own_bg: Tensor  # SSBP, (C,)
    s: Tensor  # (N, C); the ASBP of pixel i is s_i / z_i
    z: Tensor  # (N,)


class Matched(NamedTuple):
    """What the forward pass of an image keeps for its gradients."""

    fg: Tensor  # FP, (C,)
    bg: Tensor  # BP, (C,)
    first: SelfSupport
    second: SelfSupport | None
    settings: Matching


def match(features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching) -> dict[str, Tensor]:
    """Match queries with their supports; arguments as of :func:`model.matching.trace`, its outputs."""
    out1, final = _Match.apply(features, fg, bg, refine, settings)
    return {"final": final, "out1": out1} if refine else {"final": final}


class _Match(torch.autograd.Function):
    """Logits (B, 2, h, w) after the first and after the last self-support; the same ones without refinement."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching
    ) -> tuple[Tensor, Tensor]:
        outputs, ctx.matched = [], []
        for image, its_fg, its_bg in zip(features, fg.flatten(1), bg.flatten(1), strict=True):
            logits, kept = _forward(_pixels(image), (its_fg, its_bg), refine, settings)
            outputs.append(logits)
            ctx.matched.append(kept)
        ctx.save_for_backward(features)
        out1, final = torch.stack(outputs).unflatten(3, features.shape[-2:]).unbind(1)
        return out1.contiguous(), final.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out1: Tensor, of_final: Tensor) -> tuple[Tensor | None, ...]:
        (features,) = ctx.saved_tensors
        of_features = torch.empty_like(features, memory_format=torch.contiguous_format)
        of_fg, of_bg = features.new_zeros(2, *features.shape[:2]).unbind()
        outputs = torch.stack((of_out1, of_final), 1).flatten(3)  # (B, 2, 2, N)
        for number, (image, of_logits) in enumerate(zip(features, outputs, strict=True)):
            kept = ctx.matched.pop(0)  # freed, as autograd frees what it has saved
            order, counts = _chosen_first(_background_parts(kept))
            image, kept = (x[order] for x in _pixels(image)), _reorder(kept, order)
            of_pixels, of_fg[number], of_bg[number] = _backward(image, kept, of_logits[..., order], counts)
            of_features[number].flatten(1).index_copy_(1, order, of_pixels.t())
        return of_features, of_fg[..., None, None], of_bg[..., None, None], None, None


def _pixels(image: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (N, C) of features (C, h, w), and their lengths (N, 1)."""
    pixels = image.flatten(1).t().contiguous()
    return pixels, torch.linalg.vector_norm(pixels, dim=1, keepdim=True).clamp_min_(SMALLEST)


def _forward(
    image: tuple[Tensor, Tensor], prototypes: tuple[Tensor, Tensor], refine: bool, settings: Matching
) -> tuple[Tensor, Matched]:
    """Logits (2, 2, N), after the first and after the last self-support, of one image.

    Arguments:
        image: its pixels and their lengths, of :func:`_pixels`.
        prototypes: FP and BP, (C,) each.
        refine, settings: as of :func:`match`.
    """
    (pixels, lengths), (fg, bg) = image, prototypes
    unit = pixels / lengths
    cosines = torch.stack((unit @ F.normalize(fg, dim=0), unit @ F.normalize(bg, dim=0)))
    first = _self_support(pixels, unit, cosines, settings)
    kept = Matched(fg, bg, first, None, settings)
    fg1, bg1 = _prototypes(kept)
    fg_cosine, bg_cosine = unit @ F.normalize(fg1, dim=0), torch.linalg.vecdot(unit, F.normalize(bg1, dim=1))
    out1 = torch.stack((bg_cosine, fg_cosine))
    if not refine:
        return settings.temperature * torch.stack((out1, out1)), kept
    kept = kept._replace(second=_self_support(pixels, unit, torch.stack((fg_cosine, bg_cosine)), settings, first))
    fg2, bg2 = _refined(kept, fg1, bg1)
    out2 = torch.stack((torch.linalg.vecdot(unit, F.normalize(bg2, dim=1)), unit @ F.normalize(fg2, dim=0)))
    final = settings.final_mix * out2 + (1 - settings.final_mix) * out1
    return settings.temperature * torch.stack((out1, final)), kept


def _self_support(
    pixels: Tensor, unit: Tensor, cosines: Tensor, settings: Matching, before: SelfSupport | None = None
) -> SelfSupport:
    """Step 3 under the cosines (2, N) with foreground and background.

    The sums follow from those of the self-support before, if that takes fewer pixels.
    """
    fg_set, bg_set = (chosen[0] for chosen in confident_pixels(*cosines[:, None], [settings]))
    own_fg, own_bg = (chosen.to(pixels) @ pixels / chosen.sum() for chosen in (fg_set, bg_set))
    changed = None if before is None else bg_set ^ before.bg_set
    if changed is None or changed.sum() > bg_set.sum():
        s, z = _sums(pixels, unit, bg_set, torch.ones_like(unit[:, 0]), settings.adaptive_scale)
    else:
        s, z = _sums(pixels, unit, changed, torch.where(bg_set, 1.0, -1.0).to(unit), settings.adaptive_scale)
        s, z = s.add_(before.s), z.add_(before.z)
    return SelfSupport(fg_set, bg_set, own_fg, own_bg, s, z)


def _sums(pixels: Tensor, unit: Tensor, chosen: Tensor, signs: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """For each pixel j, the sums over chosen pixels i of k_ij F_i, (N, C), and of k_ij, (N,); each with i's sign."""
    order, (count,) = _chosen_first([chosen])
    unit, signs = unit[order], signs[order[:count]]
    signed = signs[:, None] * pixels[order[:count]]
    s, z = torch.zeros_like(unit), torch.zeros_like(unit[:, 0])
    for rows, k in _kernel_rows(unit, slice(0, count), scale):
        s[rows.start :].addmm_(k.t(), signed[rows])
        z[rows.start :].addmv_(k.t(), signs[rows])
        later = slice(rows.stop, count)
        k = k[:, rows.stop - rows.start : count - rows.start]
        s[rows].addmm_(k, signed[later])
        z[rows].addmv_(k, signs[later])
    return torch.empty_like(s).index_copy_(0, order, s), torch.empty_like(z).index_copy_(0, order, z)


def _chosen_first(sets: list[Tensor]) -> tuple[Tensor, list[int]]:
    """An order of pixels, those of each disjoint set (N,) bool and then the others; how many each set holds."""
    parts = [chosen.nonzero().flatten() for chosen in (*sets, ~torch.stack(sets).any(0))]
    return torch.cat(parts), [len(part) for part in parts[:-1]]


def _kernel_rows(unit: Tensor, part: slice, scale: float) -> Iterator[tuple[slice, Tensor]]:
    """Some rows of a part after the other, and the kernel of their pixels with themselves and all that come later."""
    for start in range(part.start, part.stop, KERNEL_ROWS):
        rows = slice(start, min(start + KERNEL_ROWS, part.stop))
        yield rows, (unit[rows] @ unit[start:].t()).mul_(scale).exp_()


def _prototypes(kept: Matched) -> tuple[Tensor, Tensor]:
    """FP1 (C,) and BP1 (N, C) of step 4."""
    own, mix = kept.first, kept.settings.fg_mix
    return mix * own.own_fg + (1 - mix) * kept.fg, _mixed_bg(own, kept)


def _mixed_bg(own: SelfSupport, kept: Matched) -> Tensor:
    """The supports' background with both kinds of an image's own, (N, C)."""
    support, own_global, adaptive = _bg_weights(kept.settings)
    return torch.addcmul(support * kept.bg + own_global * own.own_bg, own.s, (adaptive / own.z)[:, None])


def _bg_weights(settings: Matching) -> tuple[float, float, float]:
    """What BP, SSBP and ASBP weigh in the background prototypes of steps 4 and 5."""
    own = 1 - settings.support_bg_mix
    return settings.support_bg_mix, own * settings.bg_mix, own * (1 - settings.bg_mix)


def _refined(kept: Matched, fg1: Tensor, bg1: Tensor) -> tuple[Tensor, Tensor]:
    """FP2 (C,) and BP2 (N, C) of step 5."""
    (support, once, again), mix = kept.settings.refine_mix, kept.settings.fg_mix
    fg2 = support * kept.fg + once * fg1 + again * (mix * kept.second.own_fg + (1 - mix) * kept.fg)
    bg2 = _mixed_bg(kept.second, kept).mul_(again).add_(bg1, alpha=once).add_(support * kept.bg)
    return fg2, bg2


def _background_parts(kept: Matched) -> list[Tensor]:
    """Disjoint sets of background pixels (N,): those of both self-supports, of the first alone, of the second alone."""
    first = kept.first.bg_set
    if kept.second is None:
        return [first]
    second = kept.second.bg_set
    return [first & second, first & ~second, second & ~first]


def _reorder(kept: Matched, order: Tensor) -> Matched:
    """What is kept of an image, its pixels in another order."""

    def reorder(own: SelfSupport) -> SelfSupport:
        return own._replace(fg_set=own.fg_set[order], bg_set=own.bg_set[order], s=own.s[order], z=own.z[order])

    return kept._replace(first=reorder(kept.first), second=None if kept.second is None else reorder(kept.second))


def _backward(
    image: Iterable[Tensor], kept: Matched, of_logits: Tensor, counts: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the pixels (N, C), of FP and BP (C,), from those of the logits of :func:`_forward`.

    A name of_x is the gradient of x. The choice of confident pixels has none. The pixels come in the order of
    :func:`_chosen_first`, which says how many each of :func:`_background_parts` holds.
    """
    (pixels, lengths), s = image, kept.settings
    unit = pixels / lengths
    of_unit, of_pixels = torch.zeros_like(unit), torch.zeros_like(unit)
    of_bg = torch.zeros_like(kept.bg)
    (of_bg_cosine, of_fg_cosine), (of_bg_final, of_fg_final) = s.temperature * of_logits

    def through_fg(of_cosine: Tensor, prototype: Tensor) -> Tensor:
        """The gradient of one prototype (C,) from that of the cosines (N,) with it."""
        length = prototype.norm().clamp_min(SMALLEST)
        direction = prototype / length
        of_unit.addr_(of_cosine, direction)
        return (of_cosine @ unit - (of_cosine @ (unit @ direction)) * direction) / length

    def through_bg(of_cosine: Tensor, prototypes: Tensor) -> Tensor:
        """The gradient of a prototype a pixel (N, C), which is overwritten."""
        inverse = 1 / torch.linalg.vector_norm(prototypes, dim=1).clamp_min_(SMALLEST)
        direction = prototypes.mul_(inverse[:, None])
        cosine = torch.linalg.vecdot(unit, direction)
        of_unit.addcmul_(direction, of_cosine[:, None])
        return torch.addcmul(unit, direction, cosine[:, None], value=-1, out=direction).mul_(
            (of_cosine * inverse)[:, None]
        )

    fg1, bg1 = _prototypes(kept)
    if kept.second is None:
        of_fg1, of_bg1 = through_fg(of_fg_cosine + of_fg_final, fg1), through_bg(of_bg_cosine + of_bg_final, bg1)
        of_fg, of_supports = 0, []
    else:
        support, once, again = s.refine_mix
        fg2, bg2 = _refined(kept, fg1, bg1)
        of_fg2, of_bg2 = through_fg(s.final_mix * of_fg_final, fg2), through_bg(s.final_mix * of_bg_final, bg2)
        of_fg1 = through_fg(of_fg_cosine + (1 - s.final_mix) * of_fg_final, fg1).add_(of_fg2, alpha=once)
        of_bg1 = through_bg(of_bg_cosine + (1 - s.final_mix) * of_bg_final, bg1).add_(of_bg2, alpha=once)
        of_fg = (support + again * (1 - s.fg_mix)) * of_fg2
        of_bg = support * of_bg2.sum(0)
        of_supports = [(kept.second, again * s.fg_mix * of_fg2, of_bg2.mul_(again))]
    of_fg = of_fg + (1 - s.fg_mix) * of_fg1
    of_supports.insert(0, (kept.first, s.fg_mix * of_fg1, of_bg1))

    of_sums = []  # of s, and what is taken from a weight's gradient for z; of each self-support
    support_weight, global_weight, adaptive_weight = _bg_weights(s)
    for own, of_own_fg, of_mixed in of_supports:
        of_each = of_mixed.sum(0)
        of_bg = of_bg + support_weight * of_each
        of_own_bg = global_weight * of_each
        of_pixels.addr_(own.fg_set.to(unit) / own.fg_set.sum(), of_own_fg)
        of_pixels.addr_(own.bg_set.to(unit) / own.bg_set.sum(), of_own_bg)
        of_s = of_mixed.mul_((adaptive_weight / own.z)[:, None])
        of_sums.append((of_s, torch.linalg.vecdot(of_s, own.s) / own.z))
    if len(of_sums) > 1:
        of_sums.insert(0, tuple(first + second for first, second in zip(*of_sums, strict=True)))
    of_cosines = _add_backward_of_sums(of_pixels, pixels, unit, of_sums, counts, s.adaptive_scale)
    of_unit.add_(of_cosines, alpha=s.adaptive_scale)
    of_unit.addcmul_(unit, torch.linalg.vecdot(of_unit, unit)[:, None], value=-1)
    return of_pixels.addcdiv_(of_unit, lengths), of_fg, of_bg


def _add_backward_of_sums(
    of_pixels: Tensor,
    pixels: Tensor,
    unit: Tensor,
    of_sums: list[tuple[Tensor, Tensor]],
    counts: list[int],
    scale: float,
) -> Tensor:
    """Add the gradients of the pixels that :func:`_sums` weighs, and return those of the directions that weigh them.

    Arguments:
        of_pixels: (N, C), which is added to.
        pixels, unit: (N, C), in the order of :func:`_chosen_first`.
        of_sums: for each part of the chosen pixels the gradient of its sums s, (N, C), and what is taken from a
            weight's gradient for z, (N,).
        counts: pixels of each part.
        scale: of the cosines in the kernel, by which the result (N, C) is yet to be multiplied.
    """
    ends = list(accumulate(counts))
    parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    of_unit = torch.zeros_like(unit)
    for number, (part, (of_s, taken)) in enumerate(zip(parts, of_sums, strict=True)):
        for rows, k in _kernel_rows(unit, part, scale):
            of_pixels[rows].addmm_(k, of_s[rows.start :])
            of_k = torch.addmm(taken[rows.start :], pixels[rows], of_s[rows.start :].t(), beta=-1)
            # the entry of a pair of chosen pixels is computed once: here the later one is the chosen
            for other, (of_other_s, other_taken) in list(zip(parts, of_sums, strict=True))[number:]:
                later = slice(max(rows.stop, other.start), other.stop)
                columns = slice(later.start - rows.start, later.stop - rows.start)
                of_pixels[later].addmm_(k[:, columns].t(), of_other_s[rows])
                of_k[:, columns].addmm_(of_other_s[rows], pixels[later].t()).sub_(other_taken[rows, None])
            of_k *= k
            of_unit[rows].addmm_(of_k, unit[rows.start :])
            of_unit[rows.start :].addmm_(of_k.t(), unit[rows])
    return of_unit
