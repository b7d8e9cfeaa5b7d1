"""How long an evaluation and a training step take on several processes, from the times of their single parts.

Nothing is measured here. A process's loader processes work ahead of its device, so that the slower of the two counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from unittest.mock import patch

from dataset.episodes import Episode
from engine.evaluation import planned
from engine.evaluation.planned import BACKBONE_COST, group

BACKWARD = 2 / 3  # of a training step, under which gradients are added up as they come
SMALL_SUMS = 4  # of a training step, a number each: two counts of pixels, the loss, whether somebody asked to stop
NOT_HIDDEN = "of that not hidden"  # a part of another part


class Costs(NamedTuple):
    """Seconds of the parts, in one process."""

    decode: float  # an image with its mask, in a loader process
    encode: float  # an image's backbone pass
    match: float  # an episode with a query that has passed the backbone
    sample: float  # a training sample, in a loader process
    train: float  # forward and backward of an episode at the training crop


class Link(NamedTuple):
    """An all-reduce of two processes over the slowest link between any."""

    rate: float  # bytes a second
    delay: float  # seconds of an all-reduce of one number


class Load(NamedTuple):
    """What a process of an evaluation does."""

    supports: int  # images passed in the first phase
    queries: int  # images passed in the second, whose features were not kept
    episodes: int


def assumed_costs(measured: Costs, encode: float, match: float | None, images: int, pixels: float) -> Costs:
    """The costs of a device of which only a pass is known: loading is as measured.

    Arguments:
        encode, match: seconds; without match as many as evaluation assumes where it shares images.
        images: of an episode, each of which trains in three passes: forward, and backward twice that.
        pixels: of a training crop, as a share of an image's.
    """
    match = encode / BACKBONE_COST if match is None else match
    return measured._replace(encode=encode, match=match, train=3 * images * pixels * encode)


def all_reduce(size: int, processes: int, link: Link) -> float:
    """Seconds to add up so many bytes over a ring, each of whose links carries 2 (P - 1) / P of them."""
    if processes == 1:
        return 0.0
    return (processes - 1) * (link.delay + 2 / processes * size / link.rate)


def loads(episodes: Sequence[Episode], processes: int, kept: int) -> list[Load]:
    """What each process does in a planned evaluation, by its own rule of sharing.

    kept: images whose features a process keeps from the first phase for the second.
    """
    of_query, of_support = group(episodes)
    costs = {image: BACKBONE_COST + len(of_query.get(image, ())) for image in {*of_query, *of_support}}
    found = []
    for process in range(processes):
        with patch.object(planned, "world", lambda: processes), patch.object(planned, "rank", lambda p=process: p):
            mine = planned.share(costs)
        queries, supports = mine & of_query.keys(), mine & of_support.keys()
        again = len(queries) - min(kept, len(queries & supports))
        found.append(Load(len(supports), again, sum(len(of_query[image]) for image in queries)))
    return found


def together(loading: float, computing: float, workers: int) -> float:
    """Seconds of two kinds of work, of which so many loader processes do the first ahead; 0: one after the other."""
    return max(loading / workers, computing) if workers else loading + computing


def evaluation(found: Sequence[Load], costs: Costs, workers: int, prototypes: int, link: Link) -> dict[str, float]:
    """Seconds of the parts of an evaluation, in the process that takes longest; "all" is less than their sum.

    Arguments:
        found: of :func:`loads`.
        workers: loader processes of each process.
        prototypes: bytes that the processes add up between the phases.
    """
    encoding = [together(x.supports * costs.decode, x.supports * costs.encode, workers) for x in found]
    matching = [
        together(x.queries * costs.decode, x.queries * costs.encode + x.episodes * costs.match, workers) for x in found
    ]
    passes = max(x.supports + x.queries for x in found)
    adding = all_reduce(prototypes, len(found), link)
    return {
        "loading": passes * costs.decode / max(workers, 1),
        "backbone": passes * costs.encode,
        "matching": max(x.episodes for x in found) * costs.match,
        "prototypes added up": adding,
        "all": max(encoding) + adding + max(matching),
    }


def training_step(
    share: int, processes: int, costs: Costs, workers: int, gradients: int, link: Link
) -> dict[str, float]:
    """Seconds of the parts of a training step; "all" is less than their sum, as some go on at the same time.

    Arguments:
        share: episodes of a process.
        workers: loader processes of each process.
        gradients: bytes.
    """
    loading, computing = share * costs.sample, share * costs.train
    adding = all_reduce(gradients, processes, link)
    sums = SMALL_SUMS * all_reduce(0, processes, link)  # which wait for nothing else
    waiting = max(0.0, adding - BACKWARD * computing) + sums
    return {
        "loading": loading / max(workers, 1),
        "forward and backward": computing,
        "gradients added up": adding + sums,
        NOT_HIDDEN: waiting,
        "all": together(loading, computing + waiting, workers),
    }


def limit(parts: dict[str, float]) -> str:
    """The part that takes longest."""
    return max((part for part in parts if part not in ("all", NOT_HIDDEN)), key=parts.__getitem__)
