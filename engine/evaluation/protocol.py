"""The two protocols of evaluation, and files of episodes (docs/method.md, section 6)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dataset import DATASETS, Benchmark, Episode, Plans, Split, hsnet, open_pool
from dataset.episodes import plan_from_pool
from dataset.own import Own
from dataset.provenance import PROVENANCE_RULES, Provenance, from_dict
from engine.setting import CACHE_GB, Setting, spans
from util.errors import UserError, refusal
from util.fields import check_fields, dict_of, list_of, one_of, optional, whole, with_fields
from util.files import atomic_write, is_name, read_json
from util.numbers import whole_number

EPISODES_FORMAT = "ssp-episodes-1"
EPISODES_MARK = f'{{"format": "{EPISODES_FORMAT}"'  # with which a file of episodes begins
EPISODES_BYTES = 2**28  # the largest file of episodes: a million of 5 shots
MOST_PLANNED = 10**7  # episodes of all seeds, which lie in memory
MOST_CLASSES = 10**5  # of own data; of a benchmark its fold is known


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated, but for the episodes themselves."""

    name: str  # as the flag --protocol takes it
    title: str
    seeds: int
    side: int | None  # pixels of the square that images are resized to; None: they keep their size
    ignored_is_background: bool  # whether a support's pixels labelled 255 count as background
    over_all_classes: bool  # the mean is over all classes of the fold, else over those that were drawn

    def episodes(self, benchmark: Benchmark | type[Benchmark]) -> int:
        """Episodes of a seed."""
        return benchmark.hsnet_episodes if self == HSNET else benchmark.episodes


PAPER = Protocol("ssp", "the paper's own protocol", 5, None, ignored_is_background=False, over_all_classes=False)
HSNET = Protocol("hsnet", "HSNet's protocol", 1, hsnet.HSNET_SIDE, ignored_is_background=True, over_all_classes=True)
PROTOCOLS = {protocol.name: protocol for protocol in (PAPER, HSNET)}


@dataclass(frozen=True)
class EvaluationOptions:
    """What an evaluation computes with; the result changes by rounding only."""

    workers: int = 0  # loader processes
    engine: str = "planned"  # or "plain", the reference, which takes one episode at a time
    cache_gb: float = CACHE_GB  # memory of a process for features, in 2**30 bytes
    amp: bool = False  # the backbone runs in bfloat16


DEFAULT_OPTIONS = EvaluationOptions()


class SavedEpisodes(NamedTuple):
    """The episodes of a file, and what they belong to."""

    dataset: str
    class_order: str | None
    fold: int | None
    shot: int
    protocol: str  # its name
    plans: Plans
    data: Provenance | None  # what they were drawn from; None: unknown
    file: str | Path = "saved episodes"  # for messages


def plan_seeds(
    split: Split, shot: int, seeds: Iterable[int], episodes: int, workers: int | None = None
) -> dict[int, list[Episode]]:
    """Plan so many episodes of each seed, as the authors draw them (docs/method.md, section 5).

    workers: processes that read masks, all cores by default.
    Raises UserError if a class has too few images for the shot, or these are too many episodes to plan.
    """
    seeds = list(seeds)
    if len(seeds) * episodes > MOST_PLANNED:
        many = f"{len(seeds)} seeds of {episodes} episodes are more than {MOST_PLANNED} in all"
        raise UserError(f"{many}; lower --seeds, or the episodes of a seed")
    pool = open_pool(split, shot, workers)
    return {seed: plan_from_pool(pool, shot, seed, episodes) for seed in seeds}


def save_episodes(
    path: str | Path, setting: Setting, protocol: Protocol, plans: Plans, data: Provenance | None = None
) -> None:
    """Write the episodes of each seed, [QUERY, CLASS, [SUPPORT, ...]], and what they belong to, as JSON, atomically."""
    content = {
        "format": EPISODES_FORMAT,
        **{name: getattr(setting, name) for name in ("dataset", "class_order", "fold", "shot")},
        "protocol": protocol.name,
        "data": data and data.as_dict(),
        "seeds": {seed: [list(episode) for episode in episodes] for seed, episodes in plans.items()},
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def load_episodes(path: str | Path) -> SavedEpisodes:
    """Read what :func:`save_episodes` wrote. Raises UserError for any other file."""
    try:
        content = read_json(path, EPISODES_BYTES)
        check_fields(content, {"dataset": one_of(*DATASETS)})
        benchmark = DATASETS[content["dataset"]]
        rules = {
            "format": one_of(EPISODES_FORMAT),
            "class_order": one_of(*benchmark.class_orders),
            "fold": one_of(*benchmark.folds),
            "shot": whole(1, 100),
            "protocol": one_of(*PROTOCOLS),
            "data": optional(with_fields(PROVENANCE_RULES)),
            "seeds": dict_of(lambda episodes: bool(episodes) and list_of(is_episode)(episodes)),
        }
        check_fields(content, rules)
        plans = {
            whole_number(seed): [Episode(query, cls, tuple(supports)) for query, cls, supports in episodes]
            for seed, episodes in content["seeds"].items()
        }
        shots = {len(episode.supports) for episodes in plans.values() for episode in episodes}
        if shots != {content["shot"]} or not all(0 <= seed < 2**32 for seed in plans):
            raise ValueError
        drawn = {episode.cls for episodes in plans.values() for episode in episodes}
        is_own = benchmark is Own  # whose classes are known when its folder is opened
        tested = drawn if is_own else benchmark.novel_classes(content["fold"], content.get("class_order"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: not a list of episodes that --save-episodes wrote") from error
    if others := drawn.difference(tested):
        fold = "" if content["fold"] is None else f" fold {content['fold']}"
        own = f"{benchmark.name}{fold} tests {spans(tested)}"
        raise UserError(f"{path}: has episodes of class {min(others)}; {own}; save the episodes again")
    known = {name: content.get(name) for name in SavedEpisodes._fields}
    return SavedEpisodes(**{**known, "plans": plans, "data": from_dict(content.get("data")), "file": path})


def is_episode(value: Any) -> bool:
    """Tell whether a value is an episode out of a file: [QUERY, CLASS, [SUPPORT, ...]]."""
    if type(value) is not list or len(value) != 3:
        return False
    query, cls, supports = value
    return is_image(query) and whole(1, MOST_CLASSES)(cls) and list_of(is_image)(supports)


def is_image(value: Any) -> bool:
    """Tell whether a value is an image's id, of fss with its folder; none leads out of the dataset's folder."""
    return type(value) is str and all(map(is_name, value.split("/")))
