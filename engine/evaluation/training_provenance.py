"""What weights were trained on, as their file or their user (--trained-on) says, and which test classes that leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset import BENCHMARKS, DATASETS, hsnet
from dataset.provenance import from_dict, label_of
from engine.setting import AUTHORS, RANDOM, Setting
from util.errors import UserError, one_line


def is_untrained(info: Mapping[str, Any]) -> bool:
    """Whether weights are what their training would have started from, as main.py --episode 0 leaves them."""
    return info.get("arguments", {}).get("episode") == 0


def describe_training(info: Mapping[str, Any]) -> str:
    """What is known of the training of weights, for people."""
    if is_untrained(info):
        start = info["arguments"].get("pretrained")
        return one_line(
            f"untrained, from {'random weights' if start == RANDOM else Path(start or 'ImageNet weights').name}"
        )
    if not info.get("dataset"):
        return "which do not say what they were trained on"
    fold = "" if info.get("fold") is None else f" fold {info['fold']}"
    order = f" ({info['class_order']})" if info.get("class_order") else ""
    shot = f", {info['shot']}-shot" if info.get("shot") else ""
    refine = ", refine" if info.get("refine") else ""
    whose = "by the authors " if info.get("weights") == AUTHORS else ""
    said = ", as --trained-on says" if info.get("declared") else ""
    data = f" ({label})" if (label := label_of(from_dict(info.get("data")))) else ""
    return one_line(f"trained {whose}on {info['dataset']}{fold}{order}{data}{shot}{refine}{said}")


def other_data_note(info: Mapping[str, Any]) -> str:
    """What to say of weights that were trained on less than a benchmark; "" of others, and of own data."""
    if is_untrained(info):
        return (
            "the weights are random: what they find means nothing"
            if info["arguments"].get("pretrained") == RANDOM
            else ""
        )
    data = from_dict(info.get("data"))
    label = "" if data and data.folds is not None else label_of(data)  # own data may be as good as a benchmark's
    return f"the weights were trained on {label}: what they find in other images means little" if label else ""


def state_training(
    info: Mapping[str, Any], text: str, path: Path, dataset: str | None, root: str | Path, hsnet_lists: str | None
) -> dict[str, Any]:
    """What is known of weights that do not say it themselves, with what --trained-on says of their training.

    Arguments:
        info, path: what the file of the weights tells itself, and where it is.
        text: such as contiguous:0, pascal:2 or fss.
        dataset: what is tested, None for the one that they were trained on.
        root, hsnet_lists: the dataset's folder and HSNet's data/splits; the lists of fss there tell the classes.
    Raises:
        UserError: the text names no training, or the file tells another.
    """
    if "base_classes" in info:
        raise UserError(f"{path}: says itself that it was {describe_training(info)}; leave --trained-on out")
    known = _trainings(dataset or Setting.dataset).get(text)
    if known is None:
        raise UserError(
            f"--trained-on {text!r}: is none of 0 to 3, pascal:0 to 3, contiguous:0 to 3, interleaved:0 to 3, fss"
        )
    if info.get("dataset") and any(info[name] != known[name] for name in ("dataset", "fold")):
        raise UserError(f"--trained-on {text}: {path} was {describe_training(info)}; leave the flag out")
    benchmark, fold = DATASETS[known["dataset"]], known["fold"]
    known |= {"declared": True}
    if fold is not None:
        others = [benchmark.novel_classes(other, known["class_order"]) for other in benchmark.folds if other != fold]
        return {**info, **known, "base_classes": sorted(cls for classes in others for cls in classes)}
    listed = {}
    if dataset in (None, benchmark.name):  # the classes of another dataset have other names anyway
        opened = benchmark(root, hsnet_lists)
        listed = {split: opened.open_list(split).class_names for split in benchmark.lists[:-1]}
    base, chosen_on = listed.get("train", {}), listed.get("val", {})
    names = {"base_names": [*base.values()], "selection_names": [*chosen_on.values()]}
    return {**info, **known, **names, "base_classes": [*base]}


def _trainings(usual: str) -> dict[str, dict[str, Any]]:
    """All that --trained-on takes; usual: the dataset that is meant by a fold alone."""
    found = {}
    for name, benchmark in BENCHMARKS.items():
        for order in benchmark.class_orders:
            for fold in benchmark.folds:
                words = [str(word) for word in (order, fold) if word is not None]
                known = {"dataset": name, "class_order": order, "fold": fold}
                found[":".join([name, *words])] = known
                if words and (order or name == usual):
                    found[":".join(words)] = known
    return found


def leakage_warnings(
    setting: Setting,
    classes: Sequence[int],
    names: Mapping[int, str],
    info: Mapping[str, Any],
    path: Path,
    hsnet_lists: str | Path | None = None,
) -> list[str]:
    """Say why a result may mean nothing: lists that are not HSNet's own, classes that were trained on.

    Arguments:
        classes, names: the test classes, and their names by number.
        info, path: what the checkpoint knows of its training, which may be nothing, and its file.
        hsnet_lists: HSNet's data/splits, if the episodes are drawn from there.
    """
    warnings = training_leakage(setting, classes, names, info, path=path)
    lists = None if hsnet_lists is None else setting.benchmark.hsnet_list(hsnet_lists, setting.fold)
    if lists and hsnet.is_generated(lists):
        return [f"{lists} was {hsnet.GENERATED}: its episodes are not HSNet's", *warnings]
    return warnings


def training_leakage(
    setting: Setting, classes: Sequence[int], names: Mapping[int, str], info: Mapping[str, Any], path: Path
) -> list[str]:
    """Warn about test classes that a network was, or may have been, trained or chosen on (see leakage_warnings)."""

    def name_classes(some: Sequence[int]) -> str:
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
                line += name_classes(seen)
        return [line]
    if (other := info.get("dataset")) != setting.dataset:
        same = name_classes([cls for cls in classes if names.get(cls) in info.get("base_names", ())])
        some = f"; these have the same names: {same}" if same else ""
        return [f"{path} was trained on {other}, whose classes may be among those of {setting.dataset}{some}"]
    if benchmark.named:  # the lists say which classes there are: another list gives other numbers
        trained, chosen = set(info.get("base_names", ())), set(info.get("selection_names", ()))
        seen = {"TRAINED on": [c for c in classes if names[c] in trained]}
        seen["CHOSEN on"] = [c for c in classes if names[c] in chosen]
    else:
        seen = {"TRAINED on": sorted(set(classes) & set(info["base_classes"]))}
    return [
        f"{path} was {how} {len(found)} of the {len(classes)} test classes: {name_classes(found)}"
        for how, found in seen.items()
        if found
    ]
