"""Benchmarks of today in small: the folders of each, as they are published, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset.prepare.from_masks import read_masks
from tests.dataset.prepare.sources import collect, save

OBJECT = np.array([[0, 255, 255], [0, 0, 0]], np.uint8)
DRAWN = [".##", "..."]


def test_isic_2018(tmp_path: Path) -> None:
    """The folders of the images are the classes."""
    images, masks = tmp_path / "ISIC2018_Task1-2_Training_Input", tmp_path / "ISIC2018_Task1_Training_GroundTruth"
    for number in (1, 2, 3):
        save(images / f"{number}" / f"ISIC_000000{number}.jpg", OBJECT.shape)
        save(masks / f"ISIC_000000{number}_segmentation.png", OBJECT)
    source = read_masks(masks, images)
    assert source.classes == ["1", "2", "3"]
    assert collect(source) == ({f"{number}/ISIC_000000{number}": {f"{number}": DRAWN} for number in (1, 2, 3)}, [])


def test_chest_x_ray(tmp_path: Path) -> None:
    """Some masks are called as the image, some have _mask behind it, and some images have none."""
    images, masks = tmp_path / "LungSegmentation" / "CXR_png", tmp_path / "LungSegmentation" / "masks"
    for name in ("CHNCXR_0001_0", "MCUCXR_0002_0", "CHNCXR_0003_0"):
        save(images / f"{name}.png", OBJECT.shape)
    save(masks / "CHNCXR_0001_0_mask.png", OBJECT)
    save(masks / "MCUCXR_0002_0.png", OBJECT)
    source = read_masks(masks, images)
    assert source.classes == ["1"]
    assert collect(source) == ({"CHNCXR_0001_0": {"1": DRAWN}, "MCUCXR_0002_0": {"1": DRAWN}}, [])
    assert source.notes == [f"{images}: 1 images left out, which have no mask"]


def test_suim(tmp_path: Path) -> None:
    for name in ("d_r_1_", "n_l_2_"):
        save(tmp_path / "images" / f"{name}.jpg", OBJECT.shape)
    save(tmp_path / "masks" / "FV" / "d_r_1_.bmp", OBJECT)
    save(tmp_path / "masks" / "HD" / "d_r_1_.bmp", OBJECT)
    save(tmp_path / "masks" / "HD" / "n_l_2_.png", OBJECT)
    source = read_masks(tmp_path / "masks", tmp_path / "images")
    assert source.classes == ["FV", "HD"]
    assert collect(source) == ({"d_r_1_": {"FV": DRAWN, "HD": DRAWN}, "n_l_2_": {"HD": DRAWN}}, [])


def test_deep_globe(tmp_path: Path) -> None:
    """Tiles of one name are in several classes; images and masks lie in one folder."""
    for name in ("1", "2"):
        save(tmp_path / name / "test" / "origin" / "207_03.jpg", OBJECT.shape)
        save(tmp_path / name / "test" / "groundtruth" / "207_03.png", OBJECT)
    source = read_masks(tmp_path, tmp_path)
    assert source.classes == ["1", "2"]
    found = {f"{name}/test/origin/207_03": {name: DRAWN} for name in ("1", "2")}
    assert collect(source) == (found, [])


def test_isaid(tmp_path: Path) -> None:
    images, masks = tmp_path / "val" / "images", tmp_path / "val" / "semantic_png"
    save(images / "P0003_0_256_0_256.png", (2, 3))
    save(masks / "P0003_0_256_0_256_instance_color_RGB.png", [[0, 1, 1], [15, 255, 0]])
    source = read_masks(masks, images)
    assert source.classes == ["1", "15"]
    expected = {"1": DRAWN, "15": ["...", "#.."], "ignored": ["...", ".#."]}
    assert collect(source) == ({"P0003_0_256_0_256": expected}, [])


def test_fss_1000(tmp_path: Path) -> None:
    for name in ("ab_wheel", "abacus"):
        save(tmp_path / name / "1.jpg", OBJECT.shape)
        save(tmp_path / name / "1.png", np.repeat(OBJECT[..., None], 3, -1))
    source = read_masks(tmp_path, tmp_path)
    assert collect(source) == ({"ab_wheel/1": {"ab_wheel": DRAWN}, "abacus/1": {"abacus": DRAWN}}, [])
