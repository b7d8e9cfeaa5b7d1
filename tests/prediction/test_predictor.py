"""The predictor gives what the network gives, encodes supports once, and says what is wrong with a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dataset.transform import normalise
from engine.setting import MIN_SIDE
from model import FewShotNetwork, fold_batch_norms
from prediction.predictor import Predictor
from prediction.working_size import limit_size, shrink_marked
from tests.prediction.networks import (
    IMAGE,
    MASKS,
    NAMES,
    PICTURES,
    QUERY,
    SIZES,
    box,
    network,
    predictor_of,
    random_network,
    random_picture,
)


@pytest.fixture
def net() -> FewShotNetwork:
    return network("ssp refine")


@torch.no_grad()
def reference(net: FewShotNetwork, shot: int) -> Tensor:
    """The network's own logits (2, H, W) of IMAGE."""
    images = [normalise(picture)[None] for picture in PICTURES[:shot]]
    masks = [torch.from_numpy(mask).long()[None] for mask in MASKS[:shot]]
    return net(images, masks, normalise(IMAGE)[None])["final"][0]


@pytest.mark.parametrize("shot", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_mask_is_the_network_s_own(name: str, shot: int) -> None:
    logits = reference(network(name), shot)
    mask, probability = predictor_of(network(name), shot).predict(IMAGE)
    assert (mask.dtype, probability.dtype) == (bool, np.float32)
    assert 0 < mask.mean() < 1
    assert np.array_equal(mask, logits.argmax(0).numpy() == 1)
    assert np.abs(probability - logits.softmax(0)[1].numpy()).max() < 1e-6


def test_images_of_one_size_up_to_rounding() -> None:
    """The network encodes those in one pass, the predictor one by one."""
    net = random_network("ssp refine").double()
    picture, mask = random_picture(QUERY, 3), box(QUERY)
    with torch.no_grad():
        images = [normalise(x)[None].double() for x in (picture, IMAGE)]
        logits = net(images[:1], [torch.from_numpy(mask).long()[None]], images[1])["final"][0]
    predictor = Predictor(net)
    predictor.set_support([picture], [mask])
    assert np.array_equal(predictor.predict(IMAGE).mask, logits.argmax(0).numpy() == 1)


@pytest.mark.parametrize("name", ["ssp refine", "baseline"])
def test_folded_batch_norms_give_the_same(name: str) -> None:
    plain = predictor_of(network(name), 3).predict(IMAGE)
    folded = fold_batch_norms(network(name)).to(memory_format=torch.channels_last)
    other = predictor_of(folded, 3).predict(IMAGE)
    assert np.abs(plain.probability - other.probability).max() < 1e-4
    near = np.abs(plain.probability - 0.5) < 1e-4
    assert ((plain.mask == other.mask) | near).all()


def test_supports_are_encoded_once(net: FewShotNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    features = net.features
    monkeypatch.setattr(net, "features", lambda x: shapes.append(tuple(x.shape)) or features(x))
    predictor = predictor_of(net, 3)
    assert shapes == [(1, 3, height, width) for width, height in SIZES]
    shapes.clear()
    first, again = predictor.predict(IMAGE), predictor.predict(IMAGE)
    assert shapes == [(1, 3, QUERY[1], QUERY[0])] * 2
    assert np.array_equal(first.probability, again.probability)


@pytest.mark.parametrize("image", [np.array(IMAGE), IMAGE.convert("RGBA")], ids=["array", "RGBA"])
@pytest.mark.parametrize("mask", [MASKS[0].astype(np.int64), MASKS[0]], ids=["int64", "uint8"])
def test_arrays_and_other_modes_are_the_same(net: FewShotNetwork, image: object, mask: np.ndarray) -> None:
    predictor = predictor_of(net)
    expected = predictor.predict(IMAGE).probability
    predictor.set_support([np.array(PICTURES[0])], [mask])
    assert np.array_equal(predictor.predict(image).probability, expected)


def test_boolean_masks_are_masks(net: FewShotNetwork) -> None:
    predictor = Predictor(net)
    probabilities = []
    for mask in (MASKS[0] == 1, (MASKS[0] == 1).astype(np.uint8)):
        predictor.set_support(PICTURES[:1], [mask])
        probabilities.append(predictor.predict(IMAGE).probability)
    assert np.array_equal(*probabilities)


def test_large_images_are_resized_and_the_result_is_not(net: FewShotNetwork) -> None:
    predictor = predictor_of(net, max_side=64)
    large = random_picture((150, 100), 5)
    mask, probability = predictor.predict(large)
    assert mask.shape == probability.shape == (100, 150)
    small = predictor.predict(large.resize((64, 43), Image.Resampling.BILINEAR)).probability
    assert np.abs(np.array(Image.fromarray(small).resize((150, 100))) - probability).mean() < 0.05


def test_the_last_supports_count_and_wrong_ones_change_nothing(net: FewShotNetwork) -> None:
    predictor = predictor_of(net)
    first = predictor.predict(IMAGE).probability
    with pytest.raises(ValueError, match="support 2"):
        predictor.set_support(PICTURES[:2], [MASKS[0], MASKS[0]])
    assert np.array_equal(predictor.predict(IMAGE).probability, first)
    predictor.set_support(PICTURES[1:2], MASKS[1:2])
    assert not np.array_equal(predictor.predict(IMAGE).probability, first)


def test_the_network_is_put_into_eval_mode_and_no_gradients_are_kept(net: FewShotNetwork) -> None:
    net.train()
    predictor = predictor_of(net)
    assert not net.training
    predictor.predict(IMAGE)
    assert all(parameter.grad is None for parameter in net.parameters())


TINY = np.zeros((64, 64), np.uint8)
TINY[2, 2] = 1  # between the centres of four features
EXPECTED = "expected a PIL image or uint8 (H, W, 3)"


@pytest.mark.parametrize(
    ("images", "masks", "says"),
    [
        ([], [], "0 support images with 0 masks"),
        (PICTURES[:2], MASKS[:1], "2 support images with 1 masks"),
        (PICTURES[:1], [MASKS[0].T], "support 1: the mask has shape (64, 48), the image (48, 64)"),
        (PICTURES[:1], [MASKS[0] * 0], "support 1: the mask holds 0; 1 is the object, 0 background, 255 neither"),
        (PICTURES[:1], [MASKS[0] // 255 * 255], "support 1: the mask holds 0, 255; 1 is the object"),
        (PICTURES[:1], [MASKS[0] * 2], "support 1: the mask holds 0, 2, 254; 1 is"),
        (PICTURES[:1], [MASKS[0] / 2], "support 1: the mask is float64 (48, 64), expected whole numbers"),
        (PICTURES[:1], [MASKS[0][None]], "support 1: the mask is uint8 (1, 48, 64)"),
        ([np.zeros((48, 64), np.uint8)], MASKS[:1], f"support 1: uint8 (48, 64), {EXPECTED}"),
        ([np.zeros((48, 64, 3))], MASKS[:1], f"support 1: float64 (48, 64, 3), {EXPECTED}"),
        (["a.jpg"], MASKS[:1], f"support 1: str, {EXPECTED}"),
        ([Image.new("RGB", (1, 1))], [np.ones((1, 1), int)], "support 1: 1x1 pixels; at least 32 on either side"),
        ([Image.new("RGB", (64, 64), "red")], [TINY], "support 1: the object's 1 pixels in 64x64 are too few"),
    ],
)
def test_wrong_supports(net: FewShotNetwork, images: list, masks: list, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Predictor(net).set_support(images, masks)
    assert str(caught.value).startswith(says)


NARROW = "the image: 2000x50 pixels would be segmented as 64x2, too narrow; raise max_side to 1280, or crop"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda net: Predictor(net, max_side=31), f"max_side 31: at least {MIN_SIDE}"),
        (lambda net: Predictor(net, max_side=-1), f"max_side -1: at least {MIN_SIDE}"),
        (lambda net: Predictor(net).predict(IMAGE), "no supports: call set_support before predict"),
        (lambda net: Predictor(net).explain(IMAGE), "no supports: call set_support before explain"),
        (
            lambda net: Predictor(net).set_support(PICTURES[:2], [MASKS[0], MASKS[0]], ["a.jpg", "b.jpg"]),
            "b.jpg: the mask has shape",
        ),
        (lambda net: Predictor(net).encode(PICTURES[0].resize((20, 20)), "photo"), "photo: 20x20 pixels; at least 32"),
        (lambda net: predictor_of(net).predict(Image.new("RGB", (1, 1))), "the image: 1x1 pixels; at least"),
        (lambda net: predictor_of(net).predict(Image.new("RGB", (31, 60))), "the image: 31x60 pixels; at least"),
        (lambda net: predictor_of(net, max_side=64).predict(Image.new("RGB", (2000, 50))), NARROW),
    ],
)
def test_wrong_calls(net: FewShotNetwork, call: object, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call(net)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (640, 480)), ((1602, 1656), (619, 640)), ((20000, 10), (640, 1))]
)
def test_limit_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert limit_size(size, 640) == expected
    assert limit_size(size, 0) == size


def test_without_a_limit_images_keep_their_size(net: FewShotNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    features = net.features
    monkeypatch.setattr(net, "features", lambda x: shapes.append(tuple(x.shape)) or features(x))
    predictor_of(net, max_side=0).predict(random_picture((1100, 40), 5))
    assert shapes[-1] == (1, 3, 40, 1100)


def test_objects_do_not_vanish_when_an_image_becomes_smaller() -> None:
    mask = np.zeros((200, 100), np.uint8)
    mask[150, 41] = 1  # a row and a column that the nearest pixel passes over
    image, small = shrink_marked(Image.new("RGB", (100, 200)), mask, 50)
    assert image.size == (25, 50)
    assert np.argwhere(small == 1).tolist() == [[37, 10]]
    mask[:, :50] = 1
    assert shrink_marked(Image.new("RGB", (100, 200)), mask, 50)[1].mean() == 12 / 25


def test_an_encoded_image_passes_the_backbone_once(net: FewShotNetwork) -> None:
    """As support under two masks and as query: what the images themselves give."""
    passes: list[Tensor] = []
    plain, again = Predictor(net), Predictor(net)
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
