"""Several GPUs: DistributedDataParallel under torchrun, else DataParallel in one process."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model import FewShotNetwork
from util.distributed import group


class FewShotDataParallel(nn.DataParallel):
    """DataParallel that puts gathered outputs in the order of one process.

    Replicas return "support_self" k-major over their part of the batch; one after the other they are
    device-major, and would be compared with the masks of other images.
    """

    def gather(self, outputs: Sequence[dict[str, Tensor]], output_device: torch.device) -> dict[str, Tensor]:
        gathered = super().gather(outputs, output_device)
        if "support_self" in gathered:
            gathered["support_self"] = k_major(gathered["support_self"], [len(out["final"]) for out in outputs])
        return gathered


def k_major(x: Tensor, batches: Sequence[int]) -> Tensor:
    """Reorder (K*B, ...) from [replica, k, image] to [k, image], where replica r had batches[r] images."""
    shot = len(x) // sum(batches)
    parts = x.split([shot * batch for batch in batches])
    return torch.cat([part.unflatten(0, (shot, -1)) for part in parts], 1).flatten(0, 1)


def released_masks(masks: Sequence[Tensor], replicas: int) -> list[Tensor]:
    """The masks that the release's loss compares each support's self-score with, under DataParallel.

    It gathers the scores replica after replica, and compares them with the masks, shot after shot: with two or more
    supports mostly those of other images (docs/reproduce.md). The masks are K of (B, H, W), of the whole batch, which
    DataParallel divides among the replicas. The result has at [k][b] the mask for the score of support k of episode b.
    """
    shot, batch = len(masks), len(masks[0])
    parts = [len(part) for part in torch.arange(batch).chunk(replicas)]
    place = k_major(torch.arange(shot * batch), parts)  # of score [k, b] among those that the release gathers
    return list(torch.cat(list(masks))[place.to(masks[0].device)].split(batch))


def wrap_parallel(net: FewShotNetwork, device: torch.device, may_leave_out: bool = False) -> nn.Module:
    """The network on all GPUs: DistributedDataParallel under torchrun, else DataParallel where there are several.

    may_leave_out: whether a step may leave parameters unused, as custom code does.
    """
    if group():
        if may_leave_out:
            warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")  # though none is unused
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # for a new name, which PyTorch 2.4 does not know
            return DistributedDataParallel(
                net,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # those of frozen batch norms are the same everywhere
                find_unused_parameters=may_leave_out,
            )
    several = device == torch.device("cuda") and torch.cuda.device_count() > 1
    return FewShotDataParallel(net) if several else net
