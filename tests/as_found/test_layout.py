"""Data sets as they are published and unpacked: folders one level deeper, masks of another size, JSONs of another kind.

A case lays its files out below its own folder, and links what it does not change.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import prepare
from dataset.prepare.toy import COCO_CATEGORY_IDS
from tests.as_found.cases import Case, Inputs, check

STEP = (
    "--pretrained none --crop-size 65 --episode 2 --snapshot 2 --batch-size 2 --test-episodes 2 --seeds 1 --workers 0 "
    "--shot 1 --device cpu"
).split()
HSNET_STEP = ["--protocol", "hsnet", "--shot", "1", "--episodes", "2", "--workers", "0", "--device", "cpu"]
VOC = ("ImageSets", "JPEGImages", "SegmentationClassAug")


def link(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)
    return target


def place(source: Path, target: Path, **elsewhere: str) -> Path:
    """A dataset's folder with links to what another holds; elsewhere: another place of some of it."""
    for path in source.iterdir():
        link(path, target / elsewhere.get(path.stem, path.name))
    return target


def verify(root: Path, dataset: str) -> list[str]:
    return ["prepare.py", "verify", "--dataset", dataset, "--data-root", str(root), "--shot", "1", "--workers", "0"]


def verify_found(lay_out: Callable[[Inputs, Path], object], dataset: str = "pascal") -> Callable[[Inputs], list[str]]:
    """verify on a data root that lay_out fills."""

    def make(inputs: Inputs) -> list[str]:
        root = inputs.folder / "data"
        root.mkdir()
        lay_out(inputs, root)
        return verify(root, dataset)

    return make


def copy_voc(inputs: Inputs, root: Path) -> Path:
    return Path(shutil.copytree(inputs.toy, root / "VOC2012"))


def spell_images(inputs: Inputs, root: Path, suffix: str) -> None:
    """Every other image under another suffix, its content as it is."""
    for path in sorted((copy_voc(inputs, root) / "JPEGImages").iterdir())[::2]:
        path.rename(path.with_suffix(suffix))


def nest_masks(inputs: Inputs, root: Path) -> None:
    place(inputs.toy, root / "VOC2012", SegmentationClassAug="SegmentationClassAug/SegmentationClassAug")


def nest_images(inputs: Inputs, root: Path) -> None:
    place(inputs.toy, root / "VOC2012", JPEGImages="JPEGImages/JPEGImages")


def empty_aug(inputs: Inputs, root: Path) -> None:
    place(inputs.toy, root / "VOC2012", SegmentationClassAug="SegmentationClass")
    (root / "VOC2012" / "SegmentationClassAug").mkdir()


def two_vocs(inputs: Inputs, root: Path) -> None:
    for name in ("mine", "other"):
        place(inputs.toy, root / name)


def binary_masks(inputs: Inputs, root: Path) -> None:
    for path in (copy_voc(inputs, root) / "SegmentationClassAug").iterdir():
        with Image.open(path) as mask:
            binary = (np.array(mask) > 0).astype(np.uint8) * 255
        Image.fromarray(binary).save(path)


def nest_coco(inputs: Inputs, root: Path) -> None:
    """train2014/train2014, images/val2014."""
    place(inputs.toy_coco, root / "COCO2014", train2014="train2014/train2014", val2014="images/val2014")


def year_2017(inputs: Inputs, root: Path) -> None:
    place(inputs.toy_coco, root / "COCO2017", train2014="train2017", val2014="val2017")


def names_2017(inputs: Inputs, root: Path) -> None:
    """2017's images, named by their number alone, under 2014's names of folders."""
    shutil.copytree(inputs.toy_coco, root / "COCO2014")
    for split in ("train", "val"):
        for path in (root / "COCO2014" / f"{split}2014").iterdir():
            path.rename(path.with_name(path.name.rpartition("_")[2]))


def nest_fss(inputs: Inputs, root: Path) -> None:
    place(inputs.toy_fss, root / "FSS-1000" / "fewshot_data", splits="../splits")
    (root / "__MACOSX" / "fewshot_data" / "abacus").mkdir(parents=True)


def nest_fss_twice(inputs: Inputs, root: Path) -> None:
    place(inputs.toy_fss, root / "FSS-1000" / "FSS-1000" / "fewshot_data" / "fewshot_data")


