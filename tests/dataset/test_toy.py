"""The toy dataset is reproducible, in VOC layout, and asks of a network what its docstring says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset.toy
from dataset import class_index, open_fold, pascal
from dataset.episodes import MIN_PIXELS
from dataset.toy import SIDE, TEXTURES, class_look, main, make_pascal, texture
from util.errors import UserError


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        make_pascal(tmp_path / name, train=3, val=2, seed=seed)
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert {Path(name).parent.name for name in one} == {"JPEGImages", "SegmentationClassAug", "ImageSets"}
    assert one == same
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] == other[name]} == {name for name in one if name.endswith(".txt")}


def test_a_larger_dataset_begins_with_the_same_images(toy: Path, tmp_path: Path) -> None:
    make_pascal(tmp_path, train=1, val=1, seed=0)
    whole = contents(toy)
    assert all(whole[name] == data for name, data in contents(tmp_path).items() if not name.startswith("ImageSets"))


def test_labels_are_classes_and_outlines(toy: Path) -> None:
    found: set[int] = set()
    for path in (toy / "SegmentationClassAug").iterdir():
        labels = np.asarray(Image.open(path))
        assert labels.shape == (SIDE, SIDE)
        assert Image.open(toy / "JPEGImages" / f"{path.stem}.jpg").size == (SIDE, SIDE)
        here = set(np.unique(labels).tolist())
        assert {0, 255} < here
        assert 1 <= len(here - {0, 255}) <= 3
        found |= here
    assert found == {0, *range(1, 21), 255}


def test_every_twenty_images_hold_every_class_large_enough(toy: Path) -> None:
    index = class_index(open_fold("pascal", toy, 0).train.images)
    names = list(index)
    for start in range(0, 60, 20):
        large = {cls for name in names[start : start + 20] for cls, n in index[name].items() if n >= MIN_PIXELS}
        assert large == set(range(1, 21))


def test_lists(toy: Path) -> None:
    fold = open_fold("pascal", toy, 0)
    assert (len(fold.train.images.ids), len(fold.test.images.ids)) == (60, 40)
    assert not set(fold.train.images.ids) & set(fold.test.images.ids)


def looks(classes: Iterable[int]) -> tuple[set[float], set[str], set[tuple[float, str]]]:
    """The hues, the textures and the pairs of both that some classes have."""
    pairs = [class_look(cls) for cls in classes]
    return {hue for hue, _ in pairs}, {kind for _, kind in pairs}, set(pairs)


def test_no_two_classes_look_the_same() -> None:
    hues, kinds, pairs = looks(range(1, 21))
    assert (len(hues), len(pairs)) == (5, 20)
    assert kinds == set(TEXTURES)


@pytest.mark.parametrize("fold", range(4))
def test_every_colour_and_texture_is_in_base_and_novel_classes(fold: int) -> None:
    novel = set(pascal.novel_classes(fold))
    everything, new, known = looks(range(1, 21)), looks(novel), looks(set(range(1, 21)) - novel)
    assert new[:2] == known[:2] == everything[:2]
    assert not new[2] & known[2]


class Middle:
    """Every random number is the middle of its range."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def random(self) -> float:
        return 0.5


def test_textures_differ() -> None:
    patterns = [texture(kind, Middle()) for kind in TEXTURES]
    for number, pattern in enumerate(patterns):
        assert pattern.shape == (SIDE, SIDE)
        assert 0.2 < pattern.mean() < 0.8
        assert all((pattern != other).mean() > 0.1 for other in patterns[:number])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "toy"
    main(["--out", str(out), "--train", "2", "--val", "1"])
    assert "2 training and 1 validation images" in capsys.readouterr().out
    make_pascal(tmp_path / "expected", 2, 1, seed=0)
    assert contents(out) == contents(tmp_path / "expected")


@pytest.mark.parametrize("kind", ["folder with a file", "file"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    kept = out if kind == "file" else out / "kept.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(UserError, match=r"exists and is not an empty folder; --out must name a new one$"):
        main(["--out", str(out), "--train", "1", "--val", "1"])
    assert contents(tmp_path) == {str(kept.relative_to(tmp_path)): b"mine"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--train", "1", "--val", "1"])
    assert len(list(tmp_path.rglob("*.jpg"))) == len(list(tmp_path.rglob("*.png"))) == 2


def test_an_interrupted_painting_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has the dataset's name is whole."""
    out = tmp_path / "toy"
    whole = dataset.toy.scene
    monkeypatch.setattr("dataset.toy.scene", lambda number, seed: whole(number, seed) if number < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--out", str(out), "--train", "2", "--val", "2"])
    assert not out.exists()
    monkeypatch.undo()
    main(["--out", str(out), "--train", "2", "--val", "2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]
    assert len(list((out / "JPEGImages").iterdir())) == 4
