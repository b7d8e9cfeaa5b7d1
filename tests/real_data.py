"""Data that is not in the project, for the tests that use it; they skip where it is absent.

minivoc/ has VOC's layout: photographs of VOC's sizes with VOC's masks, for speed and exactness. The masks do not belong
to the photographs, so an mIoU on it says nothing about a network. photographs/ has the same layout, and masks that do
belong to its photographs, which have at most 375 pixels a side (docs/photographs.md).
"""

from __future__ import annotations

import os
from pathlib import Path

# a folder with minivoc/, photographs/, hsnet_splits/ and trajectories/
REAL_DATA = Path(os.environ.get("SSP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
