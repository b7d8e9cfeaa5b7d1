"""The networks around the matching: what is built, frozen, calibrated, returned and summed up."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from model import BACKBONES, METHODS, build_model, calibrate_batch_norms
from model.loss import loss_terms, total_loss
from model.resnet import FrozenBatchNorm2d, LinearBottleneck

SIDE = 33


@pytest.fixture(scope="module", params=["ssp", "baseline"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    """A calibrated random network in double precision, refining where it can; tests set its mode."""
    torch.manual_seed(0)
    net = build_model(request.param, refine=request.param == "ssp").double()
    calibrate_batch_norms(net, torch.randn(4, 3, SIDE, SIDE, dtype=torch.float64))
    return net


def episodes(count: int, shot: int) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Random arguments of a network: every mask has foreground, background and ignored pixels."""
    generator = torch.Generator().manual_seed(1)

    def image() -> Tensor:
        return torch.randn(count, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)

    def mask() -> Tensor:
        labels = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
        for number in range(count):
            top, left = torch.randint(2, 16, (2,), generator=generator).tolist()
            labels[number, top : top + 16, left : left + 16] = 1
            labels[number, top] = 255
        return labels

    return [image() for _ in range(shot)], [mask() for _ in range(shot)], image(), mask()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": "SSP"}, "'SSP' is not one of"),
        ({"backbone": "resnet18"}, "'resnet18'"),
        ({"method": "baseline", "refine": True}, "nothing to refine"),
    ],
)
def test_build_model_refuses_what_there_is_not(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_model(**arguments)


def test_names() -> None:
    assert METHODS == ("ssp", "baseline")
    assert BACKBONES == ("resnet50", "resnet101")


def test_training_needs_the_query_mask(net: nn.Module) -> None:
    supports, support_masks, query, query_mask = episodes(1, 1)
    net.train()
    with pytest.raises(ValueError, match="query_mask"):
        net(supports, support_masks, query)
    training = {"ssp": ["final", "out1", "query_self", "support_self"], "baseline": ["final"]}
    assert list(net(supports, support_masks, query, query_mask)) == training[net.method]


def test_outputs(net: nn.Module) -> None:
    supports, support_masks, query, query_mask = episodes(2, 3)
    query = query[..., :25]
    with torch.no_grad():
        evaluated = net.eval()(supports, support_masks, query)
        trained = net.train()(supports, support_masks, query, query_mask[..., :25])
    assert list(evaluated) == {"ssp": ["final", "out1"], "baseline": ["final"]}[net.method]
    assert all(logits.shape == (2, 2, SIDE, 25) for logits in evaluated.values())
    assert all(torch.allclose(trained[name].to(logits), logits, atol=1e-4) for name, logits in evaluated.items())
    if net.method == "ssp":
        assert trained["query_self"].shape == (2, 2, SIDE, 25)
        assert trained["support_self"].shape == (6, 2, SIDE, SIDE)


def test_support_scores_are_k_major(net: nn.Module) -> None:
    if net.method == "baseline":
        pytest.skip("the baseline has none")
    supports, support_masks, query, query_mask = episodes(2, 2)
    with torch.no_grad():
        together = net.train()(supports, support_masks, query, query_mask)["support_self"]
        for shot in range(2):
            for image in range(2):
                one = slice(image, image + 1)
                alone = net([supports[shot][one]], [support_masks[shot][one]], query[one], query_mask[one])
                torch.testing.assert_close(together[2 * shot + image], alone["support_self"][0])


def test_a_batch_equals_its_images(net: nn.Module) -> None:
    supports, support_masks, query, _ = episodes(2, 2)
    net.eval()
    with torch.no_grad():
        together = net(supports, support_masks, query)
        for image in range(2):
            one = slice(image, image + 1)
            alone = net([x[one] for x in supports], [x[one] for x in support_masks], query[one])
            for name, logits in alone.items():
                torch.testing.assert_close(together[name][one], logits, rtol=1e-9, atol=1e-9)


def test_shots_are_averaged(net: nn.Module) -> None:
    supports, support_masks, query, _ = episodes(1, 1)
    with torch.no_grad():
        once = net.eval()(supports, support_masks, query)["final"]
        thrice = net(supports * 3, support_masks * 3, query)["final"]
    torch.testing.assert_close(once, thrice)


def test_frozen_batch_norms(net: nn.Module) -> None:
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 45  # 3 in the stem, 3 in each of 13 bottlenecks, 1 in each of 3 downsamplings
    assert all(isinstance(norm, FrozenBatchNorm2d) for norm in norms)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.train()
    assert net.training
    assert not any(norm.training for norm in norms)
    net(*episodes(1, 1))
    after = net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_new_frozen_batch_norm_is_frozen() -> None:
    norm = FrozenBatchNorm2d(2)
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(norm(x), x / math.sqrt(1 + 1e-5))
    assert norm.num_batches_tracked == 0
    assert not norm.weight.requires_grad
    assert not norm.bias.requires_grad


def test_what_is_trained(net: nn.Module) -> None:
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    convolutions = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    if net.method == "ssp":
        assert trained == {name for name in convolutions if name.startswith(("backbone.layer2.", "backbone.layer3."))}
        assert len(trained) == 32
    else:
        assert trained == convolutions
        assert len(trained) == 45
    net.train()
    total_loss(loss_terms(net(*episodes(1, 1)), episodes(1, 1)[3], episodes(1, 1)[1])).backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == trained
    assert all(p.grad.abs().sum() > 0 for p in net.parameters() if p.grad is not None)
    net.zero_grad()


def test_features_may_be_negative(net: nn.Module) -> None:
    with torch.no_grad():
        features = net.features(torch.randn(1, 3, 65, SIDE, dtype=torch.float64))
    assert features.shape == (1, 1024, 9, 5)
    assert features.min() < 0
    assert [isinstance(m, LinearBottleneck) for m in net.backbone.layer3] == [
        False, False, False, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_calibration_normalises_every_activation(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = build_model(method)
    images = 3 * torch.randn(4, 3, 65, 65) + 2
    weights = {name: p.clone() for name, p in net.named_parameters()}
    calibrate_batch_norms(net, images)
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())

    norms = [module for module in net.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert {norm.momentum for norm in norms} == {0.1}
    outputs: list[Tensor] = []

    def recorded(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
        outputs.append(norm(conv(x)))
        return outputs[-1].clone()

    monkeypatch.setattr("model.resnet.conv_norm", recorded)
    with torch.no_grad():
        net.features(images)
    assert len(outputs) == len(norms)
    for out in outputs:
        assert out.mean((0, 2, 3)).abs().max() < 0.2  # not exactly 0 and 1: running variances are
        assert (out.var((0, 2, 3)) - 1).abs().max() < 0.2  # unbiased, those of the pass itself are not


def test_loss_leaves_ignored_pixels_out() -> None:
    log3 = math.log(3)
    logits = torch.tensor([[[[0.0, log3, 50.0]], [[log3, 0.0, 0.0]]]])  # p of label 1: 3/4, 1/4, about 0
    mask = torch.tensor([[[1, 1, 255]]])
    terms = loss_terms({"final": logits}, mask, [])
    assert terms["final"].item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 4)) / 2)
    assert loss_terms({"final": logits}, torch.tensor([[[255, 0, 255]]]), [])["final"].item() == pytest.approx(
        -math.log(3 / 4)
    )


def test_support_loss_takes_the_supports_masks_in_order() -> None:
    sure = 100 * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])[..., None, None]  # 0, 1, 1, 0
    support_masks = [torch.tensor([0, 1])[:, None, None], torch.tensor([1, 0])[:, None, None]]
    query_mask = torch.tensor([1, 0])[:, None, None]
    out = {"final": torch.zeros(2, 2, 1, 1), "support_self": sure}
    terms = loss_terms(out, query_mask, support_masks)
    assert terms["support_self"].item() == pytest.approx(0, abs=1e-6)
    assert terms["final"].item() == pytest.approx(math.log(2))
    assert loss_terms(out, query_mask, support_masks[::-1])["support_self"].item() == pytest.approx(200)


def test_loss_weights() -> None:
    terms = {"final": 1.0, "out1": 10.0, "query_self": 100.0, "support_self": 1000.0}
    assert total_loss({name: torch.tensor(value) for name, value in terms.items()}).item() == pytest.approx(311)
    assert total_loss({"final": torch.tensor(2.0)}).item() == 2
