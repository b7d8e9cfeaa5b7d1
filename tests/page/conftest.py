"""The photos of the page's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page.photos import make_photos


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))
