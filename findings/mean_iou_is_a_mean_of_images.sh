#!/usr/bin/env bash
# torchmetrics 1.9.0. Guess: segmentation.MeanIoU adds up intersections and unions of all images, then divides.
# Seen: it averages the IoU of each image. An object of 100 pixels is found whole, one of 1 pixel is missed: 0.749, where
# the pooled value (JaccardIndex) is 0.994.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchmetrics==1.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchmetrics import JaccardIndex
from torchmetrics.segmentation import MeanIoU

truth = torch.zeros(2, 20, 20, dtype=torch.long)
truth[0, :10, :10] = 1
truth[1, 0, 0] = 1
found = truth.clone()
found[1, 0, 0] = 0
metric = MeanIoU(num_classes=2, input_format="index")
metric.update(found, truth)
of_images = float(metric.compute())
pooled = float(JaccardIndex(task="multiclass", num_classes=2)(found, truth))
by_hand = (100 / 101 + 699 / 700) / 2
print(f"MeanIoU {of_images:.4f}, JaccardIndex {pooled:.4f}, pooled by hand {by_hand:.4f}")
assert abs(pooled - by_hand) < 1e-4
assert abs(of_images - (1 + 1 + 0 + 399 / 400) / 4) < 1e-4, "MeanIoU is no mean over images any more"
PYTHON
