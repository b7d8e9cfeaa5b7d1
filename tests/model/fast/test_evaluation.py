"""Matching many episodes with one query gives what matching gives one by one."""

from __future__ import annotations

import pytest
import torch

from model import build_model, fold_batch_norms, matching
from model.baseline import upsampled_average
from model.fast import evaluation
from model.matching import PAPER, Matching
from tests.model import recipe


def clustered(episodes: int, height: int, width: int, spread: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A query whose pixels lie around two centres, and prototypes of each episode near one and the other."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    centres = noise(2, 32)
    side = (torch.arange(width) > width * 0.6).long().expand(height, width)
    features = centres[side].permute(2, 0, 1)[None] + spread * noise(1, 32, height, width)
    fg, bg = (centre + 0.5 * noise(episodes, 32) for centre in centres)
    return features, fg[..., None, None], bg[..., None, None]


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("spread", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("episodes", [1, 2, 27])
def test_equals_one_by_one(refine: bool, spread: float, episodes: int) -> None:
    features, fg, bg = clustered(episodes, 9, 13, spread)
    expected = torch.cat(
        [matching.trace(features, fg[e : e + 1], bg[e : e + 1], refine).outputs["final"] for e in range(episodes)]
    )
    got = evaluation.match_episodes(features, fg, bg, refine, PAPER)
    assert got.shape == (episodes, 2, 9, 13)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_without_confident_pixels() -> None:
    """Equal prototypes leave every pixel at one half: the twelve likeliest are taken."""
    features, fg, bg = clustered(3, 5, 6, 1.0)
    bg[1] = 0.999 * fg[1] + 0.001 * bg[1]
    expected = torch.cat([matching.trace(features, fg[e : e + 1], bg[e : e + 1], True).final for e in range(3)])
    torch.testing.assert_close(evaluation.match_episodes(features, fg, bg, True, PAPER), expected, rtol=1e-4, atol=1e-4)


def test_confident_by_hand() -> None:
    probability = torch.tensor([[0.9, 0.2, 0.8, 0.1], [0.3, 0.5, 0.1, 0.2]])
    assert evaluation.confident_sets(probability, torch.full((2, 1), 0.7), [12, 12]).tolist() == [
        [True, False, True, False],
        [True, True, True, True],
    ]
    many = torch.linspace(0, 0.5, 20)[None]
    assert evaluation.confident_sets(many, torch.tensor([[0.6]]), [12])[0].nonzero().flatten().tolist() == list(
        range(8, 20)
    )


def test_memory_of_another_query_changes_nothing() -> None:
    """Queries of several sizes and numbers of episodes one after the other, in the same scratch memory."""
    scratch = evaluation.Scratch()
    for episodes, height, width in ((5, 9, 13), (2, 6, 5), (9, 11, 14), (5, 9, 13)):
        features, fg, bg = clustered(episodes, height, width, 1.0)
        for refine in (True, False):
            alone = evaluation.match_episodes(features, fg, bg, refine, PAPER)
            assert torch.equal(evaluation.match_episodes(features, fg, bg, refine, PAPER, scratch), alone)


@pytest.mark.parametrize("pixels", [1, 10, 116])
def test_blocks_of_pixels(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image whose kernel does not fit: block by block, in parts and under several settings."""
    features, fg, bg = clustered(7, 9, 13, 1.0)
    some = [PAPER, Matching(bg_threshold=0.5), Matching(fg_mix=0.3, rounds=2), Matching(rounds=0)]
    whole = evaluation.match_variations(features, fg, bg, True, some)
    monkeypatch.setattr(evaluation, "KERNEL_BYTES", 4 * 117 * 117 - 1)
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", pixels * 117 * 4)
    for slots in (1000, 9):
        monkeypatch.setattr(evaluation, "SUMS_BYTES", slots * pixels * features[0, :, 0, 0].nbytes)
        scratch = evaluation.Scratch()
        got = evaluation.match_variations(features, fg, bg, True, some, scratch)
        torch.testing.assert_close(got, whole, rtol=1e-5, atol=1e-5)
        assert scratch.buffers["kernel"].numel() == pixels * 117


def test_episodes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """More episodes than the bound on memory takes at a time, and a bound that not even one fits into."""
    features, fg, bg = clustered(7, 9, 13, 1.0)
    together = evaluation.match_episodes(features, fg, bg, True, PAPER)
    for slots in (7, 1):
        monkeypatch.setattr(evaluation, "SUMS_BYTES", slots * features.nbytes)
        scratch = evaluation.Scratch()
        got = evaluation.match_episodes(features, fg, bg, True, PAPER, scratch)
        torch.testing.assert_close(got, together, rtol=1e-5, atol=1e-5)
        assert scratch.buffers["sums"].nbytes <= max(slots, 3) * features.nbytes


def test_kernel_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = torch.nn.functional.normalize(torch.randn(37, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    for rows in (1, 10, 37, 100):
        monkeypatch.setattr(evaluation, "KERNEL_ROWS", rows)
        got = evaluation.kernel(unit, 2.0, torch.full((37, 37), torch.nan))
        torch.testing.assert_close(got, (2 * unit @ unit.t()).exp())
        torch.testing.assert_close(got, got.t(), rtol=0, atol=0 if rows == 1 else 1e-5)


def test_spanning_tree_by_hand() -> None:
    """Pixels 0 to 3 from the empty set; the others by what they lack or have more, the nearest first."""
    sets = torch.zeros(5, 8, dtype=torch.bool)
    sets[1, :4] = True  # 4 pixels from the empty set
    sets[2, :7] = True  # 2 from set 4
    sets[3, :4] = True  # set 1 again
    sets[4, :5] = True  # 1 from set 1
    assert evaluation.spanning_tree(sets, known=1) == [(1, 0), (3, 1), (4, 1), (2, 4)]
    assert evaluation.spanning_tree(sets, known=3) == [(3, 1), (4, 1)]
    assert evaluation.spanning_tree(sets[:1], known=1) == []


def test_sums_are_those_of_each_set_alone() -> None:
    features, _, _ = clustered(1, 9, 13, 1.0)
    query = evaluation.Query(features, evaluation.Scratch(), PAPER.adaptive_scale)
    chosen = torch.rand(6, 9 * 13, generator=torch.Generator().manual_seed(0)) > torch.linspace(0.1, 0.9, 6)[:, None]
    chosen[3] = chosen[2]
    sums = evaluation.Sums(query, 1 + 4)  # the last ones take the place of the first
    (block,) = query.blocks()
    for some in chosen.split(3):
        sums.make_room(len(some))
        sums.move(block)
        slots = sums.add(evaluation.Sets.of(some))
        s, z = sums.s[slots], sums.z[slots]
        torch.testing.assert_close(s, query.kernel @ (some[..., None] * query.pixels), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(z, some.float() @ query.kernel, rtol=1e-4, atol=1e-4)


def test_runs_of_sums_in_line() -> None:
    assert evaluation.runs_in_line([[3, 4, 5]], 0, 3) == [slice(0, 3)]
    assert evaluation.runs_in_line([[1, 2, 3, 3, 4], [6, 7, 9, 10, 11]], 0, 5) == [
        slice(0, 2),
        slice(2, 3),
        slice(3, 5),
    ]
    assert evaluation.runs_in_line([[1, 2, 3, 3, 4]], 1, 3) == [slice(1, 3)]


@pytest.mark.parametrize("name", ["eval_r50_refine_1shot", "eval_r50_5shot", "eval_r50_refine_fallback"])
def test_golden_logits(name: str) -> None:
    """The steps of planned evaluation, batch norms folded, on the authors' recorded episodes."""
    golden = recipe.episode(name)
    supports, masks, query, _ = golden["arguments"]
    net = build_model("ssp", golden["meta"]["backbone"], golden["meta"]["refine"])
    recipe.fill(net, golden["meta"]["backbone"], golden["meta"]["centred"])
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for row in range(len(query)):
            pairs = [
                net.prototypes(net.features(image[row : row + 1]), mask[row : row + 1])
                for image, mask in zip(supports, masks, strict=True)
            ]
            fg, bg = (torch.stack(part).mean(0) for part in zip(*pairs, strict=True))
            logits = net.match_episodes(net.features(query[row : row + 1]), fg, bg)
            got, expected = matching.resize(logits, query.shape[-2:])[0], golden["out"][0][row]
            assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_folding_changes_nothing_but_the_modules() -> None:
    net = build_model("ssp").eval()
    recipe.fill(net, "resnet50")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = fold_batch_norms(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    images = torch.randn(1, 3, 65, 49, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = net.features(images)
        torch.testing.assert_close(
            folded.features(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item()
        )


def test_baseline_of_many_episodes_and_its_average() -> None:
    features, fg, bg = clustered(4, 7, 9, 1.0)
    net = build_model("baseline").eval()
    expected = torch.cat([net.match(features, fg[e : e + 1], bg[e : e + 1])["final"] for e in range(4)])
    torch.testing.assert_close(net.match_episodes(features, fg, bg), expected, rtol=1e-5, atol=1e-5)
    region = torch.rand(1, 50, 61, generator=torch.Generator().manual_seed(1)) > 0.4
    upsampled = matching.resize(features, (50, 61))
    expected = (upsampled * region).sum((2, 3), keepdim=True) / (region.sum() + 1e-5)
    torch.testing.assert_close(upsampled_average(features, region), expected, rtol=1e-4, atol=1e-5)
