"""The inputs of cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.as_found.cases import Inputs


@pytest.fixture
def inputs(tmp_path: Path, calibrated: Path, toy: Path, toy_coco: Path, toy_fss: Path) -> Inputs:
    return Inputs(tmp_path, calibrated, toy, toy_coco, toy_fss)
