"""What a run is trained and tested on, and the training batches of this process.

The samples are the same, however many processes share them.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

import torch
from torch.utils.data import Subset, default_collate

from dataset import Fold, Plans, open_pool
from dataset.loader import batches
from dataset.samples import Sample, TrainingSamples, as_input
from engine.evaluation.evaluation_set import EvaluationSet
from engine.evaluation.protocol import PAPER, plan_seeds
from engine.setting import Schedule, Setting
from engine.training.flags import ComputeOptions, TrainingOptions
from engine.training.state import Training
from util.distributed import first_process_first, rank, world
from util.interrupts import Interrupts


class Run(NamedTuple):
    """What is trained, how long, on which samples, and which episodes it is tested on."""

    setting: Setting
    schedule: Schedule
    fold: Fold
    samples: TrainingSamples
    selection: Plans  # the episodes of the evaluation after a snapshot
    test: EvaluationSet  # what the last evaluation is about


def open_run(options: TrainingOptions) -> Run:
    """Find the images of a run, plan its evaluations, and prepare to draw its samples (docs/method.md, section 5).

    Raises UserError if something is missing or damaged.
    """
    setting, schedule, workers = options.setting, options.schedule, options.workers
    benchmark = setting.benchmark(options.data_root, options.splits)
    fold = benchmark.open_fold(setting.fold, setting.class_order)
    seeds = range(options.seed, options.seed + options.seeds)
    episodes = options.test_episodes or PAPER.episodes(benchmark)
    with first_process_first():
        plans = plan_seeds(fold.test, setting.shot, seeds, episodes, workers)
        if fold.val is fold.test:  # the first seed's episodes, which need not be planned again
            selection = {seeds[0]: plans[seeds[0]]}
        else:
            selection = plan_seeds(fold.val, setting.shot, seeds[:1], episodes, workers)
        pool = open_pool(fold.train, setting.shot, workers)
    samples = TrainingSamples(
        fold.train.images, pool, setting.shot, options.crop_size, length=schedule.snapshot, seed=options.seed
    )
    samples.cache_bytes = int(options.cache_gb * 2**30) // max(workers, 1)
    test = EvaluationSet(fold.test.images, plans, fold.test.classes, fold.test.provenance)
    return Run(setting, schedule, fold, samples, selection, test)


def own_samples(samples: TrainingSamples, batch_size: int, first_step: int, steps: int) -> Subset:
    """This process's part of the batches of some steps, which are counted over the whole run.

    The samples are of a snapshot; those of later ones follow. The batch size is that of all processes together.
    """
    per_snapshot = samples.length // batch_size
    share = batch_size // world()
    numbers = []
    for step in range(first_step, first_step + steps):
        epoch, position = divmod(step, per_snapshot)
        start = epoch * samples.length + position * batch_size + rank() * share
        numbers += range(start, start + share)
    return Subset(samples, numbers)


def training_batches(run: Run, state: Training, compute: ComputeOptions, asked: Interrupts) -> Iterator[Any]:
    """This process's part of the batch of each step that is left; close it to end its loader processes."""
    schedule = run.schedule
    done = state.snapshot * schedule.steps + len(state.losses)
    own = own_samples(run.samples, schedule.batch_size, done, schedule.snapshots * schedule.steps - done)
    share = schedule.batch_size // world()
    try:
        yield from batches(own, share, compute.workers, pin_memory=compute.device.type == "cuda")
    except RuntimeError:  # a loader process ended
        if asked.asked:  # the same signal ended it; the state that was saved last is whole
            raise KeyboardInterrupt from None
        raise


def first_batch(samples: TrainingSamples, batch_size: int, device: torch.device) -> Sample:
    """This process's part of the first training batch."""
    own = copy(samples)  # with a cache of its own
    numbers = own_samples(samples, batch_size, 0, 1).indices
    return as_input(default_collate([own[number] for number in numbers]), device)
