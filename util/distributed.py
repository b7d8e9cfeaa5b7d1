"""Several processes under torchrun: their ranks, sums over them, messages. In a single process nothing is exchanged."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

from util.errors import UserError, first_line, printable
from util.numbers import is_whole
from util.watch import watch_others

if TYPE_CHECKING:  # what needs no torch, such as --help, does not wait for it
    import torch
    from torch import Tensor


has_joined = False  # whether this process has begun to join others: what it meets from then on may be its own affair


def launched() -> bool:
    """Whether this process is one of several of a run: of torchrun's, or by the variables RANK and WORLD_SIZE."""
    return "TORCHELASTIC_RUN_ID" in os.environ or _told("WORLD_SIZE") > 1


def _told(name: str) -> int:
    """The whole number of an environment variable; 0 if it is none."""
    value = os.environ.get(name, "")
    return int(value) if is_whole(value) else 0


def _local_rank() -> int | None:
    """The number of this process on its machine, as torchrun or Slurm tells it."""
    return next((_told(name) for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), None)


def is_first_here() -> bool:
    """Whether this is the first of the run's processes on its machine, by the variables: it says why they end."""
    return (_told("RANK") if (local := _local_rank()) is None else local) == 0


def _check_slurm() -> None:
    """Raise UserError if Slurm runs a task of several that know nothing of each other."""
    tasks = _told("SLURM_NTASKS")
    if launched() or tasks < 2:
        return
    line = f"Slurm has {tasks} tasks, and this process does not join the others"
    how = "start torchrun in one task a node, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in each"
    if _told("SLURM_PROCID") or "SLURM_STEP_ID" in os.environ:  # without a step it is the batch script, which is one
        raise UserError(f"{line}; {how}")
    say(f"note: {line}: {how}", file=sys.stderr)


def group() -> Any:
    """torch.distributed, if this process has joined others; None in a single process."""
    dist = sys.modules.get("torch.distributed")  # one that was never imported has joined nothing
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def start(device: torch.device) -> torch.device:
    """Join the other processes, if there are any (nccl on CUDA, gloo on the CPU); returns the device to use.

    On CUDA each process takes the GPU of its local rank. Raises UserError if this machine lacks that GPU.
    """
    _check_slurm()
    if not launched() or group():
        return device
    global has_joined
    has_joined = True
    import torch

    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        local = _told("RANK") % max(gpus, 1) if (told := _local_rank()) is None else told
        if device.index is not None and _told("WORLD_SIZE") > 1:
            raise UserError(f"--device {device} is one GPU for all processes; leave the number out")
        if local >= gpus:
            raise UserError(f"only {gpus} GPUs, none for process {local}; lower --nproc-per-node, or --device cpu")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    try:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except ValueError as error:  # a variable that torchrun sets is missing
        name = "TORCHELASTIC_RUN_ID" if "TORCHELASTIC_RUN_ID" in os.environ else "WORLD_SIZE"
        line = f"{name} is set, but not by torchrun ({first_line(error)})"
        raise UserError(f"{line}; start with torchrun, or unset it") from error
    except RuntimeError as error:
        if "connectFullMesh" not in str(error):
            raise
        line = "the processes do not reach each other at the addresses that their machines' names have"
        raise UserError(f"{line}; set GLOO_SOCKET_IFNAME to the network card between them, such as eth0") from error
    return device


def finish() -> None:
    """Leave the process group, if this process is in one."""
    if dist := group():
        dist.destroy_process_group()


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes for the block and leave them at its end, whatever ends it; gives the device to use.

    When a machine or the network between them is gone in the block, this process ends (util.watch).
    """
    try:
        device = start(device)
        with watch_others(rank(), world(), is_first_here()) if world() > 1 else nullcontext():
            yield device
    finally:
        finish()


def rank() -> int:
    """The number of this process; 0 if it is the only one."""
    return dist.get_rank() if (dist := group()) else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if (dist := group()) else 1


def sum_over_processes(x: Tensor) -> Tensor:
    """Add up the tensors of all processes, in place; returns the sum in every process."""
    if dist := group():
        dist.all_reduce(x)
    return x


def from_all(x: Tensor) -> Tensor:
    """The tensors of all processes, of one shape, one after the other along the first dimension."""
    if not (dist := group()):
        return x
    import torch

    gathered = [torch.empty_like(x) for _ in range(world())]
    dist.all_gather(gathered, x.contiguous())
    return torch.cat(gathered)


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines once, in the first process; what cannot be printed, such as a line break in a name, is escaped.

    A run goes on without whoever has stopped to read it, or a terminal. What a program is started for, such as the
    tables of report.py, it prints itself: without a reader it ends.
    """
    if (heard := _heard.get()) is not None:
        heard.extend(lines)
    elif lines and rank() == 0:
        try:
            text = "".join(f"{printable(line)}\n" for line in lines)  # in one piece, beside other threads
            print(text, end="", file=file, flush=True)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            mute(file or sys.stdout)


_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


@contextmanager
def hear() -> Iterator[list[str]]:
    """The lines that are said in the block, in this thread, in place of their printing."""
    lines: list[str] = []
    token = _heard.set(lines)
    try:
        yield lines
    finally:
        _heard.reset(token)


@cache
def say_once(line: str) -> None:
    """:func:`say` a line that was not said before."""
    say(line)


def mute(stream: TextIO) -> None:
    """Let what is written to a stream from now on go nowhere."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def any_process(yes: bool) -> bool:
    """Whether ``yes`` is true in any of the processes."""
    if not (dist := group()):
        return yes
    import torch

    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else "cpu"
    return bool(sum_over_processes(torch.tensor(int(yes), device=device)).item())  # each step: no objects


def spread_from_first(x: Tensor) -> None:
    """Give a tensor the values of the first process's, in place."""
    if dist := group():
        dist.broadcast(x, 0)


def values_of_all(value: Any) -> list[Any]:
    """The values of all processes, in every process; small plain values."""
    values = [value] * world()
    if dist := group():
        dist.all_gather_object(values, value)
    return values


def first_known(value: Any) -> Any:
    """The value of the first process whose value is not empty, in every process."""
    return next(filter(None, values_of_all(value)), value)


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the block in the first process before the others, which then find on disk what it wrote."""
    if (dist := group()) and rank() > 0:
        dist.barrier()
    yield
    if dist and rank() == 0:
        dist.barrier()
