"""The index, the drawing of episodes and start-up at COCO's size, 82,783 training and 40,504 validation images.

    python -m benchmarks.sampling

The plain way keeps the whole index and sorts all images of the class for every support that it draws; its episodes
are the same. The index is synthetic. The files that start-up looks at are links to a few small masks, so that
reading them, which comes before the first start, takes less time than COCO's would.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.planning import IMAGES as VALIDATION_IMAGES
from benchmarks.planning import synthetic_index
from benchmarks.timing import timed
from dataset.episodes import MIN_PIXELS, Episode, draw_episode, make_pool
from dataset.images import ImageSet
from dataset.index import class_index
from util.launch import command

TRAINING_IMAGES = 82783
BASE, NOVEL = range(21, 81), range(1, 21)
PLAIN_DRAWS, DRAWS = 200, 20000


Lists = tuple[dict[str, dict[int, int]], list[str], dict[int, list[str]]]


def plain_lists(index: dict[str, dict[int, int]], classes: range) -> Lists:
    """The index, kept images in list order, and the images of each class."""
    kept = [image for image, found in index.items() if any(found.get(cls, 0) >= MIN_PIXELS for cls in classes)]
    return index, kept, {cls: [image for image in kept if cls in index[image]] for cls in classes}


def plain_episode(lists: Lists, classes: range, shot: int, rng: random.Random) -> Episode:
    """One episode as docs/method.md, section 5, says it, word by word."""
    index, kept, members = lists
    query = rng.choice(kept)
    cls = rng.choice(sorted(set(classes) & index[query].keys()))
    supports: list[str] = []
    while len(supports) < shot:
        candidate = rng.choice(sorted(set(members[cls]) - {query} - set(supports)))
        if index[candidate][cls] >= MIN_PIXELS:
            supports.append(candidate)
    return Episode(query, cls, tuple(supports))


def memory_of(make: Callable[[], Any]) -> tuple[float, Any]:
    """MiB that a result keeps."""
    tracemalloc.start()
    result = make()
    kept = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    return kept, result


def measure_drawing(images: int, classes: range, shot: int) -> None:
    index = synthetic_index(images)
    pool, lists = make_pool(index, classes), plain_lists(index, classes)
    slow, fast = random.Random(0), random.Random(0)
    plain, expected = timed(lambda: [plain_episode(lists, classes, shot, slow) for _ in range(PLAIN_DRAWS)])
    ours, drawn = timed(lambda: [draw_episode(pool, shot, fast) for _ in range(DRAWS)])
    assert drawn[:PLAIN_DRAWS] == expected
    plain, ours = 1e6 * plain / PLAIN_DRAWS, 1e6 * ours / DRAWS
    print(
        f"{images:6} images, {shot}-shot: plain {plain:8.0f} us, ours {ours:5.1f} us an episode, {plain / ours:6.0f} x"
    )


def measure_memory() -> None:
    names = list(synthetic_index(TRAINING_IMAGES))  # which the list of images holds in either way
    plain, index = memory_of(lambda: dict(zip(names, synthetic_index(TRAINING_IMAGES).values(), strict=True)))
    more, _ = memory_of(lambda: plain_lists(index, BASE))
    seconds, _ = timed(lambda: make_pool(index, BASE))
    ours, _ = memory_of(lambda: make_pool(index, BASE))
    print(
        f"kept while training: plain {plain + more:.1f} MiB (index {plain:.1f}), ours {ours:.1f} MiB, "
        f"{(plain + more) / ours:.1f} x; packed in {seconds:.2f} s"
    )


def measure_start(folder: Path) -> None:
    """Reading 123,287 masks once, then the starts after that."""
    rng = np.random.RandomState(0)
    sets = []
    for split, count in (("train", TRAINING_IMAGES), ("val", VALIDATION_IMAGES)):
        masks = folder / split
        masks.mkdir()
        ids = tuple(f"COCO_{split}2014_{number:012d}" for number in range(count))
        for number, image in enumerate(ids):
            if number < 20:
                labels = np.kron(rng.randint(0, 81, (4, 4)), np.ones((32, 32))).astype(np.uint8)
                Image.fromarray(labels).save(masks / f"{image}.png")
            else:
                os.link(masks / f"{ids[number % 20]}.png", masks / f"{image}.png")
        sets.append(ImageSet(split, ids, masks, masks, {}))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    time.sleep(2.5)  # masks changed just now would not be kept in the cache
    cold, _ = timed(lambda: [class_index(images) for images in sets])
    warm = min(timed(lambda: [class_index(images) for images in sets])[0] for _ in range(3))
    cache = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file()) / 2**20
    print(
        f"index of {TRAINING_IMAGES + VALIDATION_IMAGES} masks: first start {cold:.1f} s, later ones {warm:.2f} s "
        f"({cold / warm:.0f} x), cache {cache:.1f} MiB"
    )


def main() -> None:
    for images in (TRAINING_IMAGES // 10, TRAINING_IMAGES):
        for shot in (1, 5):
            measure_drawing(images, BASE, shot)
    measure_drawing(VALIDATION_IMAGES, NOVEL, 5)
    measure_memory()
    with tempfile.TemporaryDirectory() as folder:
        measure_start(Path(folder))


if __name__ == "__main__":
    command(main)
