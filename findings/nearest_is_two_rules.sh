#!/usr/bin/env bash
# torchvision 0.29.1, Pillow 12.3.0. Guess: resize by nearest pixel gives a mask the same labels, be it a PIL image or a
# tensor. Seen: 7 columns to 5, the PIL image keeps the stripe of label 2, the tensor (and tv_tensors.Mask) loses it.
# A tensor takes the pixel at floor(i * 7 / 5), Pillow the one below the centre; NEAREST_EXACT does as Pillow.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 pillow==12.3.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

mask = np.tile(np.array([1, 1, 1, 2, 0, 0, 0], np.uint8), (7, 1))
tensor = torch.from_numpy(mask)[None]
rows = {
    "PIL image": np.asarray(F.resize(Image.fromarray(mask), [5, 5], InterpolationMode.NEAREST))[0],
    "tensor": F.resize(tensor, [5, 5], InterpolationMode.NEAREST)[0, 0].numpy(),
    "tv_tensors.Mask": F.resize(tv_tensors.Mask(tensor), [5, 5])[0, 0].numpy(),
    "tensor, NEAREST_EXACT": F.resize(tensor, [5, 5], InterpolationMode.NEAREST_EXACT)[0, 0].numpy(),
}
for name, row in rows.items():
    print(f"{name}: {row.tolist()}")
kept, lost = [1, 1, 2, 0, 0], [1, 1, 1, 0, 0]
assert [row.tolist() for row in rows.values()] == [kept, lost, lost, kept], "the rules have changed"
PYTHON
