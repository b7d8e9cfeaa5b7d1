"""The two protocols of evaluation, files of episodes, and doubts about a result (docs/method.md, section 6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset import DATASETS, FOLDS, Episode, Plans, Split, hsnet, open_pool
from dataset.episodes import plan_from_pool
from dataset.provenance import Provenance, from_dict
from engine.setting import AUTHORS, Setting
from util.errors import UserError, refusal
from util.files import atomic_write, is_name, read_json
from util.numbers import whole_number

EPISODES_FORMAT = "ssp-episodes-1"
EPISODES_BYTES = 2**28  # of a file of episodes: a million of 5 shots
MOST_PLANNED = 10**7  # episodes of all seeds, which lie in memory
MOST_CLASSES = 1000  # FSS-1000 counts as far
SAVED = ("dataset", "class_order", "fold", "shot", "protocol")  # what saved episodes belong to


@dataclass(frozen=True)
class Protocol:
    """How a network is evaluated, but for the episodes themselves."""

    name: str  # of the flag --protocol
    title: str
    seeds: int
    side: int | None  # of the square that images are resized to, in pixels; None: they keep their size
    ignored_is_background: bool  # whether a support's pixels labelled 255 count as background
    over_all_classes: bool  # the mean is over all classes of the fold, else over those that were drawn

    def episodes(self, dataset: str) -> int:
        """Episodes of a seed."""
        benchmark = DATASETS[dataset]
        return benchmark.hsnet_episodes if self == HSNET else benchmark.episodes


PAPER = Protocol("ssp", "the paper's own protocol", 5, None, ignored_is_background=False, over_all_classes=False)
HSNET = Protocol("hsnet", "HSNet's protocol", 1, hsnet.HSNET_SIDE, ignored_is_background=True, over_all_classes=True)
PROTOCOLS = {protocol.name: protocol for protocol in (PAPER, HSNET)}


def plan_seeds(
    split: Split, shot: int, seeds: Iterable[int], episodes: int, workers: int | None = None
) -> dict[int, list[Episode]]:
    """Plan the episodes of each seed, as the authors draw them (docs/method.md, section 5).

    Arguments:
        split: images and test classes.
        shot: supports of an episode.
        seeds: which to plan.
        episodes: of a seed.
        workers: processes that read masks, all cores by default.
    Raises:
        UserError: a class has too few images for the shot, or these are too many episodes to plan.
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
    """Write the episodes of each seed, [QUERY, CLASS, [SUPPORT, ...]], as JSON, atomically.

    Arguments:
        path: the file.
        setting, protocol: what the episodes belong to.
        plans: episodes by seed.
        data: what they were drawn from; None: unknown.
    """
    known = {**setting.as_dict(), "protocol": protocol.name}
    content = {
        "format": EPISODES_FORMAT,
        **{name: known[name] for name in SAVED},
        "data": data and data._asdict(),
        "seeds": {seed: [list(episode) for episode in episodes] for seed, episodes in plans.items()},
    }
    text = json.dumps(content).encode()
    if len(text) > EPISODES_BYTES:
        limit = f"{EPISODES_BYTES >> 20} MB"
        raise UserError(f"{path}: more than the {limit} that are read again; fewer --seeds or --episodes")
    with atomic_write(path) as file:
        file.write(text)


def load_episodes(path: str | Path) -> dict[str, Any]:
    """Read what :func:`save_episodes` wrote, with "plans" in place of "seeds", and "data" (None: unknown).

    Raises UserError for any other file.
    """
    try:
        content = read_json(path, EPISODES_BYTES)
        known = {name: content[name] for name in SAVED}
        benchmark = DATASETS[known["dataset"]]
        numbers = known["fold"] in (None, *FOLDS) and type(known["shot"]) is int and 1 <= known["shot"] <= 100
        names = known["protocol"] in PROTOCOLS and known["class_order"] in benchmark.class_orders
        if content["format"] != EPISODES_FORMAT or not (numbers and names):
            raise ValueError("unknown format")
        plans = {
            _seed(seed): [
                Episode(_image(query), _cls(cls), tuple(map(_image, supports))) for query, cls, supports in some
            ]
            for seed, some in content["seeds"].items()
        }
        data = from_dict(content.get("data"))
        shots = {len(episode.supports) for episodes in plans.values() for episode in episodes}
        if shots != {known["shot"]} or not all(plans.values()):
            raise ValueError("shots")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a list of episodes that --save-episodes wrote") from error
    return {**known, "plans": plans, "data": data}


