"""Two results on the same episodes: the difference of their mIoU, with an interval (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.evaluation.result import EvaluationResult
from util.errors import UserError, one_line

RESAMPLES = 2000
CONFIDENCE = 0.95
# A resample that lacks the few query images that differ has next to no error of its own: its variance counts as at
# least half of that of all query images.
SMALLEST_ERROR = 0.5**0.5
LARGEST = 10  # episodes that a comparison names
RANDOM_SEED = 0  # so that the same results give the same interval
BLOCK = 2**22  # numbers of a matrix that lies in memory at a time, a row of resamples each


class Counted(NamedTuple):
    """The episodes of all seeds, seed after seed."""

    counts: Tensor  # (E, 4) int64 pixels of each, as engine.evaluation.metric.count_pixels counts them
    classes: list[int]  # the target's
    queries: list[str]  # the query image
    seeds: list[int]


class Difference(NamedTuple):
    """A difference of mIoU and its 95 % interval, in points of mIoU."""

    difference: float
    low: float
    high: float


class EpisodeDifference(NamedTuple):
    """An episode that two results segment differently; IoUs of the target in percent."""

    seed: int
    number: int  # among its seed's
    cls: int
    query: str
    iou_a: float
    iou_b: float

    @property
    def difference(self) -> float:
        return self.iou_b - self.iou_a


class ClassDifference(NamedTuple):
    """A class's IoU, mean over the seeds that drew it: the difference, and what it is of."""

    difference: Difference
    episodes: int
    queries: int  # different images


class Comparison(NamedTuple):
    """Two results on the same episodes; every difference is the second less the first."""

    a: EvaluationResult
    b: EvaluationResult
    miou: ClassDifference
    classes: dict[int, ClassDifference]
    better: int  # episodes whose target has a larger IoU in the second
    worse: int
    largest: list[EpisodeDifference]  # the LARGEST differences, of different episodes

    @property
    def equal(self) -> int:
        return self.miou.episodes - self.better - self.worse


class _QuerySums(NamedTuple):
    """What the episodes of each query add to each class of each seed: one such pair is a cell."""

    pixels: np.ndarray  # (Q, 4 N) float64: intersections and unions of the first, then of the second, N cells each
    episodes: np.ndarray  # (Q, N) float64 number of episodes
    of_seed: np.ndarray  # (N, S) float64: 1 where the cell is of the seed
    classes: int | None  # how many a seed's mean is over; None: those that were drawn


