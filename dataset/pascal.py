"""Pascal-5i: PASCAL VOC 2012 with the augmented masks, four folds of five classes (docs/method.md, section 5)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from dataset.benchmark import Benchmark
from dataset.folders import describe_folder, holds_files, innermost
from dataset.images import MASKS, PICTURES, ImageSet, list_stems
from dataset.lists import number_classes, read_ids
from util.distributed import say, say_once
from util.errors import UserError

MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


class Pascal(Benchmark):
    """VOC's folder. A missing list is derived: val is VOC's own segmentation val list, train all other masks."""

    name, title, folder = "pascal", "Pascal-5i", "VOC2012"
    class_names = number_classes(
        "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor".split()
    )
    counts: ClassVar = {"train": 10582, "val": 1449}  # images with an augmented mask, 12,031 in all
    partial_downloads: ClassVar = {("train", 1464): "VOC's own 2,913 masks only, not the 12,031 augmented"}
    hsnet_counts: ClassVar = {0: 346, 1: 451, 2: 725, 3: 346}  # pairs of an image and a class

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        return (folder / "JPEGImages").is_dir()

    def open_folders(self, image_list: str | None = None) -> ImageSet:
        images = self.root / "JPEGImages"
        if not images.is_dir():
            way_out = f"the data root must be {self.folder} or the folder that holds it"
            raise UserError(f"{self.root}: no folder {images.name}; {way_out}; {describe_folder(self.root)}")
        images = innermost(images, PICTURES)
        return ImageSet(self.name, (), images, self.mask_folder(), self.read_class_names(), voc_colours=True)

    def mask_folder(self) -> Path:
        """SegmentationClassAug, or if there is none, or an empty one, SegmentationClass."""
        folders = [folder for name in MASK_FOLDERS if (folder := self.root / name).is_dir()]
        for folder in folders:
            if holds_files(found := innermost(folder, MASKS), MASKS):
                if folder != folders[0]:
                    say_once(f"note: {folders[0]}: holds no mask (.png), those of {folder.name} are taken")
                return found
        if folders:
            return folders[0]
        there = describe_folder(self.root)
        raise UserError(f"{self.root}: no folder SegmentationClassAug (or SegmentationClass) with the masks; {there}")

    def derive_ids(self, image_list: str) -> tuple[str, ...]:
        ids = self.derive_list(image_list)
        say(f"{self.list_path(image_list)}: no such list, derived: {len(ids)} {image_list} images")
        return ids

    def derive_list(self, image_list: str) -> tuple[str, ...]:
        """VOC's own list of validation images, or every image that has a mask and is not in the val list."""
        val, vocs = self.list_path("val"), self.root / "ImageSets" / "Segmentation" / "val.txt"
        if not val.is_file() and not vocs.is_file():
            raise UserError(f"{val}: no such list, and no ImageSets/Segmentation/val.txt to derive it from")
        held_out = read_ids(val if val.is_file() else vocs)
        if image_list == "val":
            return held_out
        masks = self.mask_folder()
        ids = tuple(sorted(set(list_stems(masks, MASKS)) - set(held_out)))
        if not ids:
            raise UserError(f"{masks}: holds no mask that is not in the val list, so no image is left to train on")
        return ids
