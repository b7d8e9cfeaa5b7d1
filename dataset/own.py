"""Data of one's own, in the folder that prepare.py own makes: classes, folds and lists as its dataset.json says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataset import hsnet
from dataset.benchmark import Benchmark, Fold
from dataset.episodes import Episode
from dataset.images import ImageSet
from dataset.lists import number_classes
from dataset.provenance import Provenance
from dataset.run_lengths import ANNOTATIONS, RULES, Annotations, open_annotations
from util.distributed import say_once
from util.errors import UserError, join_names, refusal
from util.fields import check_fields, list_of, one_of, text, whole
from util.files import blocks, read_json

DATASET, IMAGES = "dataset.json", "images"
FORMAT = "ssp-own-1"
DATASET_BYTES = 2**28  # dataset.json may have so many
MOST_FOLDS = 100
LONGEST_NAME = 60  # letters of a dataset's name
HELD_OUT = 5  # without lists, one image of so many is held out for validation
LISTS = ("train", "val")
DRAWS = ("images", "classes")  # what HSNet's protocol goes through, in order, for its queries


def is_title(value: Any) -> bool:
    """Tell whether a value can be the name of a dataset."""
    return text(value) and value.isprintable() and 0 < len(value) <= LONGEST_NAME


def check_dataset(content: Any) -> None:
    """Raise ValueError unless this is what a dataset.json says."""
    names = list_of(text)
    check_fields(content, {"format": one_of(FORMAT), "name": is_title, "classes": names})
    known = set(content["classes"])
    if not known or len(known) < len(content["classes"]) or not all(name.isprintable() for name in known):
        raise ValueError("classes must be different names, at least one")
    rules = {
        "folds": list_of(names), "lists": lambda lists: type(lists) is dict and lists.keys() <= set(LISTS),
        "min_pixels": whole(1), "episodes": whole(1, 10**6), "crop_size": whole(33, 4096), "draw": one_of(*DRAWS),
    }  # fmt: skip
    check_fields({name: content[name] for name in rules.keys() & content.keys()}, rules, may_lack=True)
    if "folds" in content:
        folds = content["folds"]
        if not 0 < len(folds) <= MOST_FOLDS or not all(folds):
            raise ValueError(f"folds must be 1 to {MOST_FOLDS} lists of the names of novel classes")
        if strange := sorted({name for fold in folds for name in fold} - known):
            raise ValueError(f"a fold names {strange[0]!r:.60}, which is none of the classes")
        if any(set(fold) == known for fold in folds):
            raise ValueError("a fold names all classes, and leaves none to train on; leave folds out")
    lists = content.get("lists", {})
    if not all(list_of(RULES["image"])(ids) and (ids or name == LISTS[0]) for name, ids in lists.items()):
        raise ValueError("lists must hold ids of images")
    for ids in lists.values():
        if len(set(ids)) < len(ids):
            raise ValueError("a list names an image twice")
    if both := sorted(set(lists.get("train", ())) & set(lists.get("val", ()))):
        raise ValueError(f"the image {both[0]!r:.60} is in the lists of both train and val")


def read_dataset(path: Path, missing: str) -> dict[str, Any]:
    """What a dataset.json says. Raises UserError unless it is one; missing: what to say if it is not there."""
    try:
        content = read_json(path, DATASET_BYTES)
        check_dataset(content)
    except FileNotFoundError as error:
        raise UserError(missing) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(
            f"{path}: damaged, or not written by prepare.py own ({error}); mend it, or make it again"
        ) from error
    return content


def is_held_out(image: str) -> bool:
    """Whether an image of no list is validated on: by a hash of its id, so that other images change nothing."""
    return int(hashlib.sha256(image.encode()).hexdigest()[:8], 16) % HELD_OUT == 0


class Own(Benchmark):
    """One's own data. Without folds every class is novel, and all images are tested."""

    name, title, folder = "own", "own data", "a folder that prepare.py own made"
    folds: ClassVar[Sequence[int | None]] = (None, *range(MOST_FOLDS))  # of any such folder
    named = True

    def __init__(self, root: str | Path, hsnet_lists: str | Path | None = None) -> None:
        super().__init__(root, hsnet_lists)
        content = read_dataset(self.root / DATASET, missing=f"{self.root}: no {DATASET}; name {self.folder}")
        self.own_name = content["name"]
        self.class_names = number_classes(content["classes"])
        numbers = {name: number for number, name in self.class_names.items()}
        self.novel = [sorted({numbers[name] for name in fold}) for fold in content.get("folds", ())]
        self.folds = tuple(range(len(self.novel))) or (None,)
        self.listed = content.get("lists", {})
        is_trained_on = self.novel and self.listed.get(LISTS[0]) != []
        self.lists = LISTS if is_trained_on else LISTS[-1:]
        self.min_pixels = content.get("min_pixels", Benchmark.min_pixels)
        self.episodes = self.hsnet_episodes = content.get("episodes", Benchmark.episodes)
        self.crop_size = content.get("crop_size", Benchmark.crop_size)
        self.draw = content.get("draw", DRAWS[0])

    def open_fold(self, fold: int | None = None, class_order: str | None = None) -> Fold:
        if not self.novel:
            way_out = "python prepare.py own --folds or --novel tells which ones are not"
            raise UserError(f"{self.root / DATASET}: names no folds, so every class is novel; {way_out}")
        if LISTS[0] not in self.lists:
            what = "its list train is empty, so there is nothing to train on"
            raise UserError(f"{self.root / DATASET}: {what}; prepare.py own without --test-all fills it")
        return super().open_fold(fold, class_order)

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        return (folder / DATASET).is_file()

    @cached_property
    def annotations(self) -> Annotations:
        """The labels."""
        return open_annotations(self.root / ANNOTATIONS, self.class_names)

    def novel_classes(self, fold: int | None, class_order: str | None = None) -> list[int]:
        """The classes that a fold tests on; all without folds."""
        return list(self.class_names) if fold is None else self.novel[fold]

    def open_folders(self, image_list: str | None = None) -> ImageSet:
        images = self.root / IMAGES
        return ImageSet(self.own_name, (), images, self.root, dict(self.class_names), annotations=self.annotations)

    def open_list(self, image_list: str) -> ImageSet:
        """The listed images; without lists all that are tested, or with folds those of one part by :func:`is_held_out`.

        Where only one list is there, the other one is of all images that it does not name.
        """
        images = self.open_folders()
        everything = sorted(self.annotations.lines)
        if image_list in self.listed:
            ids = self.listed[image_list]
        elif self.listed:
            others = {image for ids in self.listed.values() for image in ids}
            ids = [image for image in everything if image not in others]
        elif self.folds == (None,):
            ids = everything
        else:
            ids = [image for image in everything if is_held_out(image) == (image_list != "train")]
        if not ids:
            raise UserError(f"{self.root}: no image is left for {image_list}; put some on the lists of {DATASET}")
        if absent := next((image for image in ids if image not in self.annotations.lines), None):
            line = f"the list {image_list} names {absent}, which {ANNOTATIONS} does not hold"
            raise UserError(f"{self.root / DATASET}: {line}; mend it, or run prepare.py own again")
        return images.listed(f"{self.own_name} {image_list}", ids)

    def measure_provenance(self, image_list: str, images: ImageSet) -> Provenance:
        """Own data, by name and a digest of its labels, classes and lists: other data never share a table's cell."""
        count = len(images.ids)
        name, counted = f"{self.own_name} {self.digest[:8]}", f"images of {images.name}"
        return Provenance(name, counted, count, count, folds=len(self.novel))

    @cached_property
    def digest(self) -> str:
        """The sha256 of what decides which episodes are drawn and what their masks are."""
        found = hashlib.sha256()
        for path in (self.root / DATASET, self.root / ANNOTATIONS):
            for block in blocks(path):
                found.update(block)
        return found.hexdigest()

    # HSNet's protocol: every image of the test list with every class that it shows, in order; or every class

    def plan_hsnet(self, hsnet_lists: str | Path | None, fold: int | None, shot: int) -> list[Episode]:
        """Episodes as HSNet draws them for Pascal, from this dataset's own images; there are no published lists.

        Where ``draw`` is "classes", they take the classes in turn, each time with one of the class's images as query.
        """
        novel, rng = set(self.novel_classes(fold)), np.random.RandomState(0)
        found = ((image, self.annotations.pixels(image)) for image in self.open_list("val").ids)
        pairs = [
            (image, cls)
            for image, pixels in found
            for cls, count in sorted(pixels.items())
            if cls in novel and count >= self.min_pixels
        ]
        of_class = hsnet.group_by_class(pairs)
        alone = {cls for cls, images in of_class.items() if len(images) < 2}
        pairs = [pair for pair in pairs if pair[1] not in alone]
        if alone:
            names = join_names([self.class_names[cls] for cls in sorted(alone)])
            say_once(f"note: {self.root}: {len(alone)} novel classes are in one tested image alone, left out: {names}")
        if not pairs:
            raise UserError(f"{self.root}: no novel class covers {self.min_pixels} pixels in two images")
        numbers = hsnet.count_drawn(self.hsnet_episodes)
        if self.draw == "classes":
            shown = sorted({cls for _, cls in pairs})
            in_turn = (shown[number % len(shown)] for number in numbers)
            drawn = ((hsnet.draw_one(of_class[cls], rng), cls) for cls in in_turn)
        else:
            drawn = (pairs[number % len(pairs)] for number in numbers)
        return [
            Episode(query, target, hsnet.draw_supports(of_class[target], query, shot, rng)) for query, target in drawn
        ]

    def hsnet_classes(self, fold: int | None, episodes: Sequence[Episode]) -> list[int]:
        """The classes that are drawn: others show too few images."""
        return sorted({episode.cls for episode in episodes})

    def hsnet_provenance(self, fold: int | None) -> Provenance:
        return self.measure_provenance("val", self.open_list("val"))
