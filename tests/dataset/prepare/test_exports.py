"""What other packages export, read again and compared pixel for pixel; each test needs its package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dataset.prepare.from_coco import read_coco
from dataset.prepare.from_voc import read_voc
from dataset.prepare.from_yolo import read_yolo
from tests.dataset.prepare.sources import collect, save
from tests.files import write

SIZE = HEIGHT, WIDTH = 20, 30
RING = np.zeros(SIZE, np.uint8)  # a mask with a hole
RING[2:15, 5:20] = 1
RING[6:10, 9:14] = 0
STRIPE = np.zeros(SIZE, np.uint8)  # over the ring
STRIPE[12, 2:28] = 1


def show(mask: np.ndarray) -> list[str]:
    return ["".join(".#"[int(pixel)] for pixel in row) for row in mask]


@pytest.mark.parametrize("layout", ["coco_instances", "coco_stuff", "voc_segmentation"])
def test_datumaro(tmp_path: Path, layout: str) -> None:
    """Two images of one name in folders, a mask with a hole, classes that overlap: COCO keeps that, VOC the later."""
    dm = pytest.importorskip("datumaro")
    annotation = pytest.importorskip("datumaro.components.annotation")
    media = pytest.importorskip("datumaro.components.media").Image.from_numpy(np.zeros((*SIZE, 3), np.uint8))
    marks = [annotation.Mask(mask, label=n, z_order=n, id=n, group=n) for n, mask in ((1, RING), (2, STRIPE))]
    items = [
        dm.DatasetItem(name, subset=subset, media=media, annotations=marks)
        for name, subset in (("day/a", "train"), ("night/a", "val"), ("a", "train"))
    ]
    out = tmp_path / "out"
    dataset = dm.Dataset.from_iterable(items, categories=["background", "cat", "dog"])
    dataset.export(str(out), layout, save_media=True)
    if layout == "voc_segmentation":
        source, cat = read_voc(out), RING & ~STRIPE
        assert source.lists == {"train": ["day/a", "a"], "val": ["night/a"]}
        ids = ["a", "day/a", "night/a"]
    else:
        kind, cat = layout.removeprefix("coco_"), RING
        source = read_coco(out / "annotations" / f"{kind}_train.json", out / "images")
        ids = ["train/a", "train/day/a"]
    assert source.classes == ["cat", "dog"]
    found, faults = collect(source)
    assert faults == []
    assert sorted(found) == ids
    assert all(masks == {"cat": show(cat), "dog": show(STRIPE)} for masks in found.values())


def test_ultralytics(tmp_path: Path) -> None:
    """convert_coco's labels fill what the JSON's polygons fill; what YOLO trains on has their border too."""
    converter = pytest.importorskip("ultralytics.data.converter")
    masks = pytest.importorskip("ultralytics.data.utils").polygons2masks
    parts = [[3, 2, 12, 2, 12, 9, 3, 9], [20, 10, 28, 10, 28, 17, 20, 17]]
    marks = [
        {"id": n, "image_id": 1, "category_id": n, "iscrowd": 0, "area": 1, "bbox": [1, 1, 9, 9], "segmentation": some}
        for n, some in ((1, parts), (2, [[10, 5, 22, 6, 15, 14]]))
    ]
    images = [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": marks, "categories": categories}
    file = write(tmp_path / "json" / "train.json", json.dumps(content))
    out = tmp_path / "out"
    converter.convert_coco(str(file.parent), save_dir=str(out), use_segments=True, cls91to80=False)
    save(out / "images" / "train" / "a.png", SIZE)
    write(out / "data.yaml", "train: images/train\nnames: [cat, dog]\n")
    expected, _ = collect(read_coco(file, out / "images"))
    found, faults = collect(read_yolo(out))
    assert (found, faults) == (expected, [])
    polygons = [np.array(line.split()[1:], np.float32).reshape(-1, 2) for line in read_labels(out)]
    theirs = masks(SIZE, [polygon * np.array([WIDTH, HEIGHT], np.float32) for polygon in polygons], 1)
    for drawn, name in zip(theirs, ("cat", "dog"), strict=True):
        ours = np.array([[pixel == "#" for pixel in row] for row in found["train/a"][name]])
        assert ours.sum() < drawn.sum()
        assert not (ours & (drawn == 0)).any()


def read_labels(folder: Path) -> list[str]:
    return (folder / "labels" / "train" / "a.txt").read_text().splitlines()
