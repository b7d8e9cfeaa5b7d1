"""Networks of timm as backbones: their stages, strides, sizes and weights, and every wrong use in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dataset import transform
from model import build_model, calibrate_batch_norms, fold_batch_norms
from model.matching import resize
from model.timm_backbone import IMAGENET_MEAN, IMAGENET_STD, PATIENCE, TimmBackbone, count_download, nearest_multiple
from model.weights import adapt_pretrained

timm = pytest.importorskip("timm")

CONVNET, STRIDED, TRANSFORMER = "tf_efficientnet_lite0", "fastvit_t8", "vit_tiny_patch16_224"
SMALL = "resnet10t"


def whole_network(name: str) -> dict[str, Tensor]:
    """Weights as a file of timm's has them, the classifier included."""
    torch.manual_seed(1)
    return timm.create_model(name).state_dict()


@pytest.mark.parametrize(
    ("name", "stages", "channels", "stride", "grid"),
    [
        (CONVNET, (3,), 112, 8, (13, 17)),  # dilated: ceil(97 / 8), ceil(131 / 8)
        ("convnext_atto", (2,), 160, 8, (12, 16)),
        (STRIDED, (2,), 192, 16, (7, 9)),
        ("densenet121", (3,), 1024, 16, (6, 8)),
        ("mobilenetv3_small_050", (3,), 24, 8, (13, 17)),  # dilated without timm's getter
        ("hardcorenas_a", (3,), 112, 8, (13, 17)),  # which has none
        (TRANSFORMER, (11,), 192, 16, (6, 8)),  # 97 x 131 pixels as 6 x 8 whole patches
        ("swin_tiny_patch4_window7_224", (2,), 384, 16, (6, 8)),
        ("vit_small_patch32_224", (11,), 384, 32, (3, 4)),  # the last block, though its stride is above 16
        ("levit_128s", (0,), 128, 16, (14, 14)),  # knows one size, 224 x 224
        (f"{CONVNET}@2,3", (2, 3), 152, 8, (13, 17)),
        ("convnext_atto@0,2", (0, 2), 200, 4, (24, 32)),  # the coarser one is resized to the finer
        (f"{TRANSFORMER}@5,11", (5, 11), 384, 16, (6, 8)),
    ],
)
def test_stages_strides_and_sizes(
    name: str, stages: tuple[int, ...], channels: int, stride: int, grid: tuple[int, int]
) -> None:
    net = build_model("ssp", f"timm:{name}")
    assert (net.backbone.stages, net.channels, net.stride) == (stages, channels, stride)
    assert net.features(torch.randn(2, 3, 97, 131)).shape == (2, channels, *grid)


def test_features_are_those_of_timm_by_its_own_mean_and_deviation() -> None:
    """Of two stages, the second resized; by the network itself, whose mean and deviation are one half."""
    torch.manual_seed(0)
    backbone = TimmBackbone("convnext_atto", (0, 2)).eval()
    assert backbone.net.pretrained_cfg["mean"] == IMAGENET_MEAN
    state = {key.removeprefix("model."): value for key, value in backbone.net.state_dict().items()}
    images = torch.randn(1, 3, 64, 96)
    its_own = timm.create_model("convnext_atto", features_only=True, output_stride=8, out_indices=(0, 2)).eval()
    its_own.load_state_dict(
        {key.replace("stem.", "stem_").replace("stages.", "stages_"): x for key, x in state.items()}
    )
    with torch.no_grad():
        fine, coarse = its_own(images)
        torch.testing.assert_close(backbone(images), torch.cat([fine, resize(coarse, fine.shape[-2:])], 1))

    half = TimmBackbone(CONVNET).eval()
    assert half.net.pretrained_cfg["mean"] == half.net.pretrained_cfg["std"] == (0.5, 0.5, 0.5)
    seen: list[Tensor] = []
    half.net.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    pixels = torch.rand(1, 3, 40, 40)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        half((pixels - mean) / std)
    torch.testing.assert_close(seen[0], (pixels - 0.5) / 0.5)


def test_images_come_as_datasets_normalise_them() -> None:
    """model/ imports nothing of dataset/, so the two state the same numbers."""
    assert transform.MEAN.flatten().tolist() == pytest.approx(IMAGENET_MEAN)
    assert transform.STD.flatten().tolist() == pytest.approx(IMAGENET_STD)


