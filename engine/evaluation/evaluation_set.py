"""What is tested: the images, the episodes of each seed and the classes; said in a line before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset import ImageSet, Plans, checked_index, class_index, images_of
from dataset.index import ClassIndex
from dataset.provenance import Provenance, label_of
from engine.evaluation.protocol import HSNET, PAPER, Protocol, SavedEpisodes, plan_seeds
from engine.evaluation.training_provenance import describe_training
from engine.setting import Setting, spans
from engine.variation import Variation, describe_settings
from util import distributed
from util.errors import UserError


class EvaluationSet(NamedTuple):
    """What is tested."""

    images: ImageSet
    plans: Plans
    classes: list[int]
    data: Provenance | None  # None: unknown, of saved episodes that do not say
    index: ClassIndex | None = None  # of the images; None: the episodes were drawn from it

    @property
    def missing(self) -> dict[int, str]:
        """The test classes that no episode of any seed shows, by number, with their names."""
        drawn = {episode.cls for some in self.plans.values() for episode in some}
        return {cls: self.images.class_names.get(cls, "") for cls in self.classes if cls not in drawn}


class EpisodesWanted(NamedTuple):
    """Which episodes are tested."""

    seeds: Sequence[int]  # those of the paper's own protocol
    episodes: int | None = None  # how many a seed has; None: the protocol's, or all that are saved
    saved: SavedEpisodes | None = None  # taken in place of drawn ones


def open_evaluation_set(
    setting: Setting,
    protocol: Protocol,
    wanted: EpisodesWanted,
    root: str | Path,
    hsnet_lists: str | None = None,
    workers: int = 0,
) -> EvaluationSet:
    """Open the images and plan the episodes: saved ones, HSNet's (of its data/splits), or those the authors draw."""
    fold, benchmark = setting.fold, setting.benchmark(root, hsnet_lists)
    seeds, episodes, saved = wanted
    if not saved and protocol == PAPER:
        split = benchmark.open_split("test", fold, setting.class_order)
        with distributed.first_process_first():
            plans = plan_seeds(split, setting.shot, seeds, episodes or PAPER.episodes(benchmark), workers=workers)
        return EvaluationSet(split.images, plans, split.classes, split.provenance)
    plans = saved.plans if saved else {0: benchmark.plan_hsnet(hsnet_lists, fold, setting.shot)}
    if saved and episodes and episodes > (has := min(map(len, plans.values()))):
        raise UserError(f"--episodes {episodes}: the file of --episodes-from has {has} of a seed; ask for no more")
    everything = [episode for some in plans.values() for episode in some]  # also those that are left out below
    over_fold = protocol.over_all_classes
    classes = benchmark.hsnet_classes(fold, everything) if over_fold else {episode.cls for episode in everything}
    plans = {seed: some[:episodes] for seed, some in plans.items()}
    images = benchmark.open_images([episode for some in plans.values() for episode in some])
    if saved and (absent := {episode.cls for episode in everything} - images.class_names.keys()):
        raise UserError(f"{saved.file}: has episodes of class {min(absent)}, which this {images.name} does not have")
    with distributed.first_process_first():
        index = checked_index(images, workers)
    data = saved.data if saved else benchmark.hsnet_provenance(fold)
    return EvaluationSet(images, plans, [cls for cls in sorted(classes) if cls in images.class_names], data, index)


def unshown_warnings(saved: SavedEpisodes, tested: EvaluationSet) -> list[str]:
    """A line if images of saved episodes do not show their class: then they were drawn from other masks.

    HSNet's lists may name such an image; of its protocol nothing is said.
    """
    if saved.protocol == HSNET.name:
        return []
    of_class = {(image, each.cls) for some in tested.plans.values() for each in some for image in images_of([each])}
    unshown = sorted((image, cls) for image, cls in of_class if cls not in tested.index[image])
    if not unshown:
        return []
    image, cls = unshown[0]
    line = f"{len(unshown)} of its {len(of_class)} images do not show the class of their episode, {image} class {cls}"
    return [f"{saved.file}: {line} the first; these episodes were drawn from other masks"]


def describe_missing_classes(tested: EvaluationSet, protocol: Protocol) -> list[str]:
    """A line for each test class without an episode: why, and what that does to the mean."""
    images, missing = tested.images, tested.missing
    drawn_from = class_index(images).values() if missing and protocol == PAPER else ()
    then = "it counts as 0" if protocol.over_all_classes else "the mean is over the other classes"
    lines = []
    for cls, name in missing.items():
        is_shown = protocol != PAPER or any(cls in found for found in drawn_from)
        why = "no episode drew it" if is_shown else f"no image of {images.name} shows it"
        lines.append(f"class {cls}{f' ({name})' if name else ''} is missing: {why}; {then}")
    return lines


def describe_evaluation(
    setting: Setting,
    protocol: Protocol,
    tested: EvaluationSet,
    info: Mapping[str, Any],
    path: Path,
    source: str | None = None,
) -> list[str]:
    """A line that says what will be tested, and notes on it.

    info, path: what is known of the training of the weights, and their file; source: the file of saved episodes.
    """
    seeds = list(tested.plans)
    counts = {len(some) for some in tested.plans.values()}
    number = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))})"
    if len(seeds) > 5:
        number = f"{len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    of_file = f" of {source}" if source else ""
    known = f"; {other}, not the benchmark" if (other := label_of(tested.data)) else ""
    notes = []
    if protocol == HSNET:
        notes = ["note: HSNet's protocol has one seed of its own, and refines only with --refine"]
    if settings := describe_settings(setting.variation, Variation.of(info.get("settings") or {})):
        notes.append(f"note: {settings}")
    if setting.method == "ssp" and not setting.refine and "refine" not in info and protocol == PAPER:
        notes.append(
            "note: without --refine; the SSP rows of the paper's tables are refined, and the file does not say"
        )
    line = (
        f"{setting.method} {setting.backbone}{', refine' if setting.refine else ''} on {setting.describe()}, "
        f"{setting.shot}-shot: {spans(tested.classes)}, {protocol.title}, {number} x {max(counts)} episodes{of_file}"
        f"{known}; weights {path}, {describe_training(info)}"
    )
    return [line, *notes]
