"""About how long the evaluations of the tables take, before any of them starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import torch

from dataset import Plans
from dataset.images import ImageSet
from dataset.samples import Pictures
from engine.evaluation.estimate import cost, unit_seconds
from engine.evaluation.protocol import HSNET, PAPER, Protocol, plan_seeds
from engine.setting import Setting
from model import build_model, calibrate_batch_norms
from tables.commands import Folders
from tables.experiment import Experiment

ENGINE = "planned"


class Budget(NamedTuple):
    """How much is evaluated, and where."""

    device: torch.device
    seeds: int
    episodes: int | None  # of each seed; None: the protocol's


def estimate_tests(experiments: Sequence[Experiment], folders: Folders, budget: Budget) -> float:
    """Estimate the seconds of evaluations: their distinct images and episodes are counted, and two episodes of each
    protocol, dataset and backbone are timed.
    """

    @cache
    def plan(protocol: Protocol, setting: Setting) -> tuple[ImageSet, Plans]:
        return plan_evaluation(protocol, setting, folders, budget)

    seconds, units = 0.0, {}
    for protocol, setting, *_ in experiments:
        # All networks are tested on the same episodes.
        images, plans = plan(protocol, replace(setting, backbone=None, method="ssp", refine=False))
        kind = protocol, setting.dataset, setting.backbone
        if kind not in units:
            units[kind] = time_unit(setting, images, plans, protocol, budget.device)
        seconds += cost(plans, ENGINE) * units[kind]
    return seconds


def plan_evaluation(protocol: Protocol, setting: Setting, folders: Folders, budget: Budget) -> tuple[ImageSet, Plans]:
    """The images and the episodes of an evaluation."""
    benchmark = setting.benchmark(folders.data_root, folders.splits)
    if protocol == HSNET:
        episodes = benchmark.plan_hsnet(folders.splits, setting.fold, setting.shot)[: budget.episodes]
        return benchmark.open_images(episodes), {0: episodes}
    split = benchmark.open_split("test", setting.fold, setting.class_order)
    number = budget.episodes or PAPER.episodes(setting.dataset)
    return split.images, plan_seeds(split, setting.shot, range(budget.seeds), number)


def time_unit(setting: Setting, images: ImageSet, plans: Plans, protocol: Protocol, device: torch.device) -> float:
    """Seconds of the unit of engine.evaluation.estimate.cost, with random weights."""
    episodes = next(iter(plans.values()))
    net = build_model(setting.method, setting.backbone, setting.refine).eval()
    calibrate_batch_norms(net, Pictures(images, [episodes[0].query], protocol.side)[0][0][None])
    return unit_seconds(net.to(device), images, episodes, ENGINE, protocol)
