"""Planned evaluation gives the counts of the plain one, whatever is cached and however many processes share it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset import Fold, Pascal, class_index, open_fold, plan_episodes
from dataset.episodes import Episode
from dataset.images import ImageSet
from dataset.loader import batches
from dataset.samples import EvaluationEpisodes
from engine.evaluation.evaluate import count_plainly, evaluate
from engine.evaluation.metric import count_pixels
from engine.evaluation.planned import count_planned, group
from engine.evaluation.protocol import HSNET, PAPER, EvaluationOptions, Protocol
from model import FewShotNetwork, build_model, calibrate_batch_norms, fold_batch_norms
from model.matching import resize
from tests.files import CHECKOUT, PIXELS
from tests.model import recipe
from tests.real_data import REAL_DATA

ROUNDING = 1e-4  # of the largest logit: what sums in another order, or folded batch norms, may change
MINIVOC, PHOTOGRAPHS = REAL_DATA / "minivoc", REAL_DATA / "photographs"


def network(method: str, refine: bool) -> FewShotNetwork:
    """Golden weights: their logits are decided, so that sums of another order move hardly a pixel."""
    net = build_model(method, refine=refine)
    recipe.fill(net, "resnet50")
    return net.eval()


def drawn(fold: Fold, shot: int, count: int, seed: int = 0) -> list[Episode]:
    return plan_episodes(class_index(fold.test.images, 1), fold.test.classes, shot, seed, count)


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    """At most one pixel in ten thousand predicted otherwise."""
    assert got.shape == expected.shape
    assert torch.equal(got.sum(1), expected.sum(1))  # the same pixels counted
    assert torch.equal(got[:, [0, 2]].sum(1), expected[:, [0, 2]].sum(1))  # the same targets
    assert (got - expected).abs().sum() <= 1e-4 * expected.sum()


@torch.inference_mode()
def same_but_for_ties(
    net: FewShotNetwork, images: ImageSet, episodes: list[Episode], protocol: Protocol = PAPER
) -> int:
    """Planned evaluation counts every pixel as the plain one does, but for those whose two logits rounding may swap.

    Arguments:
        net, images, episodes, protocol: as of count_planned.
    Returns:
        Its backbone passes.
    """
    counts, passes = count_planned(net, images, episodes, protocol)
    assert torch.equal(count_plainly(net, images, episodes, 0, protocol).sum(1), counts.sum(1))
    samples = EvaluationEpisodes(images, episodes, protocol.side, protocol.ignored_is_background)
    for got, (support_images, masks, query, truth) in zip(counts, batches(samples, 1, 0), strict=True):
        logits = net(support_images, masks, query)["final"]
        tied = (logits[:, 1] - logits[:, 0]).abs() <= 2 * ROUNDING * logits.abs().max()
        moved = (got - count_pixels(logits.argmax(1), truth)).abs()
        assert moved[[0, 2]].max() <= (tied & (truth == 1)).sum()  # of the target's pixels
        assert moved[[1, 3]].max() <= (tied & (truth == 0)).sum()
        assert tied.float().mean() < 0.01
    return passes


@pytest.mark.parametrize("method", ["ssp", "baseline"])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shot", [1, 2])
@pytest.mark.parametrize("protocol", [PAPER, replace(HSNET, side=100)], ids=lambda protocol: protocol.name)
def test_equals_plain(toy: Path, method: str, refine: bool, shot: int, protocol: Protocol) -> None:
    if method == "baseline" and refine:
        pytest.skip("the baseline has nothing to refine")
    fold = open_fold("pascal", toy, 0)
    episodes = drawn(fold, shot, 12)
    passes = same_but_for_ties(network(method, refine), fold.test.images, episodes, protocol)
    assert passes == len({image for episode in episodes for image in (episode.query, *episode.supports)})


def test_cache_of_any_size_gives_the_same(toy: Path) -> None:
    fold = open_fold("pascal", toy, 0)
    net, episodes = network("ssp", True), drawn(fold, 2, 20)
    full, once = count_planned(net, fold.test.images, episodes)
    one_image = 1024 * 17 * 17 * 4 + 129 * 129
    (some, between), (none, twice) = (
        count_planned(net, fold.test.images, episodes, options=EvaluationOptions(cache_gb=cached / 2**30))
        for cached in (2 * one_image, 0)
    )
    assert torch.equal(full, some)
    assert torch.equal(full, none)
    of_query, of_support = group(episodes)
    both = len(of_query.keys() & of_support.keys())
    assert both > 2
    assert (once, between, twice) == (once, once + both - 2, once + both)


def test_a_query_of_many_episodes_is_matched_in_parts(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = open_fold("pascal", toy, 2)
    net = network("ssp", True)
    episodes = [each for each in drawn(fold, 1, 4) for _ in range(5)]
    whole, _ = count_planned(net, fold.test.images, episodes)
    monkeypatch.setattr("engine.evaluation.planned.MATCHED_TOGETHER", 2)
    parts, _ = count_planned(net, fold.test.images, episodes)
    close(parts, whole)


def test_evaluate_reports_both_engines_alike(toy: Path) -> None:
    fold = open_fold("pascal", toy, 2)
    net = network("ssp", False)
    plans = {seed: drawn(fold, 1, 5, seed) for seed in (3, 4)}
    planned, plain = (
        evaluate(net, fold.test.images, plans, options=EvaluationOptions(engine=engine))
        for engine in ("planned", "plain")
    )
    assert [result["seed"] for result in planned["seeds"]] == [3, 4]
    assert planned["miou"] == pytest.approx(plain["miou"], abs=PIXELS)
    assert planned["fb_iou"] == pytest.approx(plain["fb_iou"], abs=PIXELS)
    assert plain["trunk_passes"] == 20
    assert planned["trunk_passes"] == planned["images"] == plain["images"] <= 20
    assert planned["peak_memory_gb"] > 0


WORKER = """
import sys, torch
from dataset import class_index, open_fold, plan_episodes
from tests.engine.evaluation.test_planned import drawn, network
from util import distributed
from engine.evaluation.planned import count_planned
distributed.start(torch.device("cpu"))
fold = open_fold("pascal", sys.argv[1], 0)
counts, passes = count_planned(network("ssp", True), fold.test.images, drawn(fold, 2, 10))
torch.save([counts, passes], f"{sys.argv[2]}.{distributed.rank()}")
distributed.finish()
"""


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_images(toy: Path, tmp_path: Path, processes: int) -> None:
    fold = open_fold("pascal", toy, 0)
    expected, passes = count_planned(network("ssp", True), fold.test.images, drawn(fold, 2, 10))
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(script), str(toy), str(tmp_path / "out")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for rank in range(processes):
        counts, its_passes = torch.load(tmp_path / f"out.{rank}", weights_only=True)
        close(counts, expected)
        assert its_passes == passes


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="needs photographs with their own masks")
@pytest.mark.parametrize("method", ["ssp", "baseline"])
@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("protocol", [PAPER, HSNET], ids=lambda protocol: protocol.name)
def test_real_images_give_the_same_miou(method: str, shot: int, protocol: Protocol) -> None:
    """mIoU and FB-IoU of both engines within a thousandth of a point, on photographs with their own masks."""
    fold = open_fold("pascal", PHOTOGRAPHS, 0)
    plans = {0: drawn(fold, shot, 15)}
    images = Pascal(PHOTOGRAPHS).open_images(plans[0])
    for refine in (False, True)[: 1 + (method == "ssp")]:
        net = build_model(method, refine=refine)
        torch.manual_seed(0)
        recipe.fill(net, "resnet50", centred=False)
        calibrate_batch_norms(net, torch.randn(2, 3, 129, 129))
        results = [
            evaluate(net.eval(), images, plans, protocol, fold.test.classes, EvaluationOptions(engine=engine))
            for engine in ("planned", "plain")
        ]
        for value in ("miou", "fb_iou"):
            assert results[0][value] == pytest.approx(results[1][value], abs=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not MINIVOC.is_dir(), reason="needs photographs of VOC's sizes with VOC's masks")
@pytest.mark.parametrize("method", ["ssp", "baseline"])
@pytest.mark.parametrize("shot", [1, 5])
def test_real_images_give_the_same_logits(method: str, shot: int) -> None:
    """Within 1e-4 of the largest logit, batch norms folded, at image size, for every episode of one query."""
    fold = open_fold("pascal", MINIVOC, 0)
    for refine in (False, True)[: 1 + (method == "ssp")]:
        net = network(method, refine)
        folded = fold_batch_norms(net).to(memory_format=torch.channels_last)
        plan = drawn(fold, shot, 60)
        episodes = [episode for episode in plan if episode.query == plan[0].query][:4]
        with torch.inference_mode():
            means, expected = [], []
            for sample in batches(EvaluationEpisodes(fold.test.images, episodes), 1, 0):
                images, masks, query, _ = sample
                expected.append(net(images, masks, query)["final"])
                means.append(folded.episode_prototypes([folded.features(x) for x in images], masks))
            fg, bg = (torch.cat(part) for part in zip(*means, strict=True))
            got = resize(folded.match_episodes(folded.features(query), fg, bg), query.shape[-2:])
        assert (got - torch.cat(expected)).abs().max() <= 1e-4 * torch.cat(expected).abs().max()
