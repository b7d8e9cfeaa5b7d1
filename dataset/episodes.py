"""Who is drawn: episodes from the class index, by the authors' own random calls (design, section 5)."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch

from util.errors import UserError

MIN_PIXELS = 2 * 32 * 32  # a class must cover this much of a support, and some class of an image


class Episode(NamedTuple):
    """One query and its supports, which share the target class."""

    query: str
    cls: int
    supports: tuple[str, ...]


class Pool(NamedTuple):
    """What episodes of a set of classes are drawn from."""

    index: Mapping[str, Mapping[int, int]]
    images: list[str]  # kept images, in list order
    classes: dict[str, list[int]]  # of each kept image, sorted
    members: dict[int, list[str]]  # kept images that hold a class at all, sorted


def make_pool(index: Mapping[str, Mapping[int, int]], classes: Collection[int]) -> Pool:
    """Keep the images in which some of the classes is large enough; index: {image: {class: pixels}}."""
    wanted = set(classes)
    present = {image: sorted(wanted & pixels.keys()) for image, pixels in index.items()}
    images = [image for image, found in present.items() if any(index[image][cls] >= MIN_PIXELS for cls in found)]
    members: dict[int, list[str]] = {cls: [] for cls in sorted(wanted)}
    for image in sorted(images):
        for cls in present[image]:
            members[cls].append(image)
    return Pool(index, images, {image: present[image] for image in images}, members)


def check_pool(pool: Pool, shot: int, source: str, names: Mapping[int, str] | None = None) -> None:
    """Raise UserError where an episode cannot be drawn; the release loops forever or crashes there."""
    if not pool.images:
        raise UserError(f"{source}: no image holds {MIN_PIXELS} pixels of any of the classes {list(pool.members)}")
    for cls, members in pool.members.items():
        have = sum(pool.index[image][cls] >= MIN_PIXELS for image in members)
        if members and have < shot + 1:
            name = f" ({names[cls]})" if names else ""
            raise UserError(
                f"{source}: class {cls}{name} has {have} images with at least {MIN_PIXELS} pixels of it, "
                f"--shot {shot} needs {shot + 1} (a query and its supports)"
            )


def draw_episode(pool: Pool, shot: int, rng: random.Random) -> Episode:
    """Draw a query, one of its classes, and supports of that class."""
    query = rng.choice(pool.images)
    cls = rng.choice(pool.classes[query])
    members = pool.members[cls]
    taken = [bisect_left(members, query)]  # positions in members, kept sorted
    supports: list[str] = []
    while len(supports) < shot:
        # choice(sorted(members - taken)), without building the list
        position = rng.choice(range(len(members) - len(taken)))
        for other in taken:
            position += position >= other
        candidate = members[position]
        if pool.index[candidate][cls] >= MIN_PIXELS:
            supports.append(candidate)
            taken = sorted([*taken, position])
    return Episode(query, cls, tuple(supports))


def plan_episodes(
    index: Mapping[str, Mapping[int, int]],
    classes: Collection[int],
    shot: int,
    seed: int,
    episodes: int,
    workers: int = 4,
) -> list[Episode]:
    """The validation episodes of one seed, the same that the authors' release draws.

    index: {image: {class: pixels}} in list order. workers: the release's loader workers, each with a
    random stream of its own; the four is part of the protocol, not a matter of this machine.
    Raises UserError where a class has too few images for the shot.
    """
    pool = make_pool(index, classes)
    check_pool(pool, shot, "the validation images")
    return plan_from_pool(pool, shot, seed, episodes, workers)


def plan_from_pool(pool: Pool, shot: int, seed: int, episodes: int, workers: int = 4) -> list[Episode]:
    """:func:`plan_episodes` from a pool that was made and checked before."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.empty((), dtype=torch.int64).random_(generator=generator).item()
    streams = [random.Random(base + worker) for worker in range(workers)]
    return [draw_episode(pool, shot, streams[number % workers]) for number in range(episodes)]
