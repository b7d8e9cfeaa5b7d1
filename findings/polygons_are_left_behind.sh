#!/usr/bin/env bash
# datumaro 1.13.12. Guess: an export for segmentation holds each object, whether it was drawn as a polygon or as a mask.
# Seen: voc_segmentation writes masks alone. An image of polygons gets no mask and is on no list; in an image that has
# both, the polygon's pixels are background. yolo_ultralytics writes boxes alone: the label file of polygons is empty,
# which says that the image shows nothing. Neither says a word. The transform polygons_to_masks mends the former.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
cd "$folder"
venv/bin/python - <<'PYTHON'
from pathlib import Path

import datumaro as dm
import numpy as np
from datumaro.components.annotation import Mask, Polygon
from datumaro.components.media import Image as Media
from PIL import Image

square = Polygon([10, 5, 40, 5, 40, 30, 10, 30], label=0)
stripe = np.zeros((40, 60), np.uint8)
stripe[35, 5:55] = 1
shown = {"polygon": [square], "both": [square, Mask(stripe, label=1)]}
media = Media.from_numpy(np.zeros((40, 60, 3), np.uint8))
items = [dm.DatasetItem(name, subset="train", media=media, annotations=some) for name, some in shown.items()]
items.append(dm.DatasetItem("other", subset="val", media=media, annotations=[square]))  # YOLO's export asks for one


def painted(folder: str) -> dict[str, int]:
    masks = sorted(Path(folder, "SegmentationClass").glob("*.png"))
    return {mask.stem: int(np.array(Image.open(mask)).any(-1).sum()) for mask in masks}


dataset = dm.Dataset.from_iterable(items, categories=["cat", "dog"])
dataset.export("voc", "voc_segmentation", save_media=True)
dataset.export("yolo", "yolo_ultralytics", save_media=True)
listed = Path("voc/ImageSets/Segmentation/train.txt").read_text().split()
labels = {path.stem: path.read_text() for path in sorted(Path("yolo/labels").glob("*/*.txt"))}
dataset.transform("polygons_to_masks")
dataset.export("mended", "voc_segmentation", save_media=True)
print(f"VOC: listed {listed}, painted pixels {painted('voc')}; after polygons_to_masks {painted('mended')}")
print(f"YOLO: {labels}")
assert (listed, painted("voc")) == (["both"], {"both": 50}), "what VOC's layout holds has changed"
assert painted("mended") == {"both": 800, "other": 750, "polygon": 750}, "what polygons_to_masks gives has changed"
assert not any(labels.values()), "what YOLO's labels hold has changed"
PYTHON
