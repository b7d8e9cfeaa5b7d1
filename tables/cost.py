"""About how long evaluations and trainings take, before any of them starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import torch

from dataset import Plans, open_fold, open_listed, open_part, open_pool, plan_hsnet
from dataset.images import ImageSet
from dataset.samples import Pictures, TrainingSamples
from engine.evaluation.estimate import cost, unit_seconds
from engine.evaluation.protocol import HSNET, PAPER, Protocol, plan_seeds
from engine.setting import RANDOM, RECIPE, Schedule, Setting
from engine.training.data import first_batch
from engine.training.flags import ComputeOptions
from engine.training.start import start_network
from engine.training.trainer import Trainer
from model import build_model, calibrate_batch_norms

ENGINE = "planned"
Work = tuple[Protocol, Setting]  # an evaluation, or a training with the evaluations in it


@dataclass(frozen=True)
class Budget:
    """How much is evaluated and trained, where it is not as published."""

    device: torch.device
    seeds: int = PAPER.seeds
    episodes: int | None = None  # of a seed; None: the protocol's
    schedule: Schedule = RECIPE
    crop_size: int | None = None  # None: the dataset's


def estimate_tests(work: Sequence[Work], data_root: str, splits: str | None, budget: Budget) -> float:
    """Estimate evaluations: their distinct images and episodes are counted, and two
    episodes of each protocol, dataset and backbone are timed.

    Arguments:
        work: the evaluations.
        data_root, splits: of the datasets, and HSNet's data/splits.
        budget: how much of each.
    """

    plans = planner(data_root, splits, budget)
    seconds, unit = 0.0, {}
    for protocol, setting in work:
        images, plan = plans(protocol, setting)
        kind = protocol, setting.dataset, setting.backbone
        if kind not in unit:
            unit[kind] = unit_of(setting, images, plan, protocol, budget.device)
        seconds += cost(plan, ENGINE) * unit[kind]
    return seconds


def planner(
    data_root: str, splits: str | None, budget: Budget
) -> Callable[[Protocol, Setting], tuple[ImageSet, Plans]]:
    """What gives the images and episodes of an evaluation, planned once for all networks that are tested on them."""
    once = cache(lambda protocol, setting: plans_of((protocol, setting), data_root, splits, budget))
    return lambda protocol, setting: once(protocol, replace(setting, backbone=None, method="ssp", refine=False))


def plans_of(work: Work, data_root: str, splits: str | None, budget: Budget) -> tuple[ImageSet, Plans]:
    """The images and episodes of an evaluation."""
    protocol, setting = work
    if protocol == HSNET:
        plan = plan_hsnet(setting.dataset, splits, setting.fold, setting.shot)[: budget.episodes]
        return open_listed(setting.dataset, data_root, plan), {0: plan}
    part = open_part(setting.dataset, data_root, "test", setting.fold, setting.class_order, splits)
    episodes = budget.episodes or PAPER.episodes(setting.dataset)
    return part.images, plan_seeds(part, setting.shot, range(budget.seeds), episodes)


def unit_of(setting: Setting, images: ImageSet, plans: Plans, protocol: Protocol, device: torch.device) -> float:
    """Seconds of the unit of engine.evaluation.estimate.cost, with random weights."""
    plan = next(iter(plans.values()))
    net = build_model(setting.method, setting.backbone, setting.refine).eval()
    calibrate_batch_norms(net, Pictures(images, [plan[0].query], protocol.side)[0][0][None])
    return unit_seconds(net.to(device), images, plan, ENGINE, protocol)


def estimate_trainings(work: Sequence[Work], data_root: str, splits: str | None, budget: Budget) -> float:
    """Estimate trainings with their evaluations: two steps of each kind are timed. Arguments as estimate_tests."""
    schedule = budget.schedule
    plans_for = planner(data_root, splits, budget)
    seconds, step = 0.0, {}
    for s in dict.fromkeys(setting for _, setting in work):
        images, plans = plans_for(PAPER, s)
        kind = s.dataset, s.backbone, s.method, s.shot, s.refine
        if kind not in step:
            crop = budget.crop_size or s.layout.CROP_SIZE
            part = open_fold(s.dataset, data_root, s.fold, s.class_order, splits).train
            samples = TrainingSamples(part.images, open_pool(part, s.shot), s.shot, crop, schedule.snapshot, 0)
            trainer = Trainer(start_network(s, samples, RANDOM, budget.device), None, ComputeOptions(budget.device))
            unit = unit_of(s, images, plans, PAPER, budget.device)
            step[kind] = trainer.time_step(first_batch(samples, schedule.batch_size, budget.device)), unit
        of_step, unit = step[kind]
        first = dict(islice(plans.items(), 1))
        seconds += schedule.snapshots * (schedule.steps * of_step + cost(first, ENGINE) * unit)
        seconds += cost(plans, ENGINE) * unit
    return seconds
