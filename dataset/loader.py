"""A DataLoader whose workers hand a user's error back as one line, and leave Ctrl-C to the main process."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from util.errors import UserError
from util.interrupts import leave_interrupts_to_parent, no_interrupts
from util.processes import keep_inherited


class _ErrorsAsItems(Dataset):
    """A worker's exception would arrive with its traceback for a message; an item arrives as it is."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except UserError as error:
            return UserError(*error.args)  # as from a process: no traceback, which would hold all frames of the loading


def _collate(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, UserError)), None) or default_collate(items)


OUTLIVES_SIGTERM = 10  # seconds that a loader process outlives a SIGTERM, which the first process may want to save at


def _leave_interrupts_to_parent(_worker: int) -> None:
    keep_inherited()
    leave_interrupts_to_parent(terminate=lambda *_: signal.alarm(OUTLIVES_SIGTERM))
    signal.signal(signal.SIGBUS, signal.SIG_DFL)  # of full shared memory, of which the parent says one line for all


def batches(dataset: Dataset, batch_size: int, workers: int, pin_memory: bool = False) -> Generator[Any, None, None]:
    """Load a dataset's items in order, collated; the last short batch is dropped. At its end no loader process is left.

    Arguments:
        dataset: of tensors, or of tuples of them.
        batch_size: items of a batch.
        workers: loader processes; 0 for none but this.
        pin_memory: whether batches are copied to a GPU next.
    Raises:
        UserError: one that an item raised, in whichever process.
    """
    loader = DataLoader(
        _ErrorsAsItems(dataset),
        batch_size=batch_size,
        drop_last=True,
        num_workers=min(workers, len(dataset)),
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=_leave_interrupts_to_parent,
    )
    with ExitStack() as at_end:
        with no_interrupts():
            loaded = iter(loader)
            if loader.num_workers:  # left to itself it stops them when it is collected, which a traceback puts off
                at_end.callback(loaded._shutdown_workers)
        for batch in loaded:
            if isinstance(batch, UserError):
                raise UserError(*batch.args)  # a new one: its traceback holds this frame, and this frame the batch
            yield batch


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch's tensors, nested in lists or tuples, on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    return [to_device(part, device) for part in batch]
