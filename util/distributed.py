"""Several processes under torchrun: who am I, and sums over all of us. Alone, everything is a no-op."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import torch
import torch.distributed as dist
from torch import Tensor

from util.errors import UserError, launched


def start(device: torch.device) -> torch.device:
    """Join the other processes, if there are any (nccl on CUDA, gloo on the CPU); returns the device to use.

    On CUDA each process takes the GPU of its local rank. Raises UserError where there is none for it.
    """
    if launched() and not dist.is_initialized():
        if device.type == "cuda":
            local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if device.index is not None and int(os.environ["WORLD_SIZE"]) > 1:
                raise UserError(f"--device {device} is one GPU for all processes; leave the number out")
            if local >= gpus:
                raise UserError(f"process {local} has no GPU of the {gpus}; lower --nproc-per-node, or --device cpu")
            device = torch.device("cuda", local)
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def finish() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's tensor of this shape, in all of them."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line, once whatever the number of processes."""
    if rank() == 0:
        print(line, file=file, flush=True)


def any_process(yes: bool) -> bool:
    """Whether it is so in any of the processes."""
    if not dist.is_initialized():
        return yes
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    return bool(sum_over_processes(torch.tensor(int(yes), device=device)).item())


def from_first(value: str) -> str:
    """The first process's value, in all of them."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process runs the block before the others do: what it leaves on disk is there for them."""
    if dist.is_initialized() and rank() > 0:
        dist.barrier()
    yield
    if dist.is_initialized() and rank() == 0:
        dist.barrier()
