#!/usr/bin/env bash
# ultralytics 8.4.190. Guess: convert_segment_masks_to_yolo_seg keeps what a mask shows, but for pixels at its border.
# Seen: a hole is filled, and what is one pixel thick, such as a wire or a mast, is not written. Neither says a word.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ultralytics==8.4.190
cd "$folder"
venv/bin/python - <<'PYTHON'
from pathlib import Path

import numpy as np
from PIL import Image
from ultralytics.data.converter import convert_segment_masks_to_yolo_seg
from ultralytics.data.utils import polygons2masks

SIZE = height, width = 40, 60
mask = np.zeros(SIZE, np.uint8)
mask[5:30, 10:40] = 1  # a ring
mask[12:20, 18:30] = 0
mask[5:35, 50] = 2  # a mast
Path("masks").mkdir()
Image.fromarray(mask).save("masks/a.png")
convert_segment_masks_to_yolo_seg("masks", "labels", classes=2)
found = np.zeros(SIZE, np.uint8)
for line in Path("labels/a.txt").read_text().splitlines():
    number, *values = map(float, line.split())
    points = np.array(values, np.float32).reshape(-1, 2) * np.array([width, height], np.float32)
    found[polygons2masks(SIZE, [points.round()], 1)[0] > 0] = int(number) + 1
counts = {label: (int((mask == label).sum()), int((found == label).sum())) for label in (1, 2)}
print(f"pixels drawn and read back: ring {counts[1]}, mast {counts[2]}; of the hole {int((found[12:20, 18:30] == 1).sum())}")
assert counts == {1: (654, 750), 2: (30, 0)}, "what is kept has changed"
PYTHON