@pytest.mark.parametrize("name", [CONVNET, STRIDED, TRANSFORMER, "hrnet_w18_small", "mobilenetv3_small_050"])
def test_all_is_trained_but_batch_norms_and_what_features_do_not_need(name: str) -> None:
    """What is trained has a gradient, as several processes need; statistics stay as they are."""
    net = build_model("ssp", f"timm:{name}", refine=True)
    calibrate_batch_norms(net, torch.randn(4, 3, 64, 64))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.train()
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert not any(norm.training or norm.weight.requires_grad for norm in norms if norm.affine)
    mask = torch.zeros(1, 64, 64, dtype=torch.int64)
    mask[:, 16:48, 16:48] = 1
    out = net([torch.randn(1, 3, 64, 64)], [mask], torch.randn(1, 3, 64, 64), mask)
    sum(x.square().mean() for x in out.values()).backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    assert len(trained) > 20
    assert all(p.grad is not None for p in trained)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_frozen_backbone_has_no_gradient_and_no_training_mode() -> None:
    net = build_model("ssp", f"timm:{SMALL}")
    net.freeze_backbone()
    net.train()
    assert net.training
    assert not any(module.training for module in net.backbone.modules())
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training_features(torch.randn(1, 3, 64, 64)).requires_grad


def test_folding_and_moving_change_nothing() -> None:
    net = build_model("ssp", f"timm:{CONVNET}").eval()
    calibrate_batch_norms(net, torch.randn(4, 3, 64, 64))
    images = torch.randn(1, 3, 70, 90)
    folded = fold_batch_norms(net)
    with torch.no_grad():
        assert torch.equal(folded.features(images), net.features(images))
        exact = net.double().features(images.double())
    torch.testing.assert_close(folded.features(images).double(), exact, rtol=1e-3, atol=1e-4)


def test_calibration_is_of_the_norms_alone() -> None:
    torch.manual_seed(0)
    net = build_model("baseline", f"timm:{SMALL}")
    momenta = [m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    calibrate_batch_norms(net, 3 * torch.randn(4, 3, 64, 64) + 2)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == momenta
    assert not any(norm.training for norm in norms)
    assert norms[0].running_mean.abs().max() > 0.1


@pytest.mark.parametrize(("name", "classifier"), [(SMALL, "fc."), ("mobilenetv3_small_050", "classifier.")])
def test_weights_of_a_file_are_the_networks(name: str, classifier: str) -> None:
    state = whole_network(name)
    without_classifier = {key: x for key, x in state.items() if not key.startswith(classifier)}
    without_counters = {key: x for key, x in state.items() if "num_batches" not in key}
    for weights in (state, without_classifier, without_counters):
        net = build_model("ssp", f"timm:{name}")
        adapt_pretrained(net, weights)
        own = getattr(net.backbone.net, "model", net.backbone.net).state_dict()
        assert len(own) > 50
        assert all(torch.equal(value, state[key]) for key, value in own.items())


@pytest.mark.parametrize("name", [SMALL, CONVNET])
def test_weights_under_other_names_are_taken_by_order(name: str) -> None:
    """With or without the classifier and the counters of batch norms, as packages have them."""
    state = whole_network(name)
    without_classifier = {key: x for key, x in state.items() if not key.startswith(("fc.", "classifier."))}
    without_counters = {key: x for key, x in without_classifier.items() if "num_batches" not in key}
    assert len(state) > len(without_classifier) > len(without_counters)
    for weights in (state, without_classifier, without_counters):
        net = build_model("ssp", f"timm:{name}")
        adapt_pretrained(net, rename(weights))
        own = net.backbone.whole_net.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in own.items())


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"_{number}.{key.rpartition('.')[2]}": value for number, (key, value) in enumerate(state.items())}


def test_weights_under_other_names_of_another_order_or_shape_are_refused() -> None:
    net, state = build_model("ssp", f"timm:{SMALL}"), rename(whole_network(SMALL))
    keys = list(state)
    norm = next(number for number, key in enumerate(keys) if key.endswith("bias"))
    keys[norm - 1], keys[norm] = keys[norm], keys[norm - 1]  # a norm's bias and weight have one shape
    swapped = {key: state[key] for key in keys}
    short = dict(list(state.items())[:20])
    for weights in (swapped, short, rename(whole_network("resnet14t")), {**state, "layer9.weight": torch.zeros(1)}):
        with pytest.raises(ValueError, match=rf"^\d+ of \d+ keys of timm:{SMALL} are missing, "):
            adapt_pretrained(net, weights)


