"""An explanation holds the network's own tensors: predict's result, self-support's pixels, the weights of its ASBP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import engine.drawing
from engine.drawing import TILE_GAP
from model import FewShotNetwork, matching
from prediction import Explanation, Predictor, draw_explanation
from prediction.explain import choose_pixels, weigh_background
from prediction.explain_figure import STEP_COLUMNS, STEP_SIDE, enlarge_cells
from tests.prediction.networks import IMAGE, MASKS, NAMES, PICTURES, network, predictor_of, random_picture


def steps(net: FewShotNetwork) -> tuple[Tensor, Tensor, Tensor]:
    """The features of IMAGE and the prototypes of the first support, (1, C, ...) each."""
    predictor = predictor_of(net)
    assert predictor._prototypes is not None
    return predictor.encode(IMAGE).features, *predictor._prototypes


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_predict_s(name: str) -> None:
    predictor = predictor_of(network(name), max_side=60)  # IMAGE is resized
    expected, encoded = predictor.predict(IMAGE), predictor.encode(IMAGE)
    for image in (IMAGE, np.array(IMAGE), encoded):
        found = predictor.explain(image)
        assert np.array_equal(found.mask, expected.mask)
        assert np.array_equal(found.probability, expected.probability)
        assert found.image.size == IMAGE.size
    logits = predictor.net.match(encoded.features, *predictor._prototypes)
    assert np.array_equal(found.final, logits["final"].softmax(1)[0, 1].numpy())
    if "out1" in logits:
        assert np.array_equal(found.out1, logits["out1"].softmax(1)[0, 1].numpy())


@pytest.mark.parametrize("name", ["ssp", "ssp refine"])
@torch.inference_mode()
def test_the_confident_pixels_are_self_support_s(name: str) -> None:
    features, fg, bg = steps(network(name))
    found = predictor_of(network(name)).explain(IMAGE)
    first = matching.score(features, fg, bg, matching.norm(features))
    assert np.array_equal(found.first, first.softmax(1)[0, 1].numpy())
    sets = [(found.confident, first)]
    if "refine" in name:
        out1 = matching.trace(features, fg, bg, True).outputs["out1"]
        sets.append((found.confident_again, out1))
    else:
        assert found.confident_again is None
        assert np.array_equal(found.out1, found.final)
    for chosen, logits in sets:
        own = matching.self_support(features, logits).chosen[0]
        p_bg, p_fg = logits.softmax(1)[0].flatten(1)
        for region, indices, p, threshold, passed in (
            (chosen.fg, own.fg, p_fg, 0.7, chosen.fg_passed),
            (chosen.bg, own.bg, p_bg, 0.6, chosen.bg_passed),
        ):
            assert region.shape == features.shape[-2:]
            assert np.flatnonzero(region).tolist() == sorted(indices.tolist())
            assert indices.tolist() == matching.confident(p, threshold).tolist()
            assert passed == bool((p > threshold).any())


@pytest.mark.parametrize("name", ["ssp", "ssp refine"])
@torch.inference_mode()
def test_the_weights_make_the_asbp(name: str) -> None:
    features, fg, bg = steps(network(name))
    own = matching.self_support(features, matching.score(features, fg, bg))
    height, width = features.shape[-2:]
    pixels = features[0].flatten(1)
    for row, column in ((0, 0), (height - 1, 2), (3, width - 1)):
        weights = torch.from_numpy(weigh_background(features, own.chosen[0].bg, (row, column), 2.0))
        expected = own.adaptive_bg[0, :, row, column]
        torch.testing.assert_close(pixels @ weights.flatten(), expected, rtol=1e-5, atol=1e-6)
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        x, y = round(column * (IMAGE.width - 1) / (width - 1)), round(row * (IMAGE.height - 1) / (height - 1))
        (source,) = predictor_of(network(name)).explain(IMAGE, [(x, y)]).adaptive
        assert source.pixel == (x, y)
        assert np.array_equal(source.weights, weights.numpy())


def test_the_pixels_that_are_chosen() -> None:
    """By the final probabilities; the first of those that are equal, each pixel once."""
    final = np.array([[0.1, 0.4, 0.9], [0.0, 0.6, 0.9]], np.float32)
    assert choose_pixels(final, (21, 11)) == {
        (20, 0): "the likeliest object",
        (10, 0): "the least certain",
        (0, 10): "the likeliest background",
    }
    assert choose_pixels(np.full((4, 4), 0.5), (32, 32)) == {(0, 0): "the likeliest object"}
    found = predictor_of(network("ssp")).explain(IMAGE)
    assert {source.pixel: source.reason for source in found.adaptive} == choose_pixels(found.final, IMAGE.size)
    assert predictor_of(network("ssp")).explain(IMAGE, []).adaptive == ()


def test_the_baseline_has_the_first_match_only() -> None:
    found = predictor_of(network("baseline")).explain(IMAGE)
    assert (found.confident, found.out1, found.confident_again, found.out2) == (None, None, None, None)
    assert np.array_equal(found.first, found.final)
    assert found.adaptive == ()


@pytest.mark.parametrize(
    ("name", "pixel", "says"),
    [
        ("baseline", (1, 2), "this network has no adaptive background prototypes"),
        ("ssp", (-1, 0), r"pixel \(-1, 0\) is outside the image of 56x64"),
        ("ssp", (IMAGE.width, 0), r"pixel \(56, 0\) is outside"),
        ("ssp", (0, IMAGE.height), r"pixel \(0, 64\) is outside"),
    ],
)
def test_pixels_that_cannot_be_looked_at(name: str, pixel: tuple[int, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        predictor_of(network(name)).explain(IMAGE, [pixel])


def tiles_of(picture: Image.Image) -> tuple[int, float]:
    """How many tiles stand in a row, and how many rows there may be."""
    return (picture.width - TILE_GAP) // (STEP_SIDE + TILE_GAP), picture.height / STEP_SIDE


@pytest.mark.parametrize(("name", "columns", "rows"), [("ssp", 4, 2), ("ssp refine", 5, 2), ("baseline", 3, 1)])
def test_the_figure(name: str, columns: int, rows: int) -> None:
    """Even rows; the figures of a large and a small image of one shape have one size."""
    predictor = predictor_of(network(name), max_side=64)
    small, large = (random_picture(size, 5) for size in ((75, 45), (750, 450)))
    figures = [draw_explanation(predictor.explain(image)) for image in (small, large)]
    for figure in figures:
        assert figure.mode == "RGB"
        wide, high = tiles_of(figure)
        assert wide == columns <= STEP_COLUMNS
        assert 0.6 * rows < high < 1.2 * rows
    assert figures[0].size == figures[1].size


@pytest.mark.parametrize("size", [(33, 200), (200, 33), (101, 67)])
def test_figures_of_odd_sizes_and_of_many_pixels(size: tuple[int, int]) -> None:
    predictor = predictor_of(network("ssp refine"))
    corners = [(0, 0), (size[0] - 1, 0), (0, size[1] - 1), (size[0] - 1, size[1] - 1)]
    figure = draw_explanation(predictor.explain(random_picture(size, 6), corners))
    assert tiles_of(figure)[0] == 4  # 11 tiles in three rows


def test_the_fallback_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Supports whose object is everywhere match everywhere alike: no pixel passes."""
    written: list[str] = []
    real = engine.drawing.write_text
    monkeypatch.setattr(engine.drawing, "write_text", lambda *args: written.append(args[2]) or real(*args))
    predictor = Predictor(network("ssp"))
    predictor.set_support([PICTURES[0]] * 2, [MASKS[0], np.where(MASKS[0] == 255, 255, 1 - MASKS[0] % 255)])
    found: Explanation = predictor.explain(IMAGE)
    assert not found.confident.fg_passed
    assert not found.confident.bg_passed
    assert found.confident.fg.sum() == found.confident.bg.sum() == matching.PAPER.fallback_pixels
    draw_explanation(found)
    assert "fg: none passed 0.7, the 12 likeliest" in written
    assert "bg: none passed 0.6, the 12 likeliest" in written


def test_cells() -> None:
    region = np.array([[True, False], [False, False]])
    assert enlarge_cells(region, (5, 4)).tolist() == [[True] * 3 + [False] * 2] * 2 + [[False] * 5] * 2
