"""A network in training: a step of SGD, in one process or many (docs/method.md, section 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dataset.samples import Sample
from engine.checkpoint import errors_name, load_network
from engine.training.flags import ComputeOptions
from engine.training.parallel import released_masks, wrap_parallel
from engine.training.state import Training
from model import FewShotNetwork
from model.loss import loss_terms, total_loss, valid_pixels
from model.settings import LOSS_WEIGHTS
from model.weights import is_dense
from util.distributed import from_all, rank, spread_from_first, sum_over_processes, world
from util.errors import UserError

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
DTYPES = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}  # what --amp takes


class Trainer:
    """A network in training with its optimizer (None if nothing is trained), on all devices of a run.

    Arguments:
        released_order: None, or compare the supports' self-scores with the masks with which the release compares them
            on so many GPUs (engine.training.parallel.released_masks).
        may_leave_out: as of wrap_parallel.
        loss_weights: of the network's outputs, as of total_loss.
    """

    def __init__(
        self,
        net: FewShotNetwork,
        optimizer: torch.optim.Optimizer | None,
        compute: ComputeOptions,
        released_order: int | None = None,
        may_leave_out: bool = False,
        loss_weights: Mapping[str, float] = LOSS_WEIGHTS,
    ) -> None:
        self.net, self.optimizer, self.released_order = net.train(), optimizer, released_order
        self.device, self.accumulate = compute.device, compute.accumulate
        self.loss_weights = loss_weights
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.amp == "fp16")
        self.parallel = wrap_parallel(net, compute.device, may_leave_out) if optimizer else net

    def step(self, batch: Sample, lr: float | None = None) -> float:
        """Take a step of SGD on a batch, of which each process holds a part; returns the whole batch's loss before it.

        However the batch is divided, every loss term is the mean over the valid pixels of the whole batch.

        Arguments:
            batch: this process's part, normalised, on the network's device.
            lr: the learning rate of the step; None to compute the gradients and leave the weights as they are.
        Raises:
            UserError: the loss is not finite; no step was taken.
        """
        self.net.zero_grad()
        compared = masks_of_release(batch, self.released_order) if self.released_order else batch.support_masks
        pixels = valid_pixels(batch.query_mask, batch.support_masks)
        counts = {name: sum_over_processes(count) for name, count in pixels.items()}
        total = torch.zeros((), device=batch.query_mask.device)
        others = parts(batch._replace(support_masks=compared), self.accumulate)
        for number, (part, other) in enumerate(zip(parts(batch, self.accumulate), others, strict=True)):
            waits = isinstance(self.parallel, DistributedDataParallel) and number + 1 < self.accumulate
            with self.parallel.no_sync() if waits else nullcontext():
                out = self.parallel(*part)
                loss = total_loss(loss_terms(out, part.query_mask, other.support_masks, counts), self.loss_weights)
                # DistributedDataParallel takes the mean over the processes.
                self.scaler.scale(loss * world()).backward()
            total += loss.detach()
        value = sum_over_processes(total).item()
        if not math.isfinite(value):
            raise UserError(f"the loss is {value}")
        if lr is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return value

    def spread_buffers(self) -> None:
        """Give all processes the first one's buffers: each has its own of a custom head's batch norms."""
        for buffer in self.net.buffers():
            spread_from_first(buffer)

    def time_step(self, batch: Sample) -> float:
        """Seconds of a forward and backward pass, which change no weight: the faster of two, as the first warms up."""
        buffers = [(buffer, buffer.clone()) for buffer in self.net.buffers()]  # a head's batch norms would move
        times = []
        for _ in range(2):
            started = time.perf_counter()
            self.step(batch)
            times.append(time.perf_counter() - started)
        for buffer, before in buffers:
            buffer.copy_(before)
        return min(times)

    def put_into(self, state: Training) -> None:
        """Put all that a step changes into the state of a run."""
        state.state_dict = self.net.state_dict()
        state.optimizer = self.optimizer.state_dict() if self.optimizer else {}
        state.scaler = self.scaler.state_dict()

    def restore(self, state: Training, path: Path) -> None:
        """Go on from the state of a run, which was read from a file. Raises UserError if it is that of another one."""
        for weights in filter(None, (state.best_state, state.state_dict)):  # the last ones stay
            load_network(self.net, weights, path)
        with errors_name(path):
            if self.optimizer:
                restore_optimizer(self.optimizer, state.optimizer)
            if state.scaler.keys() != self.scaler.state_dict().keys():
                raise ValueError("its scaler of gradients is not that of this run")
            self.scaler.load_state_dict(state.scaler)


def make_optimizer(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD over what needs a gradient."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put an optimizer's saved momenta back. Raises ValueError unless each has its parameter's shape."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    momenta = state.get("state")
    if type(momenta) is not dict or not momenta.keys() <= set(range(len(parameters))):
        raise ValueError("its optimizer is not that of this network")
    for number, known in momenta.items():
        if not _is_momentum(known, parameters[number]):
            raise ValueError(f"no momentum of a parameter of {tuple(parameters[number].shape)}")
    # Rates and the like are those of the flags and of the paper, whatever the file says.
    optimizer.load_state_dict({**optimizer.state_dict(), "state": momenta})


def _is_momentum(known: Any, parameter: Tensor) -> bool:
    """Whether an optimizer's state of a parameter can be its momentum, or none yet."""
    if type(known) is not dict or known.keys() - {"momentum_buffer"}:
        return False
    momentum = known.get("momentum_buffer")
    is_like = is_dense(momentum) and (momentum.shape, momentum.dtype) == (parameter.shape, parameter.dtype)
    return momentum is None or (is_like and bool(momentum.isfinite().all()))


def masks_of_release(batch: Sample, replicas: int) -> list[Tensor]:
    """This process's part of released_masks, which are chosen among those of the whole batch."""
    share = len(batch.query_mask)
    chosen = released_masks([from_all(mask) for mask in batch.support_masks], replicas)
    return [mask[rank() * share : (rank() + 1) * share] for mask in chosen]


def parts(batch: Sample, count: int) -> list[Sample]:
    """A batch in equal parts."""

    def split(x: Tensor | Sequence[Tensor]) -> Sequence:
        return x.chunk(count) if isinstance(x, Tensor) else list(zip(*map(split, x), strict=True))

    return [Sample(*part) for part in zip(*(split(x) for x in batch), strict=True)]
