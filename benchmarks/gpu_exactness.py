"""Whether a device computes what it should: golden logits, and replicas against one network."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu_rows import Job, Numbers, Row, row
from benchmarks.training import both_ways
from dataset.loader import to_device
from dataset.samples import Sample
from engine.options import default_device
from engine.training.flags import ComputeOptions
from engine.training.parallel import FewShotDataParallel
from engine.training.trainer import Trainer
from model import FewShotNetwork, build_model, fold_batch_norms
from model.matching import resize
from tests.model import recipe
from util.distributed import finish


@contextmanager
def tf32(convolutions: bool, products: bool) -> Iterator[None]:
    """Whether float32 is rounded to TF32 for the block."""
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cublas.allow_tf32
    cudnn.allow_tf32, cublas.allow_tf32 = convolutions, products
    try:
        yield
    finally:
        cudnn.allow_tf32, cublas.allow_tf32 = before


def plain_logits(net: FewShotNetwork, arguments: Sequence[Any]) -> Tensor:
    """Final logits as the network gives them."""
    return net(*arguments)["final"]


def planned_logits(net: FewShotNetwork, arguments: Sequence[Any], amp: bool = False) -> Tensor:
    """Final logits as planned evaluation gives them, for the last of three equal episodes of the query."""
    supports, masks, query, _ = arguments
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    with torch.autocast(query.device.type, torch.bfloat16, enabled=amp):
        *encoded, features = (net.features(x).float() for x in (*supports, query))
    pair = net.episode_prototypes(encoded, masks)
    logits = net.match_episodes(features, *(x.repeat(3, 1, 1, 1) for x in pair))
    return resize(logits[-1:], query.shape[-2:])


GOLDEN = {"1-shot": "eval_r50_refine_1shot", "5-shot": "eval_r50_refine_5shot_mixed_sizes"}
WAYS: dict[str, tuple[Callable[..., Tensor], bool, bool]] = {  # with TF32 in convolutions, in products
    "plain, float32": (plain_logits, False, False),
    "plain, TF32 in convolutions": (plain_logits, True, False),
    "plain, TF32": (plain_logits, True, True),
    "planned, float32": (planned_logits, False, False),
    "planned, TF32 in convolutions": (planned_logits, True, False),
    "planned, TF32": (planned_logits, True, True),
    "planned, bfloat16 backbone": (partial(planned_logits, amp=True), False, False),
}


def golden_logits(job: Job) -> list[Row]:
    """The device's logits against the tests' golden ones, of the same weights and images."""
    rows = []
    for shot, name in GOLDEN.items():
        golden = recipe.episode(name)
        meta = golden["meta"]
        net = build_model("ssp", meta["backbone"], refine=meta["refine"])
        recipe.fill(net, meta["backbone"], meta["centred"])
        net = net.eval().to(default_device())
        rows += [row(f"{shot}, {way}", golden_error, net, golden, *how) for way, how in WAYS.items()]
    return rows


@torch.inference_mode()
def golden_error(
    net: FewShotNetwork, golden: dict[str, Any], logits: Callable[..., Tensor], convolutions: bool, products: bool
) -> Numbers:
    """How far logits are from golden ones.

    Arguments:
        net: with the golden file's weights.
        golden: as of tests.model.recipe.episode.
        logits: plain_logits or planned_logits.
        convolutions, products: as of tf32.
    """
    device, expected = net.device, golden["out"][0]
    if (convolutions or products) and device.type != "cuda":
        return {"skipped": "only CUDA has TF32"}
    with tf32(convolutions, products):
        got = logits(net, to_device(golden["arguments"], device)).cpu()
    error = (got - expected).abs().max()
    return {
        "largest error": error.item(),
        "of the largest logit": (error / expected.abs().max()).item(),
        "pixels predicted otherwise": (got.argmax(1) != expected.argmax(1)).float().mean().item(),
    }


def replicas(job: Job) -> list[Row]:
    """Loss and gradient of DataParallel and DistributedDataParallel against those of the network itself."""
    drawn, _, net = both_ways(job)
    with tf32(False, False):
        trainer = Trainer(net, None, ComputeOptions(default_device()))
        loss, norm = loss_and_norm(trainer, drawn[0])
        return [
            ("one network", {"loss": loss, "gradient norm": norm}),
            row("DataParallel, the device listed twice", data_parallel, trainer, drawn[0], loss, norm),
            row("DistributedDataParallel, one process", one_process, trainer, drawn[0], loss, norm),
        ]


def loss_and_norm(trainer: Trainer, batch: Sample) -> tuple[float, float]:
    """The loss of a batch and the norm of its gradient."""
    loss = trainer.step(batch)
    return loss, torch.stack([p.grad.norm() for p in trainer.net.parameters() if p.grad is not None]).norm().item()


def differences(trainer: Trainer, parallel: nn.Module, batch: Sample, loss: float, norm: float) -> Numbers:
    """A network's loss and gradient norm of a batch, and how far they are from given ones.

    parallel: what wraps the network.
    """
    trainer.parallel = parallel
    own_loss, own_norm = loss_and_norm(trainer, batch)
    return {
        "loss": own_loss,
        "gradient norm": own_norm,
        "difference of the loss": abs(own_loss - loss) / loss,
        "difference of the norm": abs(own_norm - norm) / norm,
    }


def data_parallel(trainer: Trainer, *expected: Any) -> Numbers:
    """Differences of DataParallel with two replicas on one device."""
    if default_device().type != "cuda":
        return {"skipped": "DataParallel replicates on CUDA alone"}
    return differences(trainer, FewShotDataParallel(trainer.net, device_ids=[0, 0]), *expected)


def one_process(trainer: Trainer, *expected: Any) -> Numbers:
    """Differences of DistributedDataParallel in a group of this process alone."""
    on_cuda = default_device().type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group("nccl" if on_cuda else "gloo", store=store, rank=0, world_size=1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # as engine.training.parallel.wrap_parallel does
                wrapped = DistributedDataParallel(
                    trainer.net, device_ids=[0] if on_cuda else None, broadcast_buffers=False
                )
            return differences(trainer, wrapped, *expected)
        finally:
            finish()