def publish_fss(inputs: Inputs) -> Path:
    """The toy with six masks of another size and a photograph saved as a mask, as FSS-1000 is published."""
    root = Path(shutil.copytree(inputs.toy_fss, inputs.folder / "FSS-1000"))
    for split in ("trn", "test"):
        names = sorted((root / "splits" / f"{split}.txt").read_text().split())
        for name, side in zip(names, (100, 224, 500), strict=False):
            for number in (1, 10, 8) if split == "test" else (6,):
                path = root / name / f"{number}.png"
                with Image.open(path) as mask:
                    resized = mask.resize((side, side + 7))
                resized.save(path)
    shutil.copy(root / names[0] / "2.jpg", root / names[0] / "2.png")
    with Image.open(root / names[0] / "2.png") as photograph:
        photograph.resize((200, 150)).save(root / names[0] / "2.png")
    return root


def evaluate_fss(inputs: Inputs, *flags: str) -> list[str]:
    root = publish_fss(inputs)
    words = ["test.py", "--dataset", "fss", "--data-root", str(root), "--checkpoint", str(inputs.checkpoint)]
    return [*words, "--trained-on", "fss", *flags]


def make_lists(inputs: Inputs) -> list[str]:
    return ["prepare.py", "splits", "--dataset", "fss", "--data-root", str(inputs.toy_fss), "--out", str(inputs.folder)]


def hsnet_published(inputs: Inputs) -> list[str]:
    splits = link(inputs.toy_fss / "splits", inputs.folder / "hsnet" / "fss").parent
    return evaluate_fss(inputs, "--splits", str(splits), *HSNET_STEP)


def train(root: Path, dataset: str, out: Path) -> list[str]:
    return ["main.py", "--dataset", dataset, "--data-root", str(root), "--out", str(out), *STEP]


def train_damaged(damage: Callable[[Path], object]) -> Callable[[Inputs], list[str]]:
    """A training on the toy after some damage to its folder."""

    def make(inputs: Inputs) -> list[str]:
        root = copy_voc(inputs, inputs.folder)
        damage(root)
        return train(root, "pascal", inputs.folder / "out")

    return make


def resize_image(root: Path) -> None:
    Image.new("RGB", (100, 90)).save(root / "JPEGImages" / "toy_00001.jpg")


def label_90(root: Path) -> None:
    Image.fromarray(np.full((129, 129), 90, np.uint8)).save(root / "SegmentationClassAug" / "toy_00002.png")


def tilde(inputs: Inputs) -> list[str]:
    """As the shell gives --data-root=~/x: unexpanded."""
    home = Path("~").expanduser()
    return ["prepare.py", "pascal", f"--data-root=~/{os.path.relpath(inputs.toy, home)}"]


POLYGON = [[1, 1, 9, 1, 9, 9, 1, 9]]
CATEGORIES = [{"id": id_, "name": "thing"} for id_ in COCO_CATEGORY_IDS]
INSTANCE = {"id": 7, "image_id": 1, "category_id": 1, "segmentation": POLYGON, "iscrowd": 0}


def coco_json(content: object = None, **changed: Any) -> Callable[[Inputs], list[str]]:
    """prepare.py coco on a JSON, or on one annotation with other values (None: the key is left out)."""
    annotation = {key: value for key, value in {**INSTANCE, **changed}.items() if value is not None}
    images = [{"id": 1, "file_name": "COCO_val2014_000000000001.jpg", "height": 20, "width": 20}]
    whole = content or {"images": images, "categories": CATEGORIES, "annotations": [{**INSTANCE, "id": 6}, annotation]}

    def make(inputs: Inputs) -> list[str]:
        path = inputs.folder / "annotations" / "instances_val2014.json"
        path.parent.mkdir()
        path.write_text(json.dumps(whole))
        return ["prepare.py", "coco", "--data-root", str(inputs.folder), "--split", "val", "--workers", "0"]

    return make


def text_ids() -> dict:
    """COCO's instances whose ids are texts, as some exports have them; test_coco_masks knows the classes."""
    images = [{"id": "1", "file_name": "COCO_val2014_000000000001.jpg", "height": "20", "width": 20.0}]
    categories = [{**each, "id": str(each["id"])} for each in CATEGORIES]
    annotation = {**INSTANCE, "id": "7", "image_id": "1", "category_id": "13"}
    return {"images": images, "categories": categories, "annotations": [annotation]}