def compare_miou(
    a: Tensor,
    b: Tensor,
    classes: Sequence[int],
    queries: Sequence[str],
    seeds: Sequence[int],
    over_classes: Collection[int] | None = None,
) -> Difference:
    """The mIoU of b less that of a, as evaluate computes it, with an interval by bootstrap over the query images.

    The query images are drawn again with replacement, each with all its episodes of all seeds, RESAMPLES times. The
    interval is the symmetric studentised one. A class that a seed of a resample lacks is treated as evaluate treats one
    that was not drawn: it is left out of the seed's mean, or counts as 0 in a mean over all classes.

    Arguments:
        a, b: pixel counts (E, 4) of the episodes of all seeds.
        classes, queries, seeds: the class, the query image and the seed of each episode.
        over_classes: the classes of a protocol whose mean is over all of them; None: over those that were drawn.
    Returns:
        The difference and its interval in points. One query image alone tells nothing of the spread: -100 to 100.
    """
    sums = _sum_by_query(a, b, classes, queries=queries, seeds=seeds)
    sums = sums._replace(classes=None if over_classes is None else len(over_classes))
    count = len(sums.pixels)
    (difference,), (error,) = _differences(sums, np.ones((1, count)))
    if count == 1:
        return Difference(float(difference), -100.0, 100.0)
    if error == 0:  # every query image differs by as much, or by nothing
        return Difference(float(difference), float(difference), float(difference))
    rng = np.random.default_rng(RANDOM_SEED)
    rows = max(1, BLOCK // max(count, sums.pixels.shape[1]))
    scaled = []
    for start in range(0, RESAMPLES, rows):
        resampled, errors = _differences(sums, _draw_weights(rng, min(rows, RESAMPLES - start), count))
        scaled.append(np.abs(resampled - difference) / np.maximum(errors, SMALLEST_ERROR * error))
    reach = error * np.quantile(np.concatenate(scaled), CONFIDENCE)
    return Difference(float(difference), max(float(difference - reach), -100.0), min(float(difference + reach), 100.0))


def gather_counts(measured: Mapping[str, Any]) -> Counted:
    """The counted episodes of what evaluate returned. Raises ValueError where it is not all there, as in old files."""
    names, counts, classes, queries, seeds = measured.get("queries") or [], [], [], [], []
    for seed in measured["seeds"]:
        found, drawn, asked = (seed.get(f"episode_{name}") or [] for name in ("counts", "class", "query"))
        if not (drawn and len(found) == 4 * len(drawn) == 4 * len(asked) and max(asked) < len(names)):
            raise ValueError(f"seed {seed['seed']} has no counts of its episodes")
        counts += found
        classes += drawn
        queries += [names[number] for number in asked]
        seeds += [seed["seed"]] * len(drawn)
    return Counted(torch.tensor(counts, dtype=torch.int64).view(-1, 4), classes, queries, seeds)


def compare_results(a: EvaluationResult, b: EvaluationResult) -> Comparison:
    """Compare two results, episode by episode. Raises UserError if a file is too old, or their episodes differ."""
    first, second = map(_counted, (a, b))
    check_paired(a, b)
    _, classes, queries, seeds = first
    over_classes = None
    if a.protocol.over_all_classes:
        over_classes = [cls for cls in a.measured["seeds"][0]["class_iou"] if int(cls)]

    def differ(rows: np.ndarray, over_classes: Collection[int] | None = None) -> ClassDifference:
        parts = [[values[row] for row in rows] for values in (classes, queries, seeds)]
        found = compare_miou(first.counts[rows], second.counts[rows], *parts, over_classes)
        return ClassDifference(found, len(rows), len(set(parts[1])))

    of_class = np.asarray(classes)
    iou_a, iou_b = _ious(first.counts), _ious(second.counts)
    gain = iou_b - iou_a
    starts = {seed: number for number, seed in reversed(list(enumerate(seeds)))}
    largest: dict[tuple[Any, ...], EpisodeDifference] = {}
    for row in np.argsort(-np.abs(gain), kind="stable").tolist():
        if len(largest) == LARGEST or not gain[row]:
            break
        what = classes[row], queries[row], float(iou_a[row]), float(iou_b[row])  # the same for one that is drawn again
        largest.setdefault(what, EpisodeDifference(seeds[row], row - starts[seeds[row]], *what))
    return Comparison(
        a,
        b,
        miou=differ(np.arange(len(classes)), over_classes),
        classes={int(cls): differ(np.flatnonzero(of_class == cls)) for cls in np.unique(of_class)},
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
        largest=list(largest.values()),
    )


def check_paired(a: EvaluationResult, b: EvaluationResult) -> None:
    """Raise UserError naming what differs unless two results are of the same episodes."""
    for (what, of_a), (_, of_b) in zip(_drawn_from(a), _drawn_from(b), strict=False):
        if of_a != of_b:
            way = "compare results on the same episodes; test.py --episodes-from runs those that --save-episodes wrote"
            raise UserError(f"{a.file} and {b.file}: differ in {what} ({of_a}, {of_b}); {way}")


def _drawn_from(result: EvaluationResult) -> list[tuple[str, Any]]:
    """What the episodes of a result depend on, and then a digest of each seed's."""
    setting = result.setting
    return [
        ("protocol", result.protocol.name),
        ("dataset", setting.dataset),
        ("class order", setting.class_order),
        ("fold", setting.fold),
        ("shot", setting.shot),
        ("seeds", ", ".join(map(str, result.seeds))),
        ("number of episodes", result.episodes),
        *(
            (f"the episodes of seed {seed['seed']}", one_line(seed["episode_digest"])[:8])
            for seed in result.measured["seeds"]
        ),
    ]


def _counted(result: EvaluationResult) -> Counted:
    try:
        if not all(seed.get("episode_digest") for seed in result.measured["seeds"]):
            raise ValueError("a seed has no digest of its episodes")
        return gather_counts(result.measured)
    except ValueError as error:
        raise UserError(
            f"{result.file}: does not hold what a comparison needs ({error}); test it again with test.py --json"
        ) from error


def _ious(counts: Tensor) -> np.ndarray:
    """The target's IoU of each episode, in percent (E,), from counts (E, 4)."""
    return (100 * counts[:, 0] / counts[:, :3].sum(1).clamp(min=1).double()).numpy()


def _sum_by_query(
    a: Tensor, b: Tensor, classes: Sequence[int], queries: Sequence[str], seeds: Sequence[int]
) -> _QuerySums:
    names, query = np.unique(np.asarray(queries), return_inverse=True)
    cells, cell = np.unique(np.stack((np.asarray(seeds), np.asarray(classes)), 1), axis=0, return_inverse=True)
    place = query.ravel() * len(cells) + cell.ravel()

    def add_up(numbers: np.ndarray | None) -> np.ndarray:
        return np.bincount(place, numbers, minlength=len(names) * len(cells)).reshape(len(names), -1).astype(float)

    hits = [counts[:, 0].numpy() for counts in (a, b)]
    unions = [counts[:, :3].sum(1).numpy() for counts in (a, b)]
    pixels = np.concatenate([add_up(x) for x in (hits[0], unions[0], hits[1], unions[1])], 1)
    of_seed = cells[:, :1] == np.unique(cells[:, 0])
    return _QuerySums(pixels, add_up(None), of_seed.astype(float), None)


def _draw_weights(rng: np.random.Generator, rows: int, count: int) -> np.ndarray:
    """How often each of ``count`` queries is in each resample, (rows, count) float64."""
    drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)


def _differences(sums: _QuerySums, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference of mIoU and its standard error, (R,) each, where queries count as often as weights (R, Q) say.

    The error is that of the infinitesimal jackknife over queries: the difference is linear in the queries' sums near
    where it is, and a query's influence on it is the slope times the query's sums.
    """
    hits_a, unions_a, hits_b, unions_b = np.split(weights @ sums.pixels, 4, axis=1)
    unions_a, unions_b = np.maximum(unions_a, 1), np.maximum(unions_b, 1)
    iou_a, iou_b = hits_a / unions_a, hits_b / unions_b
    drawn = (weights @ sums.episodes > 0) @ sums.of_seed  # (R, S) classes of each seed
    seeds = (drawn > 0).sum(1, keepdims=True)
    over = np.maximum(drawn, 1) if sums.classes is None else sums.classes
    share = 100 / (seeds * over) * np.ones_like(drawn) @ sums.of_seed.T  # (R, N) what an IoU counts in the mean
    slopes = np.concatenate(
        (-share / unions_a, share * iou_a / unions_a, share / unions_b, -share * iou_b / unions_b), 1
    )
    influence = slopes @ sums.pixels.T  # (R, Q)
    count = weights.shape[1]
    variance = (weights * influence**2).sum(1) * count / max(count - 1, 1)
    return (share * (iou_b - iou_a)).sum(1), np.sqrt(variance)
