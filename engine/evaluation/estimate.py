"""How long an evaluation will take, from a few episodes that are timed."""

from __future__ import annotations

from collections.abc import Sequence

from dataset.episodes import Episode, Plans, images_of
from dataset.images import ImageSet
from engine.evaluation.evaluate import evaluate
from engine.evaluation.planned import BACKBONE_COST
from engine.evaluation.protocol import PAPER, EvaluationOptions, Protocol
from model import FewShotNetwork
from util.distributed import world

TIMED_EPISODES = 2  # what each process times
LONG = 2000  # units of cost: half a minute on two cores, with ResNet-50 and images of VOC's size


def describe_duration(
    net: FewShotNetwork, images: ImageSet, plans: Plans, protocol: Protocol, options: EvaluationOptions
) -> list[str]:
    """A line that says how long an evaluation will take, if it is long; arguments as of evaluate."""
    work = cost(plans, options.engine)
    if work <= LONG:
        return []
    unit = unit_seconds(net, images, next(iter(plans.values())), options.engine, protocol=protocol, amp=options.amp)
    return [f"{sum(map(len, plans.values()))} episodes, about {duration(work * unit)}"]


def unit_seconds(
    net: FewShotNetwork,
    images: ImageSet,
    plan: Sequence[Episode],
    engine: str,
    protocol: Protocol = PAPER,
    amp: bool = False,
) -> float:
    """Seconds of a unit of :func:`cost`: the faster of two runs of a plan's first episodes."""
    few = {0: plan[: TIMED_EPISODES * world()]}
    options = EvaluationOptions(engine=engine, amp=amp)
    times = [evaluate(net, images, few, protocol, options=options)["seconds"] for _ in range(2)]
    return min(times) / cost(few, engine)


def cost(plans: Plans, engine: str) -> int:
    """The cost of an evaluation, in units of matching an episode with a query that has passed the backbone."""
    episodes = [episode for plan in plans.values() for episode in plan]
    if engine == "plain":
        return sum(1 + BACKBONE_COST * (1 + len(episode.supports)) for episode in episodes)
    return BACKBONE_COST * len(images_of(episodes)) + len(episodes)


def duration(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