def keys(where: str, *names: str) -> dict[str, list[dict[str, int]]]:
    """A JSON of COCO whose entries of one list have some keys."""
    return {"images": [], "annotations": [], where: [dict.fromkeys(names, 1)]}


def place_json(folder: str, year: int = 2014) -> Callable[[Inputs], list[str]]:
    """prepare.py coco on the toy's JSON in another folder, or of another year."""

    def make(inputs: Inputs) -> list[str]:
        source = inputs.toy_coco / "annotations" / "instances_val2014.json"
        link(source, inputs.folder / folder / f"instances_val{year}.json")
        return ["prepare.py", "coco", "--data-root", str(inputs.folder), "--split", "val", "--workers", "0"]

    return make


def list_of_class(inputs: Inputs, root: Path) -> None:
    """As cat_val.txt: the image, and whether it shows the class."""
    path = copy_voc(inputs, root) / "ImageSets" / "val.txt"
    path.write_text(
        "".join(f"{name} {1 if number % 3 else -1:2}\n" for number, name in enumerate(path.read_text().split()))
    )


def no_photographs(inputs: Inputs, root: Path) -> None:
    """Both lists lack the same folder."""
    shutil.rmtree(copy_voc(inputs, root) / "JPEGImages")


def capital_masks(inputs: Inputs, root: Path) -> None:
    for path in (copy_voc(inputs, root) / "SegmentationClassAug").iterdir():
        path.rename(path.with_suffix(".PNG"))


