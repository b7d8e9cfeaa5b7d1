"""An NVIDIA GPU that PyTorch cannot use is named once, with the reason; one that is used or hidden is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.options import default_device
from util import distributed, gpu

TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update it from the URL: http://x"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with NVIDIA's driver, too old for PyTorch; the file that tells of the driver."""
    file = tmp_path / "version"
    file.touch()

    def fail() -> None:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(gpu, "TRACES", (str(file),))
    monkeypatch.setenv("PATH", str(tmp_path))  # a real nvidia-smi is not seen
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    distributed.say_once.cache_clear()
    return file


def said(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    for _ in range(2):
        assert default_device().type in ("cpu", "cuda")
    return capsys.readouterr().out


def test_an_old_driver(driver: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = f"PyTorch {torch.__version__} for CUDA 13.0: {TOO_OLD.partition('. ')[0]}"
    line = f"note: runs on the CPU, as PyTorch cannot use this machine's NVIDIA GPU ({reason}); docs/start.md "
    printed = said(capsys)
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_a_pytorch_for_the_cpu(
    driver: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert f"(PyTorch {torch.__version__} is built without CUDA); docs/start.md" in said(capsys)


def test_nvidia_smi_tells_of_a_driver_too(driver: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver.unlink()
    assert said(capsys) == ""
    smi = driver.with_name("nvidia-smi")
    smi.touch(0o755)
    assert "too old" in said(capsys)


@pytest.mark.parametrize("quiet", ["hidden", "used", "another process of the machine"])
def test_nothing_is_said(
    quiet: str, driver: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if quiet == "hidden":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    elif quiet == "used":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    else:
        monkeypatch.setenv("LOCAL_RANK", "1")
    assert said(capsys) == ""
