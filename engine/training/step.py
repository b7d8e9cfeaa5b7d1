"""A training step (docs/method.md, section 4), in one process or many: the same samples, the same averages."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Subset

from dataset.samples import Sample, TrainingSamples
from engine.training.parallel import released_masks
from model.loss import loss_terms, total_loss, valid_pixels
from model.weights import is_dense
from util.distributed import from_all, rank, sum_over_processes, world
from util.errors import UserError

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


def make_optimizer(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD over what needs a gradient."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put an optimizer's saved momenta back. Raises ValueError unless each has its parameter's shape."""
    own = optimizer.state_dict()  # its groups hold what flags and the paper say, not what a file does
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    momenta, groups = state.get("state"), state.get("param_groups")
    is_own = type(groups) is list and [type(x) is dict and x.get("params") for x in groups] == [
        group["params"] for group in own["param_groups"]
    ]
    if not is_own or type(momenta) is not dict or not momenta.keys() <= set(range(len(parameters))):
        raise ValueError("its optimizer is not that of this network")
    for number, known in momenta.items():
        if not _is_momentum(known, parameters[number]):
            raise ValueError(f"no momentum of a parameter of {tuple(parameters[number].shape)}")
    optimizer.load_state_dict({**own, "state": momenta})


def _is_momentum(known: Any, parameter: Tensor) -> bool:
    """Whether an optimizer's state of a parameter can be its momentum, or none yet."""
    if type(known) is not dict or known.keys() - {"momentum_buffer"}:
        return False
    momentum = known.get("momentum_buffer")
    is_like = is_dense(momentum) and (momentum.shape, momentum.dtype) == (parameter.shape, parameter.dtype)
    return momentum is None or (is_like and bool(momentum.isfinite().all()))


def own_samples(samples: TrainingSamples, batch_size: int, first_step: int, steps: int) -> Subset:
    """This process's part of the batches of some steps.

    Arguments:
        samples: of a snapshot; those of later ones follow.
        batch_size: of all processes together.
        first_step, steps: which, counted over the whole run.
    """
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
    released_order: int | None = None,
) -> float:
    """Take a step of SGD on the processes' parts of a batch.

    Arguments:
        net, batch, accumulate, scaler, released_order: as of loss_and_gradients.
        optimizer: of the network's parameters.
        lr: the learning rate of the step.
    Returns:
        The loss of the whole batch before the step.
    Raises:
        UserError: the loss is not finite; no step was taken.
    """
    optimizer.zero_grad()
    value = loss_and_gradients(net, batch, accumulate, scaler, released_order).item()
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
    net: nn.Module,
    batch: Sample,
    accumulate: int = 1,
    scaler: torch.amp.GradScaler | None = None,
    released_order: int | None = None,
) -> Tensor:
    """The loss of the whole batch, of which each process holds a part; gradients are added up in the parameters.

    However the batch is divided, every loss term is the mean over the valid pixels of the whole batch.

    Arguments:
        net: in training mode.
        batch: this process's part, normalised, on the network's device.
        accumulate: parts that it is taken in, for less memory.
        scaler: of float16's gradients.
        released_order: None, or compare the supports' self-scores with the masks with which the release compares them
            on so many GPUs (engine.training.parallel.released_masks).
    """
    compared = batch.support_masks if released_order is None else masks_of_release(batch, released_order)
    counts = {
        name: sum_over_processes(count) for name, count in valid_pixels(batch.query_mask, batch.support_masks).items()
    }
    total = torch.zeros((), device=batch.query_mask.device)
    pairs = zip(parts(batch, accumulate), parts(batch._replace(support_masks=compared), accumulate), strict=True)
    for number, (part, other) in enumerate(pairs):
        waits = isinstance(net, DistributedDataParallel) and number + 1 < accumulate
        with net.no_sync() if waits else nullcontext():
            loss = total_loss(loss_terms(net(*part), part.query_mask, other.support_masks, counts))
            scaled = loss * world()  # of which DistributedDataParallel takes the mean
            (scaled if scaler is None else scaler.scale(scaled)).backward()
        total += loss.detach()
    return sum_over_processes(total)


def masks_of_release(batch: Sample, replicas: int) -> list[Tensor]:
    """This process's part of released_masks, which are chosen among those of the whole batch."""
    share = len(batch.query_mask)
    chosen = released_masks([from_all(mask) for mask in batch.support_masks], replicas)
    return [mask[rank() * share : (rank() + 1) * share] for mask in chosen]


def parts(batch: Sample, count: int) -> list[Sample]:
    """A batch in equal parts."""

    def split(x: Tensor | Sequence[Tensor]) -> list:
        if isinstance(x, Tensor):
            return list(x.chunk(count))
        return list(zip(*(split(one) for one in x), strict=True))

    return [Sample(*part) for part in zip(*(split(x) for x in batch), strict=True)]


def step_seconds(net: nn.Module, batch: Sample, accumulate: int) -> float:
    """Seconds of a forward and backward pass, which change no weight: the faster of two, as the first warms up."""

    def once() -> float:
        started = time.perf_counter()
        loss_and_gradients(net, batch, accumulate).item()
        return time.perf_counter() - started

    return min(once(), once())
