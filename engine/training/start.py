"""What a training run starts with: its network, and what it tells the user."""

from __future__ import annotations

import argparse
import random
from copy import copy

import torch
from torch.utils.data import default_collate

from dataset import Fold
from dataset.samples import Sample, TrainingSamples, as_input
from dataset.transform import crop, normalise
from engine.checkpoint import find_pretrained, load_pretrained
from engine.training.best import describe_setting, spans
from engine.training.step import own_samples
from model import FewShotNetwork, build_model, calibrate_batch_norms
from util import distributed
from util.errors import UserError

CALIBRATION_IMAGES = 16


def start_network(args: argparse.Namespace, samples: TrainingSamples) -> FewShotNetwork:
    """ImageNet weights, or random ones with batch norms calibrated on training crops."""
    torch.manual_seed(args.seed)
    if args.pretrained != "none":
        net = build_model(args.method, args.backbone, args.refine)
        load_pretrained(net, find_pretrained(args.pretrained, args.backbone))
        return net.to(args.device)
    net = build_model(args.method, args.backbone, args.refine).to(args.device)
    rng = random.Random(args.seed)
    pool = samples.pool
    chosen = rng.sample([pool.names[rank] for rank in pool.images], min(CALIBRATION_IMAGES, len(pool.names)))
    crops = [normalise(crop(*samples.images.load(image), args.crop_size, rng)[0]) for image in chosen]
    calibrate_batch_norms(net, torch.stack(crops).to(args.device))
    return net


def compile_trunk(net: FewShotNetwork, args: argparse.Namespace) -> None:
    """torch.compile the trunk for training, at once, so that what fails fails before the first step."""
    net.compiled_features = torch.compile(net.features)
    images = (1 + args.shot) * args.batch_size // distributed.world() // args.accumulate
    try:
        net.train().training_features(torch.zeros(images, 3, args.crop_size, args.crop_size, device=args.device))
    except Exception as error:  # whatever is missing to compile with
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--compile: the trunk cannot be compiled here ({reason}); leave the flag out") from error


def first_batch(samples: TrainingSamples, args: argparse.Namespace) -> Sample:
    """This process's part of the first training batch."""
    own = copy(samples)  # with a cache of its own
    numbers = own_samples(samples, args.batch_size, 0, 1).indices
    return as_input(default_collate([own[number] for number in numbers]), args.device)


def describe(
    args: argparse.Namespace, fold: Fold, images: int, net: FewShotNetwork, start: int, evaluated: int, tested: int
) -> str:
    """What will run.

    start: snapshots that are done; evaluated, tested: episodes of the evaluation after a snapshot, and of the last one.
    """
    snapshots, steps = args.episode // args.snapshot, args.snapshot // args.batch_size
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6
    where = f"{distributed.world()} processes on {args.device.type}" if distributed.world() > 1 else str(args.device)
    episodes = snapshots * steps * args.batch_size
    unused = f" (of {args.episode}, the others make no whole snapshot)" if episodes < args.episode else ""
    what = f"{describe_setting(args)}, {args.shot}-shot{', refine' if args.refine else ''}"
    return (
        f"{args.method} {args.backbone} on {what}: {images} training images of {spans(fold.train.classes)}, "
        f"best weights chosen on {spans(fold.select.classes)}, tested on {spans(fold.test.classes)}; "
        f"{snapshots} snapshots of {steps} steps{f', {start} done' if start else ''}, {episodes} episodes to train "
        f"on{unused}, {evaluated} evaluated after each snapshot, {tested} at the end; "
        f"{trained:.1f} M trained parameters, {where}"
    )
