"""What a training run starts with: its network, and the line that says what will run."""

from __future__ import annotations

import random
from copy import copy

import torch
from torch.utils.data import default_collate

from dataset import Fold, Plans
from dataset.provenance import label_of
from dataset.samples import Sample, TrainingSamples, as_input
from dataset.transform import crop, normalise
from engine.checkpoint import GET_PRETRAINED, OTHER_PRETRAINED, find_pretrained, load_pretrained
from engine.custom import build_network
from engine.evaluation.evaluation_set import EvaluationSet, describe_missing_classes
from engine.evaluation.protocol import PAPER
from engine.setting import FROM_TIMM, RANDOM, Schedule, Setting, spans
from engine.training.step import own_samples
from model import FewShotNetwork, calibrate_batch_norms
from model.names import custom_class, timm_name
from util import distributed
from util.errors import UserError, fills_gpu, first_line

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
        setting: method, backbone and refinement.
        samples: the run's samples; the random weights follow from their seed.
        pretrained: a file of the backbone's weights; "timm" for timm's own; "none" for random weights with batch norms
            calibrated on training crops; None for what is usual: pretrained/BACKBONE.pth of a ResNet, timm's own of
            timm's, and a custom backbone as it is made.
        device: where the network goes.
        frozen: keep the backbone as it is.
        resumed: whether all weights come from a run's state.
    """
    torch.manual_seed(samples.seed)
    net = build_network(setting.method, setting.backbone, setting.refine)
    is_timm, is_own = timm_name(setting.backbone) is not None, custom_class(setting.backbone) is not None
    if resumed:
        pretrained = None
    elif pretrained == FROM_TIMM or (pretrained is None and is_timm):
        fetch_from_timm(net, setting.backbone)
    elif pretrained != RANDOM and not (pretrained is None and is_own):
        hint = OTHER_PRETRAINED if is_timm or is_own else GET_PRETRAINED
        load_pretrained(net, find_pretrained(pretrained, setting.backbone), hint)
    net.to(device)
    if (is_timm or is_own) and not resumed:
        try_crop(net, samples.crop_size, device)
    if pretrained == RANDOM:
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
        if isinstance(error, MemoryError) or fills_gpu(error):
            raise
        raise UserError(f"--crop-size {side}: the backbone cannot take it: {first_line(error)}") from error
    net.train()


def fetch_from_timm(net: FewShotNetwork, backbone: str) -> None:
    """Load timm's own weights into a network's backbone. Raises UserError if it cannot."""
    if timm_name(backbone) is None:
        raise UserError(f"--pretrained {FROM_TIMM}: belongs to --backbone timm:NAME; name a file")
    try:
        net.backbone.fetch()
    except ValueError as error:
        raise UserError(f"{error}; name a file with --pretrained, or start from random weights (none)") from error


def calibrate(net: FewShotNetwork, samples: TrainingSamples, device: torch.device) -> None:
    """Set the statistics of the backbone's batch norms, which are not trained, from some training crops."""
    rng = random.Random(samples.seed)
    pool = samples.pool
    chosen = rng.sample([pool.names[rank] for rank in pool.images], min(CALIBRATION_IMAGES, len(pool.names)))
    crops = [normalise(crop(*samples.images.load(image), samples.crop_size, rng)[0]) for image in chosen]
    calibrate_batch_norms(net, torch.stack(crops).to(device))


def compile_backbone(net: FewShotNetwork, images: int, crop_size: int) -> None:
    """Compile the backbone for training at once, for batches of so many images; raises UserError if that fails."""
    net.compiled_features = torch.compile(net.features)
    device = net.device
    try:
        net.train().training_features(torch.zeros(images, 3, crop_size, crop_size, device=device))
    except Exception as error:  # whatever is missing to compile with
        reason = first_line(error)
        raise UserError(f"--compile: the backbone cannot be compiled here ({reason}); leave the flag out") from error


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
    final: Plans,
) -> list[str]:
    """A line that says what will run, and further ones of what to know of it.

    Arguments:
        setting, schedule, fold, net: of the run.
        images: training images in use.
        done: snapshots that are finished.
        evaluated: episodes of the evaluation after a snapshot.
        final: episodes of the last evaluation.
    """
    device = net.device
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6
    where = f"{distributed.world()} processes on {device.type}" if distributed.world() > 1 else str(device)
    episodes = schedule.snapshots * schedule.steps * schedule.batch_size
    short = episodes < schedule.episodes
    unused = f" (of {schedule.episodes}, the others make no whole snapshot)" if short else ""
    what = f"{setting.describe()}, {setting.shot}-shot{', refine' if setting.refine else ''}"
    backbone = f"{setting.backbone}{' (frozen)' if net.backbone_is_frozen else ''}"
    test = EvaluationSet(fold.test.images, final, fold.test.classes, fold.test.provenance)
    others = list(filter(None, dict.fromkeys(label_of(part.provenance) for part in (fold.train, fold.test))))
    data = f" ({', '.join(others)}, not the benchmark)" if others else ""
    notes, tested = describe_missing_classes(test, PAPER), sum(map(len, final.values()))
    if setting.method == "ssp" and not setting.refine:
        notes.append("note: without --refine; the SSP rows of the paper's tables are trained with it")
    line = (
        f"{setting.method} {backbone} on {what}{data}: {images} training images of {spans(fold.train.classes)}, "
        f"best weights chosen on {spans(fold.val.classes)}, tested on {spans(fold.test.classes)}; "
        f"{schedule.snapshots} snapshots of {schedule.steps} steps{f', {done} done' if done else ''}, {episodes} "
        f"episodes to train on{unused}, {evaluated} evaluated after each snapshot, {tested} at the end; "
        f"{trained:.1f} M trained parameters, {where}"
    )
    return [line, *notes]
