"""Real images, masks and lists, for the tests that use them; they skip where there are none."""

from __future__ import annotations

import os
from pathlib import Path

# a folder with minivoc/ (VOC layout), hsnet_splits/ and voc2012_aug_masks.tar.xz
REAL_DATA = Path(os.environ.get("SSP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
