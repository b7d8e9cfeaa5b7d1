"""One evaluation under many settings of the method: what a setting does not change is computed once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from dataset.episodes import Plans
from dataset.images import ImageSet
from engine.evaluation.compare import compare_miou
from engine.evaluation.estimate import TIMED_EPISODES, cost
from engine.evaluation.evaluate import count_plainly, summarise
from engine.evaluation.kept_counts import KeptCounts
from engine.evaluation.planned import count_variations
from engine.evaluation.protocol import DEFAULT_OPTIONS, PAPER, EvaluationOptions, Protocol
from engine.variation import Value, Variation
from model import FewShotNetwork
from util.distributed import world


def make_variations(
    base: Variation, values: Mapping[str, Sequence[Value]], one_at_a_time: bool = False
) -> list[Variation]:
    """The settings of a sweep, each once: the base first, then the grid of all values.

    one_at_a_time: each value by itself, the other settings the base's, in place of the grid.
    """
    known = dict(base.changes)
    if one_at_a_time:
        changes = [{name: value} for name, some in values.items() for value in some]
    else:
        changes = [dict(zip(values, some, strict=True)) for some in itertools.product(*values.values())]
    return list(dict.fromkeys([base, *(Variation.of({**known, **change}) for change in changes)]))


def evaluate_variations(
    net: FewShotNetwork,
    images: ImageSet,
    plans: Plans,
    variations: Sequence[Variation],
    protocol: Protocol = PAPER,
    classes: Collection[int] | None = None,
    options: EvaluationOptions = DEFAULT_OPTIONS,
    kept: KeptCounts | None = None,
) -> list[dict[str, Any]]:
    """Evaluate a network under each of several settings, on the same episodes; arguments as of evaluate.

    kept: where to keep what was counted, so that a killed evaluation goes on.
    Returns a record for each variation: "settings" (what differs from the paper's), "name", "miou", "miou_std",
    "fb_iou", "seeds" as of evaluate without the single episodes, and against the first variation "difference", "low"
    and "high": points of mIoU, and the ends of its 95 % interval.
    """
    counts = _count(net, images, plans, variations, protocol, options, kept)
    over = classes if protocol.over_all_classes else None
    episodes = [(seed, episode) for seed, plan in plans.items() for episode in plan]
    parts = [e.cls for _, e in episodes], [e.query for _, e in episodes], [seed for seed, _ in episodes]
    records = []
    for variation, counted in zip(variations, counts, strict=True):
        measured = summarise(counted, plans, over)
        difference = compare_miou(counts[0], counted, *parts, over_classes=over)
        seeds = [{name: seed[name] for name in ("seed", "miou", "fb_iou", "class_iou")} for seed in measured["seeds"]]
        records.append(
            {
                "settings": variation.as_dict(),
                "name": str(variation) or "the paper's",
                **{name: measured[name] for name in ("miou", "miou_std", "fb_iou")},
                **difference._asdict(),
                "seeds": seeds,
            }
        )
    return records


def estimate_seconds(
    net: FewShotNetwork,
    images: ImageSet,
    plans: Plans,
    variations: Sequence[Variation],
    protocol: Protocol,
    options: EvaluationOptions,
) -> float:
    """Seconds of a whole evaluation under these settings, from its first episodes."""
    few = {0: next(iter(plans.values()))[: TIMED_EPISODES * world()]}
    times = []
    for _ in range(2):  # the first fills memory and tries the fast forms
        started = time.perf_counter()
        _count(net, images, few, variations, protocol, options, None)
        times.append(time.perf_counter() - started)
    return min(times) * _cost(plans, variations, options) / _cost(few, variations, options)


def _cost(plans: Plans, variations: Sequence[Variation], options: EvaluationOptions) -> int:
    """As estimate.cost, with the episodes counted under each setting."""
    if options.engine == "plain":
        return cost(plans, options.engine) * len(variations)
    return cost(plans, options.engine) + (len(variations) - 1) * sum(map(len, plans.values()))


def _count(
    net: FewShotNetwork,
    images: ImageSet,
    plans: Plans,
    variations: Sequence[Variation],
    protocol: Protocol,
    options: EvaluationOptions,
    kept: KeptCounts | None,
) -> list[Tensor]:
    """Counts (E, 4) under each of the settings."""
    episodes = [episode for plan in plans.values() for episode in plan]
    settings = [variation.change(net.matching) for variation in variations]
    if options.engine == "plain":
        return [count_plainly(net.under(one), images, episodes, options.workers, protocol) for one in settings]
    return list(count_variations(net, images, episodes, settings, protocol, options, kept)[0])
