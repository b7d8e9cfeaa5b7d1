#!/usr/bin/env bash
# torchvision 0.29.1, pycocotools 2.0.11. Guess: both measure the same box of a mask. Seen: masks_to_boxes gives the last
# pixel itself as x2 and y2, so that x2 - x1 is one less than the width that toBbox gives, and 0 for a line of one pixel.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 pycocotools==2.0.11 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
from pycocotools.mask import encode, toBbox
from torchvision.ops import masks_to_boxes

mask = np.zeros((20, 30), np.uint8)
mask[5:15, 5:12] = 1
line = np.zeros((20, 30), np.uint8)
line[5:15, 5] = 1
sizes = {}
for name, pixels in (("block", mask), ("line", line)):
    x1, y1, x2, y2 = masks_to_boxes(torch.from_numpy(pixels)[None])[0].tolist()
    sizes[name] = (x2 - x1, y2 - y1), tuple(toBbox(encode(np.asfortranarray(pixels)))[2:].tolist())
    print(f"{name}: torchvision {sizes[name][0]}, pycocotools {sizes[name][1]}")
assert sizes == {"block": ((6, 9), (7, 10)), "line": ((0, 9), (1, 10))}, "the boxes have changed"
PYTHON
