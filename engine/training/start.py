"""What a training run starts with: its network, and the line that says what will run."""

from __future__ import annotations

import random
from copy import copy

import torch
from torch.utils.data import default_collate

from dataset import Fold
from dataset.samples import Sample, TrainingSamples, as_input
from dataset.transform import crop, normalise
from engine.checkpoint import find_pretrained, load_pretrained
from engine.setting import RANDOM, Schedule, Setting, spans
from engine.training.step import own_samples
from model import FewShotNetwork, build_model, calibrate_batch_norms
from util import distributed
from util.errors import UserError, first_line

CALIBRATION_IMAGES = 16


def start_network(
    setting: Setting, samples: TrainingSamples, pretrained: str | None, device: torch.device
) -> FewShotNetwork:
    """Build the network that a run starts from.

    Arguments:
        setting: method, backbone and refinement.
        samples: the run's samples; the random weights follow from their seed.
        pretrained: a file of ImageNet weights, None for pretrained/BACKBONE.pth, "none" for random weights with batch
            norms calibrated on training crops.
        device: where the network goes.
    """
    torch.manual_seed(samples.seed)
    net = build_model(setting.method, setting.backbone, setting.refine)
    if pretrained != RANDOM:
        load_pretrained(net, find_pretrained(pretrained, setting.backbone))
        return net.to(device)
    net = net.to(device)
    rng = random.Random(samples.seed)
    pool = samples.pool
    chosen = rng.sample([pool.names[rank] for rank in pool.images], min(CALIBRATION_IMAGES, len(pool.names)))
    crops = [normalise(crop(*samples.images.load(image), samples.crop_size, rng)[0]) for image in chosen]
    calibrate_batch_norms(net, torch.stack(crops).to(device))
    return net


def compile_trunk(net: FewShotNetwork, images: int, crop_size: int) -> None:
    """Compile the trunk for training at once, for batches of so many images; raises UserError if that fails."""
    net.compiled_features = torch.compile(net.features)
    device = next(net.parameters()).device
    try:
        net.train().training_features(torch.zeros(images, 3, crop_size, crop_size, device=device))
    except Exception as error:  # whatever is missing to compile with
        reason = first_line(error)
        raise UserError(f"--compile: the trunk cannot be compiled here ({reason}); leave the flag out") from error


def first_batch(samples: TrainingSamples, batch_size: int, device: torch.device) -> Sample:
    """This process's part of the first training batch."""
    own = copy(samples)  # with a cache of its own
    numbers = own_samples(samples, batch_size, 0, 1).indices
    return as_input(default_collate([own[number] for number in numbers]), device)


def what_will_run(
    setting: Setting,
    schedule: Schedule,
    fold: Fold,
    net: FewShotNetwork,
    images: int,
    done: int,
    evaluated: int,
    tested: int,
) -> str:
    """Say in a line what will run.

    Arguments:
        setting, schedule, fold, net: of the run.
        images: training images in use.
        done: snapshots that are finished.
        evaluated: episodes of the evaluation after a snapshot.
        tested: episodes of the last evaluation.
    """
    device = next(net.parameters()).device
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6
    where = f"{distributed.world()} processes on {device.type}" if distributed.world() > 1 else str(device)
    episodes = schedule.snapshots * schedule.steps * schedule.batch_size
    short = episodes < schedule.episodes
    unused = f" (of {schedule.episodes}, the others make no whole snapshot)" if short else ""
    what = f"{setting.describe()}, {setting.shot}-shot{', refine' if setting.refine else ''}"
    return (
        f"{setting.method} {setting.backbone} on {what}: {images} training images of {spans(fold.train.classes)}, "
        f"best weights chosen on {spans(fold.select.classes)}, tested on {spans(fold.test.classes)}; "
        f"{schedule.snapshots} snapshots of {schedule.steps} steps{f', {done} done' if done else ''}, {episodes} "
        f"episodes to train on{unused}, {evaluated} evaluated after each snapshot, {tested} at the end; "
        f"{trained:.1f} M trained parameters, {where}"
    )