CLEAN, RESIZED = r"nothing is wrong$", r"note: .*masks? of another size, resized .*HSNet: \w+/\d"
PHOTO = r"note: .*1 mask with many grey values, as of a photograph.*: \w+/2"
CASES = [
    Case(
        "VOCdevkit/VOC2012",
        verify_found(lambda inputs, root: place(inputs.toy, root / "VOCdevkit" / "VOC2012")),
        0,
        CLEAN,
    ),
    Case(
        "VOCtrainval/VOCdevkit/VOC2012",
        verify_found(lambda inputs, root: place(inputs.toy, root / "VOCtrainval" / "VOCdevkit" / "VOC2012")),
        0,
        CLEAN,
    ),
    Case(
        "VOC2012/VOCdevkit/VOC2012",
        verify_found(lambda inputs, root: place(inputs.toy, root / "VOC2012" / "VOCdevkit" / "VOC2012")),
        0,
        CLEAN,
    ),
    Case("VOCs under other names", verify_found(two_vocs), 2, r"2 folders could be meant: mine, other; leave one"),
    Case("SegmentationClassAug/SegmentationClassAug", verify_found(nest_masks), 0, CLEAN),
    Case(
        "empty SegmentationClassAug, full SegmentationClass",
        verify_found(empty_aug),
        0,
        r"note: .*Aug: holds no mask \(\.png\), those of SegmentationClass are taken",
    ),
    Case("JPEGImages: x.JPG", verify_found(lambda inputs, root: spell_images(inputs, root, ".JPG")), 0, CLEAN),
    Case("JPEGImages: x.jpeg", verify_found(lambda inputs, root: spell_images(inputs, root, ".jpeg")), 0, CLEAN),
    Case("JPEGImages: x.png", verify_found(lambda inputs, root: spell_images(inputs, root, ".png")), 0, CLEAN),
    Case("SegmentationClassAug: x.PNG", verify_found(capital_masks), 0, CLEAN),
    Case("JPEGImages/JPEGImages", verify_found(nest_images), 0, CLEAN),
    Case("a list of ImageSets/Main", verify_found(list_of_class), 1, r"val\.txt: a list of one class, .*/Segmentation"),
    Case("a folder without photographs", verify_found(no_photographs), 1, r"VOC2012: 1 findings$"),
    Case("masks 0 and 255", verify_found(binary_masks), 1, r"VOC2012: 1 findings$"),
    Case("train2014/train2014, images/val2014", verify_found(nest_coco, "coco"), 0, CLEAN),
    Case("COCO 2017", verify_found(year_2017, "coco"), 1, r"train2017 is COCO 2017, COCO-20i is COCO 2014"),
    Case(
        "COCO 2017's images as 2014",
        verify_found(names_2017, "coco"),
        1,
        r"val2014: the images are named as COCO 2017's \(\d{12}\.jpg\), in the list as 2014's",
    ),
    Case("FSS-1000/fewshot_data, __MACOSX beside", verify_found(nest_fss, "fss"), 0, CLEAN),
    Case("FSS-1000/FSS-1000/fewshot_data/fewshot_data", verify_found(nest_fss_twice, "fss"), 0, CLEAN),
    Case("FSS-1000 as published: verify", lambda inputs: verify(publish_fss(inputs), "fss"), 0, RESIZED),
    Case("FSS-1000 as published: verify names it", lambda inputs: verify(publish_fss(inputs), "fss"), 0, PHOTO),
    Case("FSS-1000 as published: train", lambda inputs: train(publish_fss(inputs), "fss", inputs.folder), 0, RESIZED),
    Case(
        "FSS-1000 as published: test, ssp",
        lambda inputs: evaluate_fss(inputs, "--seeds", "1", *HSNET_STEP[2:]),
        0,
        PHOTO,
    ),
    Case("FSS-1000 as published: test, hsnet", hsnet_published, 0, RESIZED),
    Case("the lists that --trained-on fss reads, by prepare.py splits", make_lists, 0, r"3 lists written"),
    Case("an image of another size", train_damaged(resize_image), 2, r"toy_00001\.png: mask of .*prepare\.py verify"),
    Case("a label that is no class", train_damaged(label_90), 2, r"toy_00002\.png: holds \[90\].*prepare\.py verify"),
    Case("--data-root=~/x", tilde, 0, r"VOC2012/SegmentationClassAug: 100 masks"),
    Case(
        "annotations_trainval2014/annotations/instances_val2014.json",
        place_json("annotations_trainval2014/annotations"),
        0,
        r"annotations/val2014: 40 masks made",
    ),
    Case("annotations/annotations", place_json("annotations/annotations"), 0, r"annotations/val2014: 40 masks made"),
    Case("instances_val2014.json alone", place_json("."), 0, r"annotations/val2014: 40 masks made"),
    Case(
        "instances_val2017.json", place_json("annotations", 2017), 2, r"instances_val2017\.json is there, but COCO-20i"
    ),
    Case("COCO: captions", coco_json(keys("annotations", "id", "image_id", "caption")), 2, r"COCO's captions, not"),
    Case("COCO: panoptic", coco_json(keys("annotations", "image_id", "segments_info")), 2, r"COCO's panoptic annot"),
    Case("COCO: keypoints", coco_json(keys("categories", "id", "keypoints")), 2, r"COCO's keypoints of persons"),
    Case("COCO: images of the test", coco_json({"images": [], "categories": []}), 2, r"has no annotations, as a list"),
    Case("COCO: results", coco_json([{"image_id": 1, "category_id": 1, "score": 1}]), 2, r"a list of results"),
    Case("COCO: no segmentation", coco_json(segmentation=None), 2, r"annotation 7 has no segmentation"),
    Case("COCO: no id", coco_json(id=None), 2, r"annotation number 2 has no id"),
    Case("COCO: an id that is a word", coco_json(id="a7"), 2, r"annotation number 2: its id is 'a7', no whole number"),
    Case("COCO: ids as texts", coco_json(text_ids()), 0, r"annotations/val2014: 1 masks made"),
    Case("COCO: an orphan", coco_json(image_id=9), 0, r"1 annotations left out, of images .*: annotation 7 of image 9"),
    Case("COCO: an unknown category", coco_json(category_id=12), 2, r"annotation 7 is of category 12, which the file"),
    Case("COCO: a flat polygon", coco_json(segmentation=POLYGON[0]), 2, r"annotation 7: .*one flat list; a polygon is"),
    Case(
        "COCO: two points", coco_json(segmentation=[[1, 1, 9, 9]]), 0, r"1 annotations left out.*points.*annotation 7"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layout(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)


def test_trained_on_fss_with_the_lists_of_prepare_splits(inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    """The classes that were trained on are read from the same folder as the episodes."""
    prepare.main(make_lists(inputs)[1:])
    words = ["test.py", "--dataset", "fss", "--data-root", str(inputs.toy_fss), "--trained-on", "fss"]
    words += ["--checkpoint", str(inputs.checkpoint), "--splits", str(inputs.folder), *HSNET_STEP]
    check(Case("", lambda _: words, 0, r"trained on fss, refine, as --trained-on says"), inputs, capfd)
