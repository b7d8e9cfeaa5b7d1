#!/usr/bin/env bash
# supervision 0.31.2. Guess: an object that is in two parts (something stands before it) stays one object in what is
# exported. Seen: as_coco writes it as a run length with iscrowd 1, the mark of crowds, which most loaders of instances
# leave out; as_yolo writes two objects.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet supervision==0.31.2 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

import cv2
import numpy as np
import supervision as sv

mask = np.zeros((60, 60), bool)
mask[5:15, 5:15] = True
mask[30:55, 30:55] = True
cv2.imwrite("a.png", np.zeros((60, 60, 3), np.uint8))
object_ = sv.Detections(xyxy=np.array([[5.0, 5, 54, 54]]), mask=mask[None], class_id=np.array([0]))
dataset = sv.DetectionDataset(classes=["cat"], images=["a.png"], annotations={"a.png": object_})
dataset.as_coco(images_directory_path="coco", annotations_path="coco.json")
dataset.as_yolo(images_directory_path="images", annotations_directory_path="labels", data_yaml_path="data.yaml")
annotations = json.loads(Path("coco.json").read_text())["annotations"]
lines = Path("labels/a.txt").read_text().splitlines()
print(f"COCO: {len(annotations)} annotation, iscrowd {annotations[0]['iscrowd']}; YOLO: {len(lines)} objects")
assert [annotation["iscrowd"] for annotation in annotations] == [1], "COCO's mark has changed"
assert len(lines) == 2, "YOLO's objects have changed"
PYTHON
