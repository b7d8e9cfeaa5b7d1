"""The predictor gives what the network gives, encodes supports once, and says what is wrong with a call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dataset.transform import normalise
from engine.setting import MIN_SIDE
from model import build_model, calibrate_batch_norms, fold_batch_norms
from prediction.predictor import Predictor
from prediction.working_size import limit_size, shrink_marked

SIZES = [(64, 48), (40, 56), (72, 72)]  # (width, height) of three supports
QUERY = (56, 64)


def random_picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Blots of colour."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def box(size: tuple[int, int]) -> np.ndarray:
    """The left half is the object, a strip is ignored."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[8:-8, : size[0] // 2] = 1
    mask[8:-8, size[0] // 2 : size[0] // 2 + 4] = 255
    return mask


PICTURES = [random_picture(size, seed) for seed, size in enumerate(SIZES)]
MASKS = [box(size) for size in SIZES]
IMAGE = random_picture(QUERY, 9)


def random_network(method: str, refine: bool) -> nn.Module:
    torch.manual_seed(0)
    net = build_model(method, refine=refine)
    calibrate_batch_norms(net, torch.stack([normalise(x.resize((64, 64))) for x in PICTURES]))
    return net.eval()


@pytest.fixture(scope="module")
def network() -> Callable[[str], nn.Module]:
    """Networks by name, each made once."""
    made: dict[str, nn.Module] = {}

    def get(name: str) -> nn.Module:
        if name not in made:
            made[name] = random_network(name.split()[0], "refine" in name)
        return made[name]

    return get


@pytest.fixture
def net(network: Callable[[str], nn.Module]) -> nn.Module:
    return network("ssp refine")


@torch.no_grad()
def reference(net: nn.Module, shot: int) -> Tensor:
    """The network's own logits (2, H, W) of IMAGE."""
    dtype = next(net.parameters()).dtype
    images = [normalise(picture)[None].to(dtype) for picture in PICTURES[:shot]]
    masks = [torch.from_numpy(mask).long()[None] for mask in MASKS[:shot]]
    return net(images, masks, normalise(IMAGE)[None].to(dtype))["final"][0]


def predictor_of(net: nn.Module, shot: int = 1, **options: int) -> Predictor:
    predictor = Predictor(net, **options)
    predictor.set_support(PICTURES[:shot], MASKS[:shot])
    return predictor


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize("name", ["ssp", "ssp refine", "baseline"])
def test_the_mask_is_the_network_s_own(network: Callable[[str], nn.Module], name: str, shot: int) -> None:
    net = network(name)
    logits = reference(net, shot)
    mask, probability = predictor_of(net, shot).predict(IMAGE)
    assert mask.dtype == bool
    assert probability.dtype == np.float32
    assert 0 < mask.mean() < 1
    assert np.array_equal(mask, logits.argmax(0).numpy() == 1)
    assert np.abs(probability - logits.softmax(0)[1].numpy()).max() < 1e-6


def test_images_of_one_size_up_to_rounding() -> None:
    """The network encodes those in one pass, the predictor one by one."""
    net = random_network("ssp", True).double()
    picture, mask = random_picture(QUERY, 3), box(QUERY)
    with torch.no_grad():
        images = [normalise(x)[None].double() for x in (picture, IMAGE)]
        logits = net(images[:1], [torch.from_numpy(mask).long()[None]], images[1])["final"][0]
    predictor = Predictor(net)
    predictor.set_support([picture], [mask])
    assert np.array_equal(predictor.predict(IMAGE).mask, logits.argmax(0).numpy() == 1)


@pytest.mark.parametrize("name", ["ssp refine", "baseline"])
def test_folded_batch_norms_give_the_same(network: Callable[[str], nn.Module], name: str) -> None:
    plain = predictor_of(network(name), 3).predict(IMAGE)
    folded = fold_batch_norms(network(name)).to(memory_format=torch.channels_last)
    other = predictor_of(folded, 3).predict(IMAGE)
    assert np.abs(plain.probability - other.probability).max() < 1e-4
    near = np.abs(plain.probability - 0.5) < 1e-4
    assert ((plain.mask == other.mask) | near).all()


def test_supports_are_encoded_once(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    features = net.features
    monkeypatch.setattr(net, "features", lambda x: shapes.append(tuple(x.shape)) or features(x))
    predictor = predictor_of(net, 3)
    assert shapes == [(1, 3, height, width) for width, height in SIZES]
    shapes.clear()
    first, again = predictor.predict(IMAGE), predictor.predict(IMAGE)
    assert shapes == [(1, 3, QUERY[1], QUERY[0])] * 2
    assert np.array_equal(first.probability, again.probability)


def test_pictures_arrays_and_other_modes_are_the_same(net: nn.Module) -> None:
    predictor = predictor_of(net)
    expected = predictor.predict(IMAGE).probability
    transparent = IMAGE.convert("RGBA")
    assert np.array_equal(predictor.predict(np.array(IMAGE)).probability, expected)
    assert np.array_equal(predictor.predict(transparent).probability, expected)
    predictor.set_support([np.array(PICTURES[0])], [MASKS[0].astype(np.int64)])
    assert np.array_equal(predictor.predict(IMAGE).probability, expected)


def test_boolean_masks_are_masks(net: nn.Module) -> None:
    predictor = Predictor(net)
    probabilities = []
    for mask in (MASKS[0] == 1, (MASKS[0] == 1).astype(np.uint8)):
        predictor.set_support(PICTURES[:1], [mask])
        probabilities.append(predictor.predict(IMAGE).probability)
    assert np.array_equal(*probabilities)


def test_large_images_are_resized_and_the_result_is_not(net: nn.Module) -> None:
    predictor = predictor_of(net, max_side=64)
    large = random_picture((150, 100), 5)
    mask, probability = predictor.predict(large)
    assert mask.shape == probability.shape == (100, 150)
    small = predictor.predict(large.resize((64, 43), Image.Resampling.BILINEAR)).probability
    assert np.abs(np.array(Image.fromarray(small).resize((150, 100))) - probability).mean() < 0.05


def test_the_last_supports_count_and_wrong_ones_change_nothing(net: nn.Module) -> None:
    predictor = predictor_of(net)
    first = predictor.predict(IMAGE).probability
    with pytest.raises(ValueError, match="support 2"):
        predictor.set_support(PICTURES[:2], [MASKS[0], MASKS[0]])
    assert np.array_equal(predictor.predict(IMAGE).probability, first)
    predictor.set_support(PICTURES[1:2], MASKS[1:2])
    assert not np.array_equal(predictor.predict(IMAGE).probability, first)


def test_the_network_is_put_into_eval_mode_and_no_gradients_are_kept(net: nn.Module) -> None:
    net.train()
    predictor = predictor_of(net)
    assert not net.training
    predictor.predict(IMAGE)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_predict_comes_after_set_support(net: nn.Module) -> None:
    with pytest.raises(ValueError, match="call set_support before predict"):
        Predictor(net).predict(IMAGE)


def test_small_limits_are_refused(net: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"max_side 31: at least {MIN_SIDE}"):
        Predictor(net, max_side=31)


TINY = np.zeros((64, 64), np.uint8)
TINY[2, 2] = 1  # between the centres of four features


@pytest.mark.parametrize(
    ("images", "masks", "says"),
    [
        ([], [], "0 support images with 0 masks"),
        (PICTURES[:2], MASKS[:1], "2 support images with 1 masks"),
        (PICTURES[:1], [MASKS[0].T], r"support 1: the mask has shape \(64, 48\), the image \(48, 64\)"),
        (PICTURES[:1], [MASKS[0] * 0], "support 1: the mask holds 0; 1 is the object, 0 background, 255 neither"),
        (PICTURES[:1], [MASKS[0] // 255 * 255], "support 1: the mask holds 0, 255; 1 is the object"),
        (PICTURES[:1], [MASKS[0] * 2], "support 1: the mask holds 0, 2, 254; 1 is"),
        (PICTURES[:1], [MASKS[0] / 2], r"support 1: the mask is float64 \(48, 64\), expected whole numbers"),
        (PICTURES[:1], [MASKS[0][None]], r"support 1: the mask is uint8 \(1, 48, 64\)"),
        ([np.zeros((48, 64), np.uint8)], MASKS[:1], r"support 1: uint8 \(48, 64\), expected a PIL image or uint8"),
        ([np.zeros((48, 64, 3))], MASKS[:1], r"support 1: float64 \(48, 64, 3\), expected"),
        (["a.jpg"], MASKS[:1], r"support 1: str, expected a PIL image"),
        (
            [Image.new("RGB", (1, 1))],
            [np.ones((1, 1), int)],
            "support 1: 1x1 pixels; at least 32 on either side are needed",
        ),
        ([Image.new("RGB", (64, 64), "red")], [TINY], "support 1: the object's 1 pixels in 64x64 are too few"),
    ],
)
def test_wrong_supports(net: nn.Module, images: list, masks: list, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        Predictor(net).set_support(images, masks)


def test_supports_are_named_as_asked(net: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^b\.jpg: the mask has shape"):
        Predictor(net).set_support(PICTURES[:2], [MASKS[0], MASKS[0]], ["a.jpg", "b.jpg"])


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((1, 1), "the image: 1x1 pixels; at least"),
        ((31, 60), "the image: 31x60 pixels; at least"),
        (
            (2000, 50),
            "the image: 2000x50 pixels would be segmented as 64x2, too narrow; raise max_side to 1280, or crop",
        ),
    ],
)
def test_queries_that_are_too_small(net: nn.Module, size: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        predictor_of(net, max_side=64).predict(Image.new("RGB", size))


def test_working_sizes() -> None:
    assert limit_size((640, 480), 640) == (640, 480)
    assert limit_size((1602, 1656), 640) == (619, 640)
    assert limit_size((20000, 10), 640) == (640, 1)


def test_objects_do_not_vanish_when_an_image_becomes_smaller() -> None:
    mask = np.zeros((200, 100), np.uint8)
    mask[150, 41] = 1  # a row and a column that the nearest pixel passes over
    image, small = shrink_marked(Image.new("RGB", (100, 200)), mask, 50)
    assert image.size == (25, 50)
    assert np.argwhere(small == 1).tolist() == [[37, 10]]
    mask[:, :50] = 1
    assert shrink_marked(Image.new("RGB", (100, 200)), mask, 50)[1].mean() == 12 / 25


def test_an_encoded_image_passes_the_backbone_once(network: Callable[[str], nn.Module]) -> None:
    """As support under two masks and as query, with and without refinement: what the images themselves give."""
    net = network("ssp refine")
    passes: list[Tensor] = []
    plain = Predictor(net)
    again = Predictor(net)
    support, query = again.encode(PICTURES[0]), again.encode(IMAGE)
    for mask in (MASKS[0], (MASKS[0] != 1).astype(np.uint8)):
        plain.set_support([PICTURES[0]], [mask])
        wanted = plain.predict(IMAGE)
        hook = net.backbone.layer3.register_forward_hook(lambda *args: passes.append(args[-1]))
        again.set_support([support], [mask])
        found = again.predict(query)
        hook.remove()
        assert np.array_equal(found.mask, wanted.mask)
        assert np.array_equal(found.probability, wanted.probability)
    assert not passes
    with pytest.raises(ValueError, match=r"support 1: the mask has shape \(3, 3\)"):
        again.set_support([support], [np.ones((3, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"photo: .* at least 32"):
        again.encode(PICTURES[0].resize((20, 20)), "photo")
