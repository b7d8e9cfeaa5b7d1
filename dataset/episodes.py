"""Who is drawn: episodes from the class index, by the authors' own random calls (docs/method.md, section 5)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from util.errors import UserError

MIN_PIXELS = 2 * 32 * 32  # a class must cover this much of a support, and some class of an image


class Episode(NamedTuple):
    """One query and its supports, which share the target class."""

    query: str
    cls: int
    supports: tuple[str, ...]


Plans = Mapping[int, Sequence[Episode]]  # the episodes of each seed


def images_of(episodes: Iterable[Episode]) -> list[str]:
    """Their different images, queries and supports, in the order in which they first come."""
    return list(dict.fromkeys(image for episode in episodes for image in (episode.query, *episode.supports)))


def digest_episodes(episodes: Iterable[Episode]) -> str:
    """The sha256 of a list of episodes, by which two evaluations on the same ones are known."""
    return hashlib.sha256(json.dumps([list(episode) for episode in episodes]).encode()).hexdigest()


class Pool(NamedTuple):
    """What episodes of a set of classes are drawn from, packed: a few MB for COCO, shared by loader processes.

    An image is its rank among the sorted names of the kept images.
    """

    min_pixels: int  # a class must cover so much of a support
    names: list[str]  # the kept images, sorted
    images: np.ndarray  # (N,) ranks in list order, which the choice of a query depends on
    starts: np.ndarray  # (N + 1,) image r holds classes[starts[r] : starts[r + 1]]
    classes: np.ndarray  # sorted within each image
    members: dict[int, np.ndarray]  # class -> ranks of the images that hold it at all, ascending
    large: dict[int, np.ndarray]  # beside members: whether the class covers enough of the image for a support


def make_pool(index: Mapping[str, Mapping[int, int]], classes: Collection[int], min_pixels: int = MIN_PIXELS) -> Pool:
    """Keep the images in which some of the classes is large enough; index: {image: {class: pixels}}."""
    wanted = set(classes)
    present = {image: sorted(wanted & pixels.keys()) for image, pixels in index.items()}
    kept = [image for image, found in present.items() if any(index[image][cls] >= min_pixels for cls in found)]
    names = sorted(kept)
    rank = {image: number for number, image in enumerate(names)}
    members: dict[int, list[int]] = {cls: [] for cls in sorted(wanted)}
    large: dict[int, list[bool]] = {cls: [] for cls in members}
    for number, image in enumerate(names):
        for cls in present[image]:
            members[cls].append(number)
            large[cls].append(index[image][cls] >= min_pixels)
    return Pool(
        min_pixels,
        names,
        images=np.fromiter((rank[image] for image in kept), np.int32),
        starts=np.cumsum([0, *(len(present[image]) for image in names)], dtype=np.int32),
        classes=np.fromiter((cls for image in names for cls in present[image]), np.int16),
        members={cls: np.array(found, np.int32) for cls, found in members.items()},
        large={cls: np.array(found, bool) for cls, found in large.items()},
    )


def check_pool(pool: Pool, shot: int, source: str, names: Mapping[int, str] | None = None, way_out: str = "") -> None:
    """Raise UserError if there is no image or a class has too few: the release then loops forever or crashes.

    source, names, way_out: where the images are from, the classes' names and what helps, for messages.
    """
    if not pool.names:
        raise UserError(f"{source}: no image holds {pool.min_pixels} pixels of any of the classes {list(pool.members)}")
    for cls, large in pool.large.items():
        have = int(large.sum())
        if len(large) and have < shot + 1:
            name = f" ({names[cls]})" if names else ""
            raise UserError(
                f"{source}: class {cls}{name} has {have} images with at least {pool.min_pixels} pixels of it, "
                f"{shot}-shot episodes need {shot + 1} (a query and its supports)"
                f"{way_out and f'{way_out} {shot + 1}'}"
            )


def draw_episode(pool: Pool, shot: int, rng: random.Random) -> Episode:
    """Draw a query, one of its classes, and supports of that class."""
    query = int(rng.choice(pool.images))
    cls = int(rng.choice(pool.classes[pool.starts[query] : pool.starts[query + 1]]))
    members, large = pool.members[cls], pool.large[cls]
    taken = [int(np.searchsorted(members, query))]  # positions in members, kept sorted
    supports: list[str] = []
    while len(supports) < shot:
        # choice(sorted(members - taken)), without building the list
        position = rng.choice(range(len(members) - len(taken)))
        for other in taken:
            position += position >= other
        if large[position]:
            supports.append(pool.names[members[position]])
            taken = sorted([*taken, position])
    return Episode(pool.names[query], cls, tuple(supports))


def plan_episodes(
    index: Mapping[str, Mapping[int, int]],
    classes: Collection[int],
    shot: int,
    seed: int,
    episodes: int,
    workers: int = 4,
) -> list[Episode]:
    """Draw the validation episodes of one seed, the same that the authors' release draws.

    Arguments:
        index: {image: {class: pixels}} in list order.
        classes: the test classes.
        shot: supports of an episode.
        seed: number of the release's evaluation, 0 to 4 in the paper.
        episodes: how many.
        workers: the release's loader workers, each with a random stream of its own. The four is part of the protocol;
            it has nothing to do with this machine.
    Raises:
        UserError: a class has too few images for the shot.
    """
    pool = make_pool(index, classes)
    check_pool(pool, shot, "the validation images")
    return plan_from_pool(pool, shot, seed, episodes, workers)


def plan_from_pool(pool: Pool, shot: int, seed: int, episodes: int, workers: int = 4) -> list[Episode]:
    """:func:`plan_episodes` from a pool that was made and checked before."""
    import torch  # here, so that --help does not wait for it

    generator = torch.Generator().manual_seed(seed)
    base = torch.empty((), dtype=torch.int64).random_(generator=generator).item()
    streams = [random.Random(base + worker) for worker in range(workers)]
    return [draw_episode(pool, shot, streams[number % workers]) for number in range(episodes)]
