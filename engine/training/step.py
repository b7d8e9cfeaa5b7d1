"""A training step (docs/method.md, section 4), in one process or many: the same samples, the same averages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Subset

from dataset.samples import Sample, TrainingSamples
from engine.training.parallel import FewShotDataParallel
from model import FewShotNetwork
from model.loss import loss_terms, total_loss, valid_pixels
from util.distributed import launched, rank, sum_over_processes, world
from util.errors import UserError

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def make_optimizer(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD over what needs a gradient."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)


def learning_rate(initial: float, iteration: int, iterations: int) -> float:
    """Divided by ten after one third and after two thirds of the iterations."""
    return initial * 0.1 ** sum(iteration >= step for step in drops(iterations))


def drops(iterations: int) -> list[int]:
    """The steps from which on the learning rate is a tenth of what it was."""
    return [step for step in (iterations // 3, iterations * 2 // 3) if step]


def spread(net: FewShotNetwork, device: torch.device) -> nn.Module:
    """The network on all GPUs: DistributedDataParallel under torchrun, else DataParallel where there are several."""
    if launched():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a new name, which PyTorch 2.4 does not know
            return DistributedDataParallel(
                net,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # those of the frozen batch norms are the same everywhere
            )
    several = device == torch.device("cuda") and torch.cuda.device_count() > 1
    return FewShotDataParallel(net) if several else net


def own_samples(samples: TrainingSamples, batch_size: int, first_step: int, steps: int) -> Subset:
    """This process's part of the batches of some steps, numbered over the whole run."""
    per_snapshot = samples.length // batch_size
    share = batch_size // world()
    numbers = []
    for step in range(first_step, first_step + steps):
        epoch, position = divmod(step, per_snapshot)
        start = epoch * samples.length + position * batch_size + rank() * share
        numbers += range(start, start + share)
    return Subset(samples, numbers)


def train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Sample,
    lr: float,
    accumulate: int = 1,
    scaler: torch.amp.GradScaler | None = None,
) -> float:
    """One step of SGD on the processes' parts of a batch; returns the loss of the whole batch before the step.

    Arguments as for :func:`loss_and_gradients`. Raises UserError, before the step, on a loss that is not finite.
    """
    optimizer.zero_grad()
    value = loss_and_gradients(net, batch, accumulate, scaler).item()
    if not math.isfinite(value):
        raise UserError(f"the loss is {value}")
    for group in optimizer.param_groups:
        group["lr"] = lr
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    return value


def loss_and_gradients(
    net: nn.Module, batch: Sample, accumulate: int = 1, scaler: torch.amp.GradScaler | None = None
) -> Tensor:
    """The loss of the whole batch, of which each process holds a part; its gradients are added up in the parameters.

    accumulate: parts that a process's batch is taken in, for less memory. However it is divided, every loss term is
    the mean over the valid pixels of the whole batch.
    """
    counts = {name: sum_over_processes(count) for name, count in valid_pixels(batch[3], batch[1]).items()}
    total = torch.zeros((), device=batch[3].device)
    for number, part in enumerate(parts(batch, accumulate)):
        waits = isinstance(net, DistributedDataParallel) and number + 1 < accumulate
        with net.no_sync() if waits else nullcontext():
            support_images, support_masks, query_image, query_mask = part
            out = net(support_images, support_masks, query_image, query_mask)
            loss = total_loss(loss_terms(out, query_mask, support_masks, counts))
            scaled = loss * world()  # of which DistributedDataParallel takes the mean
            (scaled if scaler is None else scaler.scale(scaled)).backward()
        total += loss.detach()
    return sum_over_processes(total)


def parts(batch: Sample, count: int) -> list[Sample]:
    """A batch in equal parts."""

    def split(x: Tensor | Sequence[Tensor]) -> list:
        if isinstance(x, Tensor):
            return list(x.chunk(count))
        return list(zip(*(split(one) for one in x), strict=True))

    return list(zip(*(split(x) for x in batch), strict=True))
