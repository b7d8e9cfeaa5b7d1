"""Training samples are the authors', depend on nothing but seed, epoch and number, and fail in one line."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from dataset import ImageSet, Pascal, class_index, open_fold, open_pool
from dataset.episodes import Episode, make_pool
from dataset.loader import batches
from dataset.samples import EvaluationEpisodes, TrainingSamples, as_input, keep_decoded, training_sample
from tests.files import GOLDEN as GOLDEN_FILES
from util.errors import UserError

GOLDEN = np.load(GOLDEN_FILES / "train_samples.npz")
META = json.loads(str(GOLDEN["meta"]))


class LosslessSet(ImageSet):
    """Images that the golden samples can be exact for."""

    def image_path(self, image: str) -> str:
        return str(self.images / f"{image}.bmp")


@pytest.fixture(scope="module")
def golden_images(tmp_path_factory: pytest.TempPathFactory) -> LosslessSet:
    folder = tmp_path_factory.mktemp("golden")
    ids = sorted(name.removeprefix("image_") for name in GOLDEN.files if name.startswith("image_"))
    for image in ids:
        Image.fromarray(GOLDEN[f"image_{image}"]).save(folder / f"{image}.bmp")
        Image.fromarray(GOLDEN[f"mask_{image}"]).save(folder / f"{image}.png")
    return LosslessSet("golden", tuple(ids), folder, folder, {})


def digest(mask: Tensor) -> str:
    assert mask.dtype == torch.int64
    return hashlib.sha256(mask.numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", META["runs"])
def test_the_authors_samples(golden_images: LosslessSet, name: str) -> None:
    expected = META["runs"][name]
    fold, shot = int(name[len("fold")]), int(name.partition("_shot")[2])
    base = [cls for cls in range(1, 21) if cls not in Pascal.novel_classes(fold)]
    pool = make_pool(class_index(golden_images), base)
    assert [pool.names[rank] for rank in pool.images] == expected["kept"]
    assert expected["samples"]
    rng = random.Random(7)
    for one in expected["samples"]:
        episode, sample = training_sample(golden_images, pool, shot, 97, rng)
        assert episode == Episode(one["query"], one["cls"], tuple(one["support"]))
        sample = as_input(sample, torch.device("cpu"))
        assert list(sample.query_image.shape) == one["shape"]
        assert digest(sample.query_mask) == one["query_mask"]
        assert [digest(mask) for mask in sample.support_masks] == one["support_mask"]
        assert sample.query_image.mean((1, 2)).tolist() == pytest.approx(one["query_mean"], abs=1e-4)
        for image, mean in zip(sample.support_images, one["support_mean"], strict=True):
            assert image.mean((1, 2)).tolist() == pytest.approx(mean, abs=1e-4)


def samples(toy: Path, **changed: Any) -> TrainingSamples:
    fold = open_fold("pascal", toy, 0)
    arguments = {"shot": 2, "crop_size": 65, "length": 5, "seed": 3, **changed}
    return TrainingSamples(fold.train.images, open_pool(fold.train, arguments["shot"], 1), **arguments)


def flatten(nested: Any) -> list[Tensor]:
    return [nested] if isinstance(nested, Tensor) else [tensor for part in nested for tensor in flatten(part)]


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flatten(a), flatten(b), strict=True))


def test_a_sample_depends_on_seed_epoch_and_number_only(toy: Path) -> None:
    data = samples(toy)
    assert len(data) == 5
    first, fourth = data[1], data[4]
    random.seed(99)
    torch.manual_seed(99)
    again = samples(toy, length=50)
    assert same(again[4], fourth)
    assert same(again[1], first)
    assert not same(first, fourth)
    assert not same(samples(toy, seed=4)[1], first)
    assert not same(data[5 + 1], first)  # of the next epoch
    assert same(again[50 + 1], data[5 + 1])


def test_batches_are_the_same_with_and_without_workers(toy: Path) -> None:
    data = samples(toy)
    plain, parallel = list(batches(data, 2, workers=0)), list(batches(data, 2, workers=2))
    assert len(plain) == len(parallel) == 2  # the last short batch is dropped
    for number, (one, other) in enumerate(zip(plain, parallel, strict=True)):
        assert same(one, other)
        support_images, support_masks, query_image, query_mask = one
        assert [x.shape for x in support_images] == [(2, 65, 65, 3)] * 2
        assert [x.shape for x in support_masks] == [(2, 65, 65)] * 2
        for row in range(2):
            alone = data[2 * number + row]
            assert torch.equal(query_image[row], alone.query_image)
            assert torch.equal(query_mask[row], alone.query_mask)
            assert torch.equal(support_images[1][row], alone.support_images[1])
            assert torch.equal(support_masks[1][row], alone.support_masks[1])


def test_a_new_epoch_reaches_the_workers(toy: Path) -> None:
    data = samples(toy, length=2)
    first, second = batches(Subset(data, range(4)), 2, workers=1)
    assert not same(first, second)
    assert same(first, next(iter(batches(data, 2, workers=0))))


def test_decoded_images_are_kept_as_far_as_the_budget_goes(toy: Path) -> None:
    images = open_fold("pascal", toy, 0).train.images
    opened: list[str] = []

    def load(image: str) -> tuple[Image.Image, np.ndarray]:
        opened.append(image)
        return images.load(image)

    a, b = images.ids[:2]
    loaded = keep_decoded(load, budget=5 * 129 * 129)
    pictures = [loaded(image) for image in (a, b, a, b)]
    assert opened == [a, b, b]
    assert pictures[2] is pictures[0]
    assert pictures[0][0].tobytes() == images.load(a)[0].tobytes()


def test_samples_do_not_depend_on_what_is_kept(toy: Path) -> None:
    kept, plain = samples(toy), samples(toy)
    kept.cache_bytes = 2**30
    for number in (0, 1, 0, 2, 1):
        assert same(kept[number], plain[number])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_one_line_from_a_worker_too(toy: Path, tmp_path: Path, workers: int) -> None:
    data = samples(toy)
    data.images = replace(data.images, images=tmp_path)  # a folder without the images
    with pytest.raises(UserError) as excinfo:
        list(batches(data, 2, workers))
    message = str(excinfo.value)
    assert message.startswith(f"{tmp_path}/toy_")
    assert message.endswith(".jpg: no such image")


def test_evaluation_episodes_are_whole_images(toy: Path) -> None:
    images = open_fold("pascal", toy, 0).test.images
    index: Mapping[str, Mapping[int, int]] = class_index(images, 1)
    query, *supports = images.ids[:3]
    cls = next(iter(index[query]))
    sample = EvaluationEpisodes(images, [Episode(query, cls, tuple(supports))])[0]
    assert sample.query_image.shape == (3, 129, 129)
    assert (sample.query_mask == 1).sum() == index[query][cls]
    labels = np.asarray(Image.open(images.mask_path(query)))
    assert torch.equal(sample.query_mask == 255, torch.as_tensor(labels == 255))
    assert [int((mask == 1).sum()) for mask in sample.support_masks] == [index[name].get(cls, 0) for name in supports]
    picture = np.asarray(Image.open(images.image_path(supports[1])))
    red = (picture[..., 0] / 255 - 0.485) / 0.229
    np.testing.assert_allclose(sample.support_images[1][0], red, atol=1e-5)
