"""How often the interval of engine/evaluation/compare.py holds the true difference, on simulated results.

    python -m benchmarks.coverage

Each simulated pair is a draw of query images and of episodes on them, as an evaluation draws them: every seed takes
query images at random, and one of the classes that each shows. The episodes of an image share how large and how hard
it is and what the second network gains on it, which for a tenth of the images is much; supports add to each episode.
The true difference is that of endlessly many query images. Beside it stands what comes out if the episodes are drawn
again in place of the query images, as if they were independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.evaluation.compare import Counted, compare_miou
from engine.options import OneLineParser, whole
from util.launch import command
from util.progress import progress
from util.table import align_columns

SEEDS = 5
PER_QUERY = 3  # episodes of a query image, of each seed, in the mean
TRUTH = 2**20  # query images that stand for endlessly many
Pair = tuple[Tensor, Counted]  # the counts (E, 4) of the first network; the second's, with its episodes


class Kind(NamedTuple):
    """A kind of evaluation set."""

    queries: int
    classes: int


KINDS = (Kind(40, 2), Kind(40, 5), Kind(80, 5), Kind(150, 5), Kind(300, 5), Kind(300, 20))


class Images(NamedTuple):
    """Query images, (N,) each."""

    size: np.ndarray  # pixels of an object
    ease: np.ndarray  # logits of the IoU
    gain: np.ndarray  # what the second network adds to them


def draw_images(rng: np.random.Generator, count: int) -> Images:
    size = np.exp(rng.normal(9, 1, count))
    gain = rng.normal(0, 0.3, count) + rng.normal(0.3, 1.5, count) * (rng.random(count) < 0.1)
    return Images(size, rng.normal(0, 1.2, count), gain)


def segment(rng: np.random.Generator, images: Images, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixel counts (E, 4) of both networks, an episode on each image, of these classes (E,)."""
    support = rng.normal(0, 0.6, len(classes))
    ease = images.ease + support + np.sin(classes)  # some classes are harder than others,
    gain = images.gain + rng.normal(0, 0.3, len(classes)) + 0.3 * np.cos(3 * classes)  # and gain more
    return tuple(count(images.size, 1 / (1 + np.exp(-logit))) for logit in (ease, ease + gain))


def count(size: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Counts (E, 4) of predictions as large as their objects, of which they cover a share."""
    hits = np.round(share * size)
    missed = np.round(size) - hits
    return np.stack((hits, missed, missed, np.zeros_like(hits)), 1).astype(np.int64)


def true_difference(classes: int) -> float:
    """The difference of mIoU in points on endlessly many query images."""
    rng = np.random.default_rng(0)
    ious = []
    for cls in range(1, classes + 1):
        both = segment(rng, draw_images(rng, TRUTH), np.full(TRUTH, cls))
        ious.append([100 * counts[:, 0].sum() / counts[:, :3].sum() for counts in both])
    first, second = np.mean(ious, 0)
    return second - first


def draw_pair(rng: np.random.Generator, kind: Kind) -> Pair:
    """Two simulated results on the same episodes."""
    images = draw_images(rng, kind.queries)
    shown = rng.integers(1, kind.classes + 1, (kind.queries, 2))  # the classes of each image, at times one alone
    query = rng.integers(kind.queries, size=SEEDS * PER_QUERY * kind.queries)
    classes = shown[query, rng.integers(2, size=len(query))]
    a, b = segment(rng, Images(*(each[query] for each in images)), classes)
    seeds = np.repeat(np.arange(SEEDS), PER_QUERY * kind.queries)
    names = [f"image {number}" for number in query]
    return torch.from_numpy(a), Counted(torch.from_numpy(b), classes.tolist(), names, seeds.tolist())


def simulate(kind: Kind, pairs: int, independent: bool = False) -> tuple[float, float]:
    """The share of pairs whose interval holds the true difference, and the intervals' median width in points.

    independent: whether every episode is taken for one on a query image of its own.
    """
    truth, rng = true_difference(kind.classes), np.random.default_rng(1)
    intervals = []
    for _ in progress(range(pairs), f"{kind.queries} queries, {kind.classes} classes", pairs, "pair"):
        a, (b, classes, queries, seeds) = draw_pair(rng, kind)
        clusters = list(map(str, range(len(queries)))) if independent else queries
        _, low, high = compare_miou(a, b, classes, clusters, seeds)
        intervals.append((low, high))
    low, high = np.array(intervals).T
    return float(((low <= truth) & (truth <= high)).mean()), float(np.median(high - low))


def main() -> None:
    parser = OneLineParser(__doc__)
    parser.add_argument("--pairs", type=whole(10), default=2000, help="simulated pairs of a row (default %(default)s)")
    args = parser.parse_args()
    rows = [("queries", "classes", "episodes", "covers", "width", "episodes drawn again", "width")]
    for kind in KINDS:
        covers, width = simulate(kind, args.pairs)
        covers_less, narrow = simulate(kind, args.pairs // 10, independent=True)  # which takes much longer
        episodes = SEEDS * PER_QUERY * kind.queries
        shown = (f"{100 * covers:.1f} %", f"{width:.2f}", f"{100 * covers_less:.1f} %", f"{narrow:.2f}")
        rows.append((*map(str, (*kind, episodes)), *shown))
    print(*align_columns(rows, left=()), sep="\n")


if __name__ == "__main__":
    command(main)
