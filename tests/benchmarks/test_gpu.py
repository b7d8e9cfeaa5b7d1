"""The small form of benchmarks.gpu, on the CPU: every section and both files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu
from benchmarks.gpu_rows import table
from tests.files import OneLine

Rows = dict[str, dict[str, dict]]  # section, row, numbers


@pytest.fixture(scope="module", autouse=True)
def _no_cuda() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "SMALL", gpu.SMALL._replace(episodes=2, plain=1))
        gpu.main(["--small", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def rows(out: Path) -> Rows:
    sections = json.loads((out / "gpu.json").read_text())["sections"]
    return {title: {row.pop("name"): row for row in found} for title, found in sections.items()}


def test_numbers_are_finite(rows: Rows) -> None:
    assert list(rows) == list(gpu.SECTIONS)
    every = [(name, row) for found in rows.values() for name, row in found.items()]
    assert not [name for name, row in every if "failed" in row]
    skipped = [name for name, row in every if "skipped" in row]
    assert all("TF32" in name or name.startswith(("ours, fp16", "DataParallel")) for name in skipped)
    assert len(skipped) == 10
    numbers = [value for _, row in every for value in row.values() if not isinstance(value, str | None)]
    assert len(numbers) > 40
    assert all(math.isfinite(value) and value >= 0 for value in numbers)


def test_golden_logits(rows: Rows) -> None:
    golden = rows["Golden logits"]
    for shot in ("1-shot", "5-shot"):
        for way in ("plain", "planned"):
            exact = golden[f"{shot}, {way}, float32"]
            assert exact["of the largest logit"] < 1e-4
            assert exact["pixels predicted otherwise"] < 1e-3
        rounded = golden[f"{shot}, planned, bfloat16 backbone"]
        assert 1e-4 < rounded["of the largest logit"] < 0.1
        assert rounded["pixels predicted otherwise"] < 0.05


def test_evaluation(rows: Rows) -> None:
    assert list(rows["Evaluation"]) == ["1-shot", "5-shot"]
    for shot, row in rows["Evaluation"].items():
        assert row["pixels predicted otherwise"] < 1e-3
        assert row["with a bfloat16 backbone"] < 0.1
        assert row["ratio"] == pytest.approx(row["plain, ms"] / row["planned, ms"])
        assert row["backbone passes"] == row["images"] / row["episodes"] <= 1 + int(shot[0])
        assert row["planned, GB"] is None


def test_training(rows: Rows) -> None:
    steps = rows["Training step"]
    assert list(steps) == ["plain, float32", "ours, float32", "ours, bf16", "ours, fp16"]
    assert steps["ours, float32"]["difference of the first loss"] < 1e-5
    assert steps["ours, float32"]["of the first 4"] < 1e-3
    assert steps["ours, bf16"]["of the first 4"] < 0.1


def test_replicas(rows: Rows) -> None:
    wrapped = rows["Replicas"]["DistributedDataParallel, one process"]
    assert wrapped["difference of the loss"] < 1e-6
    assert wrapped["difference of the norm"] < 1e-5
    assert not torch.distributed.is_initialized()


def test_markdown(out: Path, rows: Rows) -> None:
    text = (out / "gpu.md").read_text()
    assert text.startswith("# Measurements on CPU\n")
    for title, found in rows.items():
        part = text.split(f"## {title} on CPU\n")[1].split("\n## ")[0].strip().splitlines()
        assert [line.split(" | ")[0].removeprefix("| ") for line in part[2:]] == list(found)
        assert len({line.count("|") for line in part}) == 1


def test_table_has_notes_last() -> None:
    lines = table([("a", {"skipped": "why"}), ("b", {"s": 0.12345, "GB": None})]).splitlines()
    assert lines == [
        "|  | s | GB | skipped |",
        "| :-- | --: | --: | --: |",
        "| a | - | - | why |",
        "| b | 0.1235 | - | - |",
    ]


def test_a_failure_hides_no_other_section(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(job: object) -> list:
        raise ValueError("not today")

    monkeypatch.setattr(gpu, "SECTIONS", {"Broken": broken, "Whole": lambda job: [("a", {"crop": job.crop_size})]})
    with pytest.raises(SystemExit, match="some rows failed"):
        gpu.main(["--small", "--data-root", str(toy), "--out", str(tmp_path)])
    assert "ValueError: not today" in capsys.readouterr().err
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert found == {"Broken": [{"name": "Broken", "failed": "not today"}], "Whole": [{"name": "a", "crop": 65}]}


def test_needs_cuda(one_line_error: OneLine, tmp_path: Path) -> None:
    assert "--small" in one_line_error(gpu.main, ["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_enlarged_masks_have_no_new_label(tmp_path: Path) -> None:
    labels = np.kron(np.array([[0, 7], [255, 3]], np.uint8), np.ones((3, 3), np.uint8))
    for name in ("image.jpg", "mask.png"):
        Image.fromarray(labels).save(tmp_path / name)
        gpu.enlarge(tmp_path / name, 20)
        assert Image.open(tmp_path / name).size == (20, 20)
    assert np.unique(np.asarray(Image.open(tmp_path / "mask.png"))).tolist() == [0, 3, 7, 255]
