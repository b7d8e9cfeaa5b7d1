"""About how long evaluations and trainings take, before any of them starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import torch

from dataset import Plans, open_fold, open_pool
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
from tables.commands import Folders
from tables.experiment import Experiment

ENGINE = "planned"
Planner = Callable[[Protocol, Setting], tuple[ImageSet, Plans]]  # gives the images and episodes of an evaluation


@dataclass(frozen=True)
class Budget:
    """How much is evaluated and trained, where it is not as published."""

    device: torch.device
    seeds: int = PAPER.seeds
    episodes: int | None = None  # episodes per seed; None: the protocol's
    schedule: Schedule = RECIPE
    crop_size: int | None = None  # None: the dataset's


def estimate_tests(experiments: Sequence[Experiment], folders: Folders, budget: Budget) -> float:
    """Estimate the seconds of evaluations: their distinct images and episodes are counted, and two episodes of each
    protocol, dataset and backbone are timed.
    """
    plan = make_planner(folders, budget)
    seconds, units = 0.0, {}
    for protocol, setting, *_ in experiments:
        images, plans = plan(protocol, setting)
        kind = protocol, setting.dataset, setting.backbone
        if kind not in units:
            units[kind] = time_unit(setting, images, plans, protocol, budget.device)
        seconds += cost(plans, ENGINE) * units[kind]
    return seconds


def estimate_trainings(experiments: Sequence[Experiment], folders: Folders, budget: Budget) -> float:
    """Estimate the seconds of trainings with their evaluations: two steps of each kind are timed."""
    plan = make_planner(folders, budget)
    schedule = budget.schedule
    seconds, times = 0.0, {}
    for setting in dict.fromkeys(experiment.setting for experiment in experiments):
        images, plans = plan(PAPER, setting)
        kind = setting.dataset, setting.backbone, setting.method, setting.shot, setting.refine
        if kind not in times:
            unit = time_unit(setting, images, plans, PAPER, budget.device)
            times[kind] = time_step(setting, folders, budget), unit
        step, unit = times[kind]
        first_seed = dict(islice(plans.items(), 1))  # on which each snapshot is evaluated
        seconds += schedule.snapshots * (schedule.steps * step + cost(first_seed, ENGINE) * unit)
        seconds += cost(plans, ENGINE) * unit
    return seconds


def make_planner(folders: Folders, budget: Budget) -> Planner:
    """What plans an evaluation, once for all networks that are tested on the same episodes."""

    @cache
    def plan(protocol: Protocol, setting: Setting) -> tuple[ImageSet, Plans]:
        benchmark = setting.benchmark(folders.data_root, folders.splits)
        if protocol == HSNET:
            episodes = benchmark.plan_hsnet(folders.splits, setting.fold, setting.shot)[: budget.episodes]
            return benchmark.open_images(episodes), {0: episodes}
        split = benchmark.open_split("test", setting.fold, setting.class_order)
        number = budget.episodes or PAPER.episodes(benchmark)
        return split.images, plan_seeds(split, setting.shot, range(budget.seeds), number)

    return lambda protocol, setting: plan(protocol, replace(setting, backbone=None, method="ssp", refine=False))


def time_unit(setting: Setting, images: ImageSet, plans: Plans, protocol: Protocol, device: torch.device) -> float:
    """Seconds of the unit of engine.evaluation.estimate.cost, with random weights."""
    episodes = next(iter(plans.values()))
    net = build_model(setting.method, setting.backbone, setting.refine).eval()
    calibrate_batch_norms(net, Pictures(images, [episodes[0].query], protocol.side)[0][0][None])
    return unit_seconds(net.to(device), images, episodes, ENGINE, protocol)


def time_step(setting: Setting, folders: Folders, budget: Budget) -> float:
    """Seconds of a training step, from random weights."""
    fold = open_fold(setting.dataset, folders.data_root, setting.fold, setting.class_order, folders.splits)
    pool, crop_size = open_pool(fold.train, setting.shot), budget.crop_size or setting.benchmark.crop_size
    samples = TrainingSamples(fold.train.images, pool, setting.shot, crop_size, length=budget.schedule.snapshot, seed=0)
    net = start_network(setting, samples, RANDOM, budget.device)
    trainer = Trainer(net, None, ComputeOptions(budget.device))
    return trainer.time_step(first_batch(samples, budget.schedule.batch_size, budget.device))
