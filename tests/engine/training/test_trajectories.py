"""The authors' own training loops, step by step in float64, from the same weights on the same batches.

The batches come from photographs with VOC's masks, which do not belong to them (tests/real_data.py).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from dataset import open_fold, open_pool
from dataset.samples import Sample, TrainingSamples, as_input
from engine.setting import Schedule
from engine.training.data import own_samples
from engine.training.flags import ComputeOptions
from engine.training.trainer import Trainer, make_optimizer
from model import FewShotNetwork, build_model
from tests.real_data import REAL_DATA

FOLDER, VOC = REAL_DATA / "trajectories", REAL_DATA / "minivoc"
# The two others, ssp_refine_2shot with one replica and with four, started from weights that are not in the folder:
# after 24 steps their norms are a weight decay below those of an untrained network, start.pth's are not.
RUNS = ("ssp_refine_1shot", "ssp_1shot", "baseline_2shot")
LOSS, NORM = 6e-8, 1e-9  # relative; the release printed and kept its losses in float32

pytestmark = pytest.mark.skipif(not (FOLDER.is_dir() and VOC.is_dir()), reason=f"needs {FOLDER} and {VOC}")


def double(batch: Sample) -> Sample:
    return batch._replace(
        support_images=[image.double() for image in batch.support_images], query_image=batch.query_image.double()
    )


def start(method: str, refine: bool) -> FewShotNetwork:
    """The weights that the loops started from; the baseline's are the same under keys of its own."""
    state = torch.load(FOLDER / "start.pth", weights_only=True)
    net = build_model(method, "resnet50", refine)
    if method == "baseline":
        stem = {"layer0.0.": "backbone.conv1.", "layer0.1.": "backbone.bn1."}
        state = {
            next(
                (new + key.removeprefix(old) for old, new in stem.items() if key.startswith(old)), f"backbone.{key}"
            ): x
            for key, x in state.items()
        }
    net.load_state_dict(state)
    return net.double().train()


def trained(name: str, steps: int) -> tuple[dict[str, Any], list[float], FewShotNetwork]:
    """What the loop gave, our losses, and our network after so many steps."""
    known = json.loads((FOLDER / "release.json").read_text())[name]
    flags = known["flags"]
    schedule = Schedule(flags["episode"], flags["snapshot"], flags["batch_size"], flags["lr"])
    part = open_fold("pascal", VOC, flags["fold"]).train
    pool = open_pool(part, flags["shot"], workers=0)
    samples = TrainingSamples(
        part.images, pool, flags["shot"], flags["crop_size"], length=schedule.snapshot, seed=flags["seed"]
    )
    samples.cache_bytes = 2**28
    net = start(flags["method"], flags["refine"])
    cpu = torch.device("cpu")
    trainer = Trainer(net, make_optimizer(net, schedule.lr), ComputeOptions(cpu), flags.get("replicas"))
    own = own_samples(samples, schedule.batch_size, 0, steps)
    losses = []
    for step in range(steps):
        first = step * schedule.batch_size
        batch = default_collate([own[first + number] for number in range(schedule.batch_size)])
        rate = schedule.learning_rate(step)
        assert rate == pytest.approx(known["learning_rates"][step], rel=1e-12)
        losses.append(trainer.step(double(as_input(batch, cpu)), rate))
    return known, losses, net


@pytest.mark.parametrize("name", RUNS)
def test_six_steps(name: str) -> None:
    known, losses, _ = trained(name, 6)
    assert losses == pytest.approx(known["losses"][:6], rel=LOSS)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_whole_run(name: str) -> None:
    steps = len(json.loads((FOLDER / "release.json").read_text())[name]["losses"])
    known, losses, net = trained(name, steps)
    assert losses == pytest.approx(known["losses"], rel=LOSS)
    state = net.state_dict()
    norms = {key: state[key].norm().item() for key in known["final_norms"]}
    assert norms == pytest.approx(known["final_norms"], rel=NORM)
    worst = max(abs(a / b - 1) for a, b in zip(losses, known["losses"], strict=True))
    moved = max(abs(norms[key] / value - 1) for key, value in known["final_norms"].items())
    print(f"{name}: {steps} steps, losses within {worst:.1e}, norms within {moved:.1e}")
