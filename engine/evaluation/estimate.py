"""How long a run will take: from a step and a few episodes timed at its start, then from what it really took."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from torch import nn

from dataset.episodes import Episode, images_of
from dataset.images import ImageSet
from dataset.samples import Sample
from engine.evaluation.evaluate import evaluate
from engine.evaluation.planned import TRUNK_COST
from engine.training.step import loss_and_gradients
from model import FewShotNetwork
from util.distributed import world

Plans = Mapping[int, Sequence[Episode]]
TIMED_EPISODES = 2  # of each process


def step_seconds(net: nn.Module, batch: Sample, accumulate: int) -> float:
    """Of forward and backward, which change no weight; the faster of two, for the first one warms up."""

    def once() -> float:
        started = time.perf_counter()
        loss_and_gradients(net, batch, accumulate).item()
        return time.perf_counter() - started

    return min(once(), once())


def unit_seconds(
    net: FewShotNetwork,
    images: ImageSet,
    plan: Sequence[Episode],
    engine: str,
    side: int | None = None,
    amp: bool = False,
) -> float:
    """Of a unit of :func:`cost`, from the first episodes of a plan, the faster of two; arguments as for evaluate."""
    few = {0: plan[: TIMED_EPISODES * world()]}
    times = [evaluate(net, images, few, side=side, engine=engine, amp=amp)["seconds"] for _ in range(2)]
    return min(times) / cost(few, engine)


def cost(plans: Plans, engine: str) -> int:
    """Of an evaluation, in units of matching an episode with a query that has passed the trunk."""
    episodes = [episode for plan in plans.values() for episode in plan]
    if engine == "plain":
        return sum(1 + TRUNK_COST * (1 + len(episode.supports)) for episode in episodes)
    return TRUNK_COST * len(images_of(episodes)) + len(episodes)


def duration(seconds: float) -> str:
    """For people: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