def _seed(text: str) -> int:
    """A seed out of a file. Raises ValueError for what is none."""
    if not 0 <= (seed := whole_number(text)) < 2**32:
        raise ValueError("seed")
    return seed


def _image(value: Any) -> str:
    """An image out of a file, of fss with its folder. Raises ValueError for one outside the dataset's folder."""
    if not all(map(is_name, str(value).split("/"))):
        raise ValueError("image")
    return str(value)


def _cls(value: Any) -> int:
    """A class out of a file. Raises ValueError for what is none."""
    if type(value) is not int or not 1 <= value <= MOST_CLASSES:
        raise ValueError("class")
    return value


def leakage_warnings(
    setting: Setting,
    classes: Sequence[int],
    names: Mapping[int, str],
    info: Mapping[str, Any],
    path: Path,
    splits: str | Path | None = None,
) -> list[str]:
    """Say why a result may mean nothing: lists that are not HSNet's own, classes that were trained on.

    Arguments:
        setting: what is tested.
        classes: the test classes.
        names: of the classes, by number.
        info: what the checkpoint knows of its training; a plain state dict knows nothing.
        path: of the checkpoint.
        splits: HSNet's data/splits, if the episodes are drawn from there.
    Returns:
        Lines for people; none if nothing is wrong.
    """
    lists = None if splits is None else setting.benchmark.hsnet_list(splits, setting.fold)
    if lists and hsnet.is_generated(lists):
        line = f"{lists} was {hsnet.GENERATED}: its episodes are not HSNet's"
        return [line, *training_leakage(setting, classes, names, info, path)]
    return training_leakage(setting, classes, names, info, path)


def training_leakage(
    setting: Setting, classes: Sequence[int], names: Mapping[int, str], info: Mapping[str, Any], path: Path
) -> list[str]:
    """Warn about test classes that a network was, or may have been, trained or chosen on (see leakage_warnings)."""

    def named(some: Sequence[int]) -> str:
        return ", ".join(f"{cls} {names.get(cls, '')}".strip() for cls in some)

    benchmark = setting.benchmark
    # Which order of coco's classes the authors trained on the report discusses, unless --trained-on says it.
    if info.get("weights") == AUTHORS and "base_classes" not in info:
        if (info["dataset"], info["fold"]) == (setting.dataset, setting.fold):
            return []
        other = f"{info['dataset']} fold {info['fold']}, whose training classes may be among the test classes"
        return [f"{path} was trained by the authors on {other}"]
    if "base_classes" not in info:
        line = f"{path} does not say which classes it was trained on; make sure the test classes are not among them"
        for other in benchmark.class_orders:
            if other != setting.class_order:
                seen = [cls for cls in classes if cls not in benchmark.novel_classes(setting.fold, other)]
                line += f"; one trained on fold {setting.fold} in {other} order has SEEN {len(seen)} of them: "
                line += named(seen)
        return [line]
    if info.get("dataset") != setting.dataset:
        other = f"was trained on {info.get('dataset')}, whose classes may be among those of {setting.dataset}"
        return [f"{path} {other}"]
    if benchmark.counted == "classes":  # the lists say which classes there are: another list gives other numbers
        trained, chosen = set(info.get("base_names", ())), set(info.get("selection_names", ()))
        seen = {"TRAINED on": [c for c in classes if names[c] in trained]}
        seen["CHOSEN on"] = [c for c in classes if names[c] in chosen]
    else:
        seen = {"TRAINED on": sorted(set(classes) & set(info["base_classes"]))}
    return [
        f"{path} was {how} {len(found)} of the {len(classes)} test classes: {named(found)}"
        for how, found in seen.items()
        if found
    ]