def damaged(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    state = whole_network(SMALL)
    change(state)
    return state


def test_weights_of_another_network_are_refused() -> None:
    net = build_model("ssp", f"timm:{SMALL}")
    missing = "layer1.0.conv1.weight"
    refused = {
        rf"^1 of \d+ keys of timm:{SMALL} are missing, {missing} the first$": damaged(lambda x: x.pop(missing)),
        rf"^1 keys do not belong to timm:{SMALL}, layer9 the first$": damaged(
            lambda x: x.update(layer9=torch.zeros(1))
        ),
        rf"^{missing} has shape \(1,\), expected \(64, 64, 3, 3\)$": damaged(
            lambda x: x.update({missing: torch.zeros(1)})
        ),
        rf"keys do not belong to timm:{SMALL}": whole_network("resnet14t"),  # a deeper one has all its keys
        "is a trained few-shot network": build_model("ssp").state_dict(),
    }
    for says, weights in refused.items():
        with pytest.raises(ValueError, match=says):
            adapt_pretrained(net, weights)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nosuch", "^timm knows no nosuch$"),
        ("convnext_tyni", "^timm knows no convnext_tyni; close to it: convnext_tiny, "),
        (f"{SMALL}.nosuch", rf"^timm:{SMALL}\.nosuch gives no feature maps \(Invalid pretrained tag"),
        (f"{SMALL}@0,7", f"^timm:{SMALL} has the stages 0 to 4, there is no 7$"),
        ("vit_tiny_patch16_224@99", r"^timm:vit_tiny_patch16_224 has the stages 0 to 11, there is no 99$"),
    ],
)
def test_wrong_names(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_model("ssp", f"timm:{name}")


def test_whole_patches_are_rounded_as_python_rounds() -> None:
    for whole in (1, 2, 7, 14, 16, 32):
        expected = [round(side / whole) * whole for side in range(1000)]
        assert [nearest_multiple(side, whole) for side in range(1000)] == expected


def test_an_image_smaller_than_a_patch() -> None:
    net = build_model("ssp", f"timm:{TRANSFORMER}")
    assert net.features(torch.zeros(1, 3, 16, 20)).shape == (1, 192, 1, 1)
    with pytest.raises(ValueError, match=r"^20x15 pixels are less than a patch of 16x16 of timm:vit_tiny"):
        net.features(torch.zeros(1, 3, 15, 20))


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=rf"^timm:{SMALL} needs the package timm \(pip install timm\)$"):
        build_model("ssp", f"timm:{SMALL}")


def test_with_an_old_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0.30", "0.9.16", "1.0.9.dev0"):
        monkeypatch.setattr(timm, "__version__", version)
        with pytest.raises(ValueError, match=rf"^timm:{SMALL} needs timm 1\.0\.31, this is {version} \(pip install -U"):
            build_model("ssp", f"timm:{SMALL}")
    for version in ("1.0.31", "1.0.100.dev3", "1.1.0", "2.0"):
        monkeypatch.setattr(timm, "__version__", version)
        assert build_model("ssp", f"timm:{SMALL}").channels == 256


def test_fetching(monkeypatch: pytest.MonkeyPatch) -> None:
    """As timm fetches: it makes the network with its weights in it. Without a net, one line."""
    make, weights = timm.create_model, whole_network(SMALL)

    def fetching(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        net = make(name, **options)
        if pretrained:
            net.load_state_dict({f"model.{key}": weights[key] for key in net.model.state_dict()})
        return net

    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", fetching)
        net = build_model("ssp", f"timm:{SMALL}", pretrained="timm")
    own = net.backbone.net.model.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in own.items())

    def failing(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise OSError("no route to the hub\nand more")
        return make(name, **options)

    monkeypatch.setattr(timm, "create_model", failing)
    with pytest.raises(ValueError, match=f"^timm could not get the weights of {SMALL}: no route to the hub$"):
        build_model("ssp", f"timm:{SMALL}", pretrained="timm")


def test_what_a_download_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's answer for what is not on this disk, without fetching it; no answer is one line."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repository, file: None)
    asked = []

    def answer(url: str, timeout: float) -> SimpleNamespace:
        asked.append((url.rpartition("/timm/")[2], timeout))
        return SimpleNamespace(size=88_000_000)

    monkeypatch.setattr(hub, "get_hf_file_metadata", answer)
    assert count_download("resnet18.a1_in1k") == 88_000_000
    assert asked == [("resnet18.a1_in1k/resolve/main/model.safetensors", PATIENCE)]
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repository, file: f"/cache/{repository}/{file}")
    assert count_download("resnet18.a1_in1k") == 0
    assert len(asked) == 1
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda repository, file: None)

    def fail(url: str, timeout: float) -> SimpleNamespace:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr(hub, "get_hf_file_metadata", fail)
    with pytest.raises(ValueError, match=r"^timm cannot get the weights of resnet18\.a1_in1k: no route to the hub$"):
        count_download("resnet18.a1_in1k")
    with pytest.raises(ValueError, match=r"^timm knows no resnet19; close to it: "):
        count_download("resnet19")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"needs the package timm \(pip install timm\)$"):
        count_download("resnet18.a1_in1k")
