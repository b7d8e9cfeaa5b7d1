"""Who is drawn: the authors' episodes bit for bit, and clear errors where nothing can be drawn."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from itertools import pairwise

import pytest

from dataset import Episode, Pascal, plan_episodes
from dataset.episodes import MIN_PIXELS, check_pool, draw_episode, make_pool
from tests.files import GOLDEN
from util.errors import UserError

EXPECTED = json.loads((GOLDEN / "episodes_pascal_val.json").read_text())

Index = dict[str, dict[int, int]]


@pytest.fixture(scope="module")
def voc() -> Index:
    """Pixels of each class in the masks of PASCAL VOC's val list."""
    content = json.loads(gzip.decompress((GOLDEN / "pascal_index.json.gz").read_bytes()))["val"]
    return {image: {int(cls): pixels for cls, pixels in found.items()} for image, found in content.items()}


def line(episode: Episode) -> str:
    return " ".join([episode.query, str(episode.cls), *episode.supports])


def test_there_are_sixteen_golden_lists() -> None:
    assert len(EXPECTED["runs"]) == 16


@pytest.mark.parametrize("name", EXPECTED["runs"])
def test_the_authors_episodes(voc: Index, name: str) -> None:
    expected = EXPECTED["runs"][name]
    fold, shot, seed = map(int, re.findall(r"\d+", name))
    plan = plan_episodes(voc, Pascal.novel_classes(fold), shot, seed, EXPECTED["episodes"], EXPECTED["workers"])
    lines = [line(episode) for episode in plan]
    assert lines[: len(expected["first"])] == expected["first"]
    assert lines[-len(expected["last"]) :] == expected["last"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == expected["sha256"]
    assert len({episode.query for episode in plan}) == expected["query_images"]
    assert len({image for e in plan for image in (e.query, *e.supports)}) == expected["images"]


def test_a_longer_plan_begins_with_the_shorter(voc: Index) -> None:
    plan = plan_episodes(voc, Pascal.novel_classes(1), 2, seed=3, episodes=30)
    assert plan_episodes(voc, Pascal.novel_classes(1), 2, seed=3, episodes=7) == plan[:7]
    assert plan_episodes(voc, Pascal.novel_classes(1), 2, seed=4, episodes=30) != plan


def random_index(rng: random.Random, images: int, classes: int) -> Index:
    """A list in random order of images that hold up to three classes, some too small."""
    names = [f"image {number}" for number in range(images)]
    rng.shuffle(names)
    return {
        name: {cls: rng.choice((500, MIN_PIXELS - 1, MIN_PIXELS, 9000)) for cls in rng.sample(range(classes), 3)}
        for name in names
    }


def slow_episode(index: Index, classes: list[int], shot: int, rng: random.Random) -> Episode:
    """The words of the protocol, one call a line."""
    images = [image for image in index if any(index[image].get(cls, 0) >= MIN_PIXELS for cls in classes)]
    query = rng.choice(images)
    cls = rng.choice(sorted(set(classes) & set(index[query])))
    members = [image for image in images if cls in index[image]]
    supports: list[str] = []
    while len(supports) < shot:
        candidate = rng.choice(sorted(set(members) - {query} - set(supports)))
        if index[candidate][cls] >= MIN_PIXELS:
            supports.append(candidate)
    return Episode(query, cls, tuple(supports))


@pytest.mark.parametrize("seed", range(10))
def test_drawing_equals_the_words_of_the_protocol(seed: int) -> None:
    rng = random.Random(seed)
    index = random_index(rng, images=60, classes=8)
    classes, shot = rng.sample(range(8), 5), rng.choice((1, 2, 5))
    pool = make_pool(index, classes)
    fast, slow = random.Random(seed), random.Random(seed)
    for _ in range(40):
        assert draw_episode(pool, shot, fast) == slow_episode(index, classes, shot, slow)
    assert fast.getstate() == slow.getstate()


def test_pool_keeps_images_in_list_order_and_members_sorted() -> None:
    big, small = MIN_PIXELS, MIN_PIXELS - 1
    index = {
        "c": {1: big, 2: 5},
        "a": {2: small},
        "b": {2: big, 9: big},
        "d": {9: big},
        "e": {},
        "0": {1: small, 2: big},
    }
    pool = make_pool(index, [2, 1])
    assert pool.names == ["0", "b", "c"]
    assert [pool.names[rank] for rank in pool.images] == ["c", "b", "0"]
    of_image = [pool.classes[start:end].tolist() for start, end in pairwise(pool.starts)]
    assert of_image == [[1, 2], [2], [1, 2]]
    assert {cls: ranks.tolist() for cls, ranks in pool.members.items()} == {1: [0, 2], 2: [0, 1, 2]}


def enough(images: int, cls: int) -> Index:
    return {f"{cls}_{number}": {cls: MIN_PIXELS} for number in range(images)}


def test_too_few_images_are_named() -> None:
    index = {**enough(3, 4), **enough(2, 5)}
    pool = make_pool(index, [4, 5])
    check_pool(pool, 1, "some val")
    with pytest.raises(UserError) as excinfo:
        check_pool(pool, 2, "some val", {4: "boat", 5: "bottle"})
    assert str(excinfo.value) == (
        "some val: class 5 (bottle) has 2 images with at least 2048 pixels of it, "
        "2-shot episodes need 3 (a query and its supports)"
    )
    with pytest.raises(UserError, match=r"class 4 has 3 images .* 5-shot episodes need 6"):
        plan_episodes(index, [4], 5, seed=0, episodes=1)


def test_a_class_that_is_only_small_cannot_be_drawn() -> None:
    index = {**enough(4, 1), "1_0": {1: MIN_PIXELS, 2: MIN_PIXELS - 1}, "1_1": {1: MIN_PIXELS, 2: 1}}
    with pytest.raises(UserError, match=r"class 2 has 0 images with at least 2048 pixels of it, 1-shot .* need 2 "):
        plan_episodes(index, [1, 2], 1, seed=0, episodes=1)


def test_a_class_that_no_image_holds_is_left_out() -> None:
    assert {episode.cls for episode in plan_episodes(enough(3, 1), [1, 2], 1, seed=0, episodes=20)} == {1}


@pytest.mark.parametrize("index", [{}, {"a": {1: MIN_PIXELS - 1}}, {"a": {3: MIN_PIXELS}}])
def test_no_image_at_all(index: Index) -> None:
    with pytest.raises(UserError, match=r"^the validation images: no image holds 2048 pixels of any .* \[1, 2\]$"):
        plan_episodes(index, [1, 2], 1, seed=0, episodes=1)
