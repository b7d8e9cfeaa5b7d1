"""What a training run starts with: its network, and the line that says what will run."""

from __future__ import annotations

import random

import numpy as np
import torch

from dataset.images import read_rgb
from dataset.provenance import label_of
from dataset.samples import TrainingSamples
from dataset.transform import crop, normalise
from engine.custom import build_network
from engine.evaluation.evaluation_set import describe_missing_classes
from engine.evaluation.protocol import PAPER
from engine.pretrained import load_start
from engine.setting import RANDOM, Setting, spans
from engine.training.data import Run
from engine.training.flags import TrainingOptions
from engine.training.trainer import DTYPES, Trainer, make_optimizer
from model import FewShotNetwork, calibrate_batch_norms
from model.names import BACKBONES
from util import distributed
from util.errors import UserError, fills_memory, first_line
from util.memory import keep_freed_memory

CALIBRATION_IMAGES = 16


def start_network(
    setting: Setting,
    samples: TrainingSamples,
    pretrained: str | None,
    device: torch.device,
    frozen: bool = False,
    resumed: bool = False,
) -> FewShotNetwork:
    """Build the network that a run starts from.

    Arguments:
        samples: the run's samples; the random weights follow from their seed.
        pretrained: as of engine.pretrained.load_start; or "none" for random weights with batch norms calibrated on
            training crops.
        frozen: keep the backbone as it is.
        resumed: whether all weights come from a run's state.
    """
    torch.manual_seed(samples.seed)
    net = build_network(setting.method, setting.backbone, setting.refine)
    net.matching = setting.variation.change(net.matching)
    if not resumed and pretrained != RANDOM:
        load_start(net, setting.backbone, pretrained)
    net.to(device)
    if not resumed and setting.backbone not in BACKBONES:
        try_crop(net, samples.crop_size, device)
    if pretrained == RANDOM and not resumed:
        calibrate(net, samples, device)
    if frozen:
        net.freeze_backbone()
    return net


@torch.no_grad()
def try_crop(net: FewShotNetwork, side: int, device: torch.device) -> None:
    """Raise UserError if training crops of this side, in pixels, cannot pass the backbone."""
    try:
        net.eval().features(torch.zeros(1, 3, side, side, device=device))
    except Exception as error:  # whatever a custom backbone can raise
        if fills_memory(error):
            raise
        raise UserError(f"--crop-size {side}: the backbone cannot take it: {first_line(error)}") from error
    net.train()


def calibrate(net: FewShotNetwork, samples: TrainingSamples, device: torch.device) -> None:
    """Set the statistics of the backbone's batch norms, which are not trained, from some training crops."""
    rng = random.Random(samples.seed)
    pool = samples.pool
    chosen = rng.sample([pool.names[rank] for rank in pool.images], min(CALIBRATION_IMAGES, len(pool.names)))
    pictures = (read_rgb(samples.images.image_path(image)) for image in chosen)
    no_mask = np.empty((0, 0), np.uint8)
    crops = [normalise(crop(picture, no_mask, samples.crop_size, rng)[0]) for picture in pictures]
    calibrate_batch_norms(net, torch.stack(crops).to(device))


def compile_backbone(net: FewShotNetwork, images: int, crop_size: int) -> None:
    """Compile the backbone for training at once, for batches of so many images; raises UserError if that fails."""
    net.compiled_features = torch.compile(net.features)
    try:
        net.train().training_features(torch.zeros(images, 3, crop_size, crop_size, device=net.device))
    except Exception as error:  # whatever is missing to compile with
        reason = first_line(error)
        raise UserError(f"--compile: the backbone cannot be compiled here ({reason}); leave the flag out") from error


def start_trainer(options: TrainingOptions, run: Run, resumed: bool) -> Trainer:
    """The network that a run starts from, with its optimizer. Raises UserError if there is nothing to train."""
    setting, schedule, samples, compute = run.setting, run.schedule, run.samples, options.compute
    device, frozen = compute.device, bool(options.frozen)
    if options.released_order:
        distributed.say(f"supports are compared with masks in the release's order on {options.released_order} GPUs")
    net = start_network(setting, samples, options.pretrained, device, frozen, resumed)
    if schedule.snapshots and not any(p.requires_grad for p in net.parameters()):
        what = f"--frozen: {setting.method} has nothing else" if frozen else f"{setting.backbone} has nothing"
        raise UserError(f"{what} to train; --episode 0 tests it as it is")
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cpu" or compute.amp:
        net.to(memory_format=torch.channels_last)  # convolutions are faster in it there
    net.backbone_dtype = DTYPES[compute.amp]
    if compute.compiled:
        episodes = schedule.batch_size // distributed.world() // compute.accumulate
        compile_backbone(net, (1 + setting.shot) * episodes, samples.crop_size)
    optimizer = make_optimizer(net, schedule.lr) if schedule.snapshots else None
    weights = setting.variation.loss_weights
    return Trainer(net, optimizer, compute, options.released_order, setting.is_custom, loss_weights=weights)


def what_will_run(run: Run, net: FewShotNetwork, done: int) -> list[str]:
    """A line that says what will run, and notes on it; ``done`` snapshots are finished."""
    setting, schedule, fold, samples, selection, test = run
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6
    processes = distributed.world()
    where = f"{processes} processes on {net.device.type}" if processes > 1 else str(net.device)
    episodes = schedule.snapshots * schedule.steps * schedule.batch_size
    is_short = episodes < schedule.episodes
    unused = f" (of {schedule.episodes}, the others make no whole snapshot)" if is_short else ""
    words = [setting.describe(), f"{setting.shot}-shot", "refine" if setting.refine else "", str(setting.variation)]
    what = ", ".join(filter(None, words))
    backbone = f"{setting.backbone}{' (frozen)' if net.backbone_is_frozen else ''}"
    others = list(filter(None, dict.fromkeys(label_of(part.provenance) for part in (fold.train, fold.test))))
    data = f" ({', '.join(others)}, not the benchmark)" if others else ""
    notes = describe_missing_classes(test, PAPER)
    evaluated, tested = (sum(map(len, plans.values())) for plans in (selection, test.plans))
    if setting.method == "ssp" and not setting.refine:
        notes.append("note: without --refine; the SSP rows of the paper's tables are trained with it")
    line = (
        f"{setting.method} {backbone} on {what}{data}: {len(samples.pool.names)} training images of "
        f"{spans(fold.train.classes)}, best weights chosen on {spans(fold.val.classes)}, tested on "
        f"{spans(fold.test.classes)}; {schedule.snapshots} snapshots of {schedule.steps} steps"
        f"{f', {done} done' if done else ''}, {episodes} episodes to train on{unused}, {evaluated} evaluated "
        f"after each snapshot, {tested} at the end; {trained:.1f} M trained parameters, {where}"
    )
    return [line, *notes]
