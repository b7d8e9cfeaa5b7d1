"""--dataset own: classes, folds and lists of dataset.json; the same episodes and masks as in a layout with masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coding

from dataset import Episode, open_fold, open_pool, open_split
from dataset.own import DATASET, Own, is_held_out
from dataset.prepare.verify import survey
from dataset.run_lengths import ANNOTATIONS
from dataset.samples import EvaluationEpisodes
from tests.files import write
from util.errors import UserError

CLASSES = ["ant", "bee", "cow", "doe"]
IMAGES = [f"{name}{number}" for name in "pq" for number in range(6)]


def make_own(root: Path, **content: Any) -> Path:
    """Twelve images of 8x6 pixels: number n shows class n modulo 4 in its left half, and ant in a pixel elsewhere."""
    lines = []
    for number, image in enumerate(IMAGES):
        mask = np.zeros((2, 6, 8), np.uint8)
        mask[0, :, :4] = mask[1, 0, 7] = 1
        codes = [coding.encode(np.asfortranarray(each))["counts"].decode() for each in mask]
        shown = {"ant": codes[1], CLASSES[number % 4]: codes[0]}
        lines.append(json.dumps({"image": image, "size": [6, 8], "classes": shown}) + "\n")
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(root / "images" / f"{image}.png")
    write(root / ANNOTATIONS, "".join(lines))
    return describe(root, **content)


def describe(root: Path, **content: Any) -> Path:
    known = {"format": "ssp-own-1", "name": "few", "classes": CLASSES, "min_pixels": 2, **content}
    write(root / DATASET, json.dumps(known))
    return root


FOLDS = [["doe", "cow"], ["ant"]]
LISTS = {"train": IMAGES[4:], "val": IMAGES[:4]}


def test_a_fold(tmp_path: Path) -> None:
    fold = open_fold("own", make_own(tmp_path, folds=FOLDS, lists=LISTS, episodes=7, crop_size=65), 0)
    assert (fold.train.names(), fold.test.names()) == (["ant", "bee"], ["cow", "doe"])
    assert (list(fold.train.images.ids), list(fold.test.images.ids)) == (LISTS["train"], LISTS["val"])
    assert fold.test.min_pixels == 2
    own = Own(tmp_path)
    assert (own.episodes, own.hsnet_episodes, own.crop_size, own.folds) == (7, 7, 65, (0, 1))
    pool = open_pool(fold.train, 1, workers=0)
    kept = [IMAGES[number] for number in (4, 5, 8, 9)]  # which show ant or bee in two pixels
    assert [pool.names[rank] for rank in pool.members[1]] == kept  # ant is everywhere, at least in one pixel
    assert pool.large[1].tolist() == [True, False, True, False]


def test_masks_of_an_episode(tmp_path: Path) -> None:
    images = open_split("own", make_own(tmp_path), "test", None).images
    sample = EvaluationEpisodes(images, [Episode(IMAGES[0], 1, (IMAGES[1],))])[0]
    assert sample.query_mask.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 6  # the later of two regions of a name counts
    assert sample.support_masks[0].tolist() == [[0] * 7 + [1], *[[0] * 8] * 5]
    square = EvaluationEpisodes(images, [Episode(IMAGES[1], 2, (IMAGES[1],))], side=4)[0]
    assert square.query_mask.tolist() == [[1, 1, 0, 0]] * 4


def test_without_folds_all_is_tested_and_nothing_trained_on(tmp_path: Path) -> None:
    split = open_split("own", make_own(tmp_path), "test", None)
    assert (split.names(), list(split.images.ids)) == (CLASSES, IMAGES)
    with pytest.raises(UserError, match=r"dataset\.json: names no folds, so every class is novel; .* --novel"):
        open_fold("own", tmp_path, None)


def test_images_of_no_list_are_divided_by_their_id_alone(tmp_path: Path) -> None:
    fold = open_fold("own", make_own(tmp_path, folds=FOLDS), 0)
    held_out = [image for image in IMAGES if is_held_out(image)]
    assert list(fold.test.images.ids) == held_out == ["p5", "q3", "q5"]
    assert list(fold.train.images.ids) == [image for image in IMAGES if image not in held_out]
    share = np.mean([is_held_out(f"image {number}") for number in range(5000)])
    assert 0.18 < share < 0.22
    fold = open_fold("own", describe(tmp_path, folds=FOLDS, lists={"val": IMAGES[:4]}), 0)
    assert list(fold.train.images.ids) == IMAGES[4:]


def test_the_digest_tells_data_apart(tmp_path: Path) -> None:
    own = Own(make_own(tmp_path, folds=FOLDS))
    labels = {own.open_split(split, 0).provenance.label for split in ("train", "val")}
    assert labels == {f"few {own.digest[:8]} data"}
    others = [
        lambda: describe(tmp_path, folds=FOLDS[:1]),
        lambda: describe(tmp_path, folds=FOLDS, lists=LISTS),
        lambda: write(tmp_path / ANNOTATIONS, (tmp_path / ANNOTATIONS).read_text() + " "),
    ]
    digests = {own.digest}
    for change in others:
        change()
        digests.add(Own(tmp_path).digest)
    assert len(digests) == 4


def test_hsnets_protocol_draws_from_its_own_images(tmp_path: Path) -> None:
    own = Own(make_own(tmp_path, folds=FOLDS, lists=LISTS | {"val": IMAGES[:8]} | {"train": IMAGES[8:]}, episodes=9))
    episodes = own.plan_hsnet(None, 0, 1)
    assert [(episode.query, episode.cls) for episode in episodes[:5]] == [
        ("p2", 3), ("p3", 4), ("q0", 3), ("q1", 4), ("p2", 3),
    ]  # fmt: skip
    assert {episode.supports for episode in episodes} == {("p2",), ("p3",), ("q0",), ("q1",)}
    assert all(episode.supports[0] != episode.query for episode in episodes)
    assert len(episodes) == 9
    assert own.hsnet_classes(0, episodes) == [3, 4]


def test_hsnets_protocol_may_take_the_classes_in_turn(tmp_path: Path) -> None:
    lists = {"val": IMAGES[:8], "train": IMAGES[8:]}
    own = Own(make_own(tmp_path, folds=FOLDS, lists=lists, episodes=9, draw="classes"))
    episodes = own.plan_hsnet(None, 0, 2)
    assert [episode.cls for episode in episodes] == [3, 4, 3, 4, 3, 4, 3, 4, 3]
    for cls, images in ((3, {"p2", "q0"}), (4, {"p3", "q1"})):
        of_class = [episode for episode in episodes if episode.cls == cls]
        assert {episode.query for episode in of_class} == images  # drawn, so that all come
        assert all({*episode.supports} == images - {episode.query} for episode in of_class)
    assert episodes == own.plan_hsnet(None, 0, 2)


def no_json(root: Path) -> None:
    write(root / DATASET, "{")


def no_dataset(root: Path) -> None:
    (root / DATASET).unlink()


def no_annotations(root: Path) -> None:
    (root / ANNOTATIONS).unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_json, f"{DATASET}: "),
        (no_dataset, f"no {DATASET}; name a folder that prepare.py own made"),
        (no_annotations, f"{ANNOTATIONS}: cannot be read"),
        ({"format": "ssp-own-2"}, "its format cannot be"),
        ({"classes": ["a", "a"]}, "classes must be different names"),
        ({"classes": []}, "classes must be different names"),
        ({"draw": "pixels"}, "its draw cannot be"),
        ({"folds": []}, "folds must be 1 to 100"),
        ({"folds": [["yak"]]}, "a fold names 'yak', which is none of the classes"),
        ({"folds": [CLASSES]}, "a fold names all classes"),
        ({"lists": {"test": ["p0"]}}, "its lists cannot be"),
        ({"lists": {"val": ["../p0"]}}, "lists must hold ids of images"),
        ({"lists": {"val": ["p0", "p0"]}}, "a list names an image twice"),
        ({"lists": {"val": ["p0"], "train": ["p0"]}}, "the image 'p0' is in the lists of both train and val"),
        ({"lists": {"val": ["yak"]}}, f"the list val names yak, which {ANNOTATIONS} does not hold"),
        ({"min_pixels": 0}, "its min_pixels cannot be 0"),
        ({"crop_size": "473"}, "its crop_size cannot be '473'"),
    ],
)
def test_a_folder_that_is_no_good(tmp_path: Path, damage: dict[str, Any] | Callable[[Path], None], says: str) -> None:
    make_own(tmp_path)
    if isinstance(damage, dict):
        describe(tmp_path, **{"folds": FOLDS, **damage})
    else:
        damage(tmp_path)
    with pytest.raises(UserError) as excinfo:
        Own(tmp_path).open_split("test", 0)
    assert says in str(excinfo.value)
    assert "\n" not in str(excinfo.value)


def test_verify(tmp_path: Path) -> None:
    make_own(tmp_path, folds=FOLDS[1:], lists={"val": IMAGES[8:], "train": IMAGES[:8]}, min_pixels=1)
    assert survey(Own(tmp_path), 1, workers=0).findings == []
    Image.new("RGB", (9, 6)).save(tmp_path / "images" / "p1.png")
    write(tmp_path / "images" / "p2.png", "no image")
    lines = (tmp_path / ANNOTATIONS).read_text().splitlines(keepends=True)
    content = json.loads(lines[3])
    content["classes"]["ant"] = content["classes"]["ant"][:-1] + "4"  # its last run of 5 pixels is one too short
    lines[3] = json.dumps(content) + "\n"
    write(tmp_path / ANNOTATIONS, "".join(lines))
    found = survey(Own(tmp_path), 1, workers=0).findings
    assert [finding.kind for finding in found] == ["image", "mask", "size", "class"]  # doe is left in one image
    assert str(tmp_path / "images" / "p2.png") in found[0].text
    assert "run lengths" in found[1].text
    assert found[2].text == f"{tmp_path / ANNOTATIONS}, image p1: mask of 8x6 pixels, image of 9x6"
