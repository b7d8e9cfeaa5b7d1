"""The class index counts exactly, is cached, and the cache never lies."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataset.index
from dataset import ImageSet, class_index
from dataset.check import checked_index
from dataset.images import read_histogram, read_size
from dataset.index import cache_path, read_pairs
from tests.files import write
from util.errors import UserError
from util.processes import CHUNK

PAINTED = {
    "b": [[0, 1, 1], [255, 1, 0]],
    "a": [[20, 20, 20], [3, 255, 255]],
    "c": [[0, 0, 0], [255, 255, 0]],
}
EXPECTED = {"b": {1: 3}, "a": {3: 1, 20: 3}, "c": {}}


def paint(path: Path, labels: list[list[int]] | np.ndarray) -> None:
    Image.fromarray(np.array(labels, np.uint8)).save(path)


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """Three hand-painted masks, listed out of order."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, labels in PAINTED.items():
        paint(folder / f"{name}.png", labels)
    return ImageSet("painted", tuple(PAINTED), tmp_path / "images", folder, {})


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks count as settled at once, so that a test need not wait until they may be cached."""
    monkeypatch.setattr(dataset.index, "SETTLED_NS", 0)
    time.sleep(0.02)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the masks that are opened from now on, in one process."""
    names: list[str] = []

    def reader(path: str, **how: bool) -> tuple[tuple[int, int], dict[int, int], dict[int, int]]:
        names.append(Path(path).stem)
        return read_histogram(path, **how)

    monkeypatch.setattr(dataset.index, "read_histogram", reader)
    return names


def test_counts_are_exact_and_in_list_order(images: ImageSet) -> None:
    index = class_index(images)
    assert index == EXPECTED
    assert list(index) == ["b", "a", "c"]


def test_palette_masks_count_like_grey_ones(images: ImageSet) -> None:
    for name, labels in PAINTED.items():
        picture = Image.fromarray(np.array(labels, np.uint8)).convert("P")
        picture.putdata(np.array(labels).ravel().tolist())
        picture.putpalette([value for number in range(256) for value in (255 - number, 7, number)])
        picture.save(images.mask_path(name))
    assert Image.open(images.mask_path("a")).mode == "P"
    assert class_index(images) == EXPECTED


@pytest.mark.usefixtures("settled")
def test_nothing_is_opened_when_nothing_changed(images: ImageSet, opened: list[str]) -> None:
    assert class_index(images) == EXPECTED
    assert opened == ["b", "a", "c"]
    opened.clear()
    assert class_index(images) == EXPECTED
    assert opened == []


@pytest.mark.usefixtures("settled")
def test_two_lists_of_one_folder_share_the_cache(images: ImageSet, opened: list[str]) -> None:
    class_index(images.listed("one", ["a"]))
    class_index(images.listed("two", ["c", "b"]))
    assert opened == ["a", "c", "b"]
    assert class_index(images) == EXPECTED
    assert opened == ["a", "c", "b"]


@pytest.mark.usefixtures("settled")
def test_a_change_is_noticed_though_size_and_time_are_the_same(images: ImageSet, opened: list[str]) -> None:
    class_index(images)
    path = Path(images.mask_path("b"))
    before = path.stat()
    time.sleep(0.02)
    paint(path, [[0, 2, 2], [255, 2, 0]])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    opened.clear()
    assert class_index(images) == {**EXPECTED, "b": {2: 3}}
    assert opened == ["b"]


@pytest.mark.usefixtures("settled")
def test_a_mask_of_another_folder_is_another_mask(images: ImageSet, tmp_path: Path) -> None:
    class_index(images)
    other = tmp_path / "other"
    other.mkdir()
    for name in PAINTED:
        paint(other / f"{name}.png", [[9]])
    elsewhere = ImageSet("other", images.ids, images.images, other, {})
    assert class_index(elsewhere) == {"b": {9: 1}, "a": {9: 1}, "c": {9: 1}}
    assert class_index(images) == EXPECTED


@pytest.mark.usefixtures("settled")
def test_headers_of_images_are_read_once(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where an image changes; its mask is not."""
    headers: list[str] = []
    monkeypatch.setattr(dataset.index, "read_size", lambda path: (headers.append(Path(path).name), read_size(path))[1])
    images.images.mkdir()
    for name, labels in PAINTED.items():
        Image.new("RGB", np.shape(labels)[::-1]).save(images.image_path(name))
    time.sleep(0.02)
    for seen in (["b.jpg", "a.jpg", "c.jpg"], []):
        headers.clear()
        assert [pair.image_size == pair.mask_size == (3, 2) for pair in read_pairs(images)] == [True] * 3
        assert headers == seen
    Image.new("RGB", (5, 4)).save(images.image_path("a"))
    assert [pair.image_size for pair in read_pairs(images)] == [(3, 2), (5, 4), (3, 2)]
    assert headers == ["a.jpg"]
    with pytest.raises(
        UserError, match=r"a\.png: mask of 3x2 pixels, image of 5x4; mend it; prepare\.py verify lists all"
    ):
        checked_index(images.listed("some", images.ids, dict.fromkeys(range(1, 21), "")))


def replace_array(path: Path, name: str, value: object = None) -> None:
    """By another value, or else by all but its last row."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name] = arrays[name][:-1] if value is None else value
    with path.open("wb") as file:
        np.savez(file, **arrays)


def change_bytes(path: Path, seed: int) -> None:
    damaged, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(20):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    path.write_bytes(damaged)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "removed": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_bytes(b"not an archive"),
    "another version": lambda path: replace_array(path, "version", 99),
    **{f"other bytes {seed}": lambda path, seed=seed: change_bytes(path, seed) for seed in range(3)},
    **{
        f"{name} too short": lambda path, name=name: replace_array(path, name)
        for name in ("names", "counts", "pixels", "labels", "stamps", "sizes", "two_valued", "colours")
    },
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_built_again(images: ImageSet, opened: list[str], damage: str) -> None:
    class_index(images)
    DAMAGES[damage](cache_path(images.masks))
    for read in (["b", "a", "c"], []):
        opened.clear()
        assert class_index(images) == EXPECTED
        assert opened == read


@pytest.mark.parametrize(("home", "says"), [(True, "cannot write "), (False, "there is no home folder; set ")])
def test_an_unusable_cache_folder_is_a_note(
    images: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home: bool,
    says: str,
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    if home:
        monkeypatch.setenv("XDG_CACHE_HOME", str(write(tmp_path / "file")))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
    for _ in range(2):
        assert class_index(images) == EXPECTED
        note = capsys.readouterr().err
        assert note.startswith(f"note: the class index is not kept for the next run: {says}")
        assert note.count("\n") == 1


def test_fresh_masks_are_read_again(images: ImageSet, opened: list[str]) -> None:
    for _ in range(3):  # they may change once more within one tick of the clock
        opened.clear()
        assert class_index(images) == EXPECTED
        assert opened == ["b", "a", "c"]


def test_masks_that_changed_while_they_were_read_are_read_again(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """Reading takes longer than masks take to settle, as thousands of masks do."""
    monkeypatch.setattr(dataset.index, "SETTLED_NS", 5 * 10**7)
    reader = dataset.index.read_histogram

    def slow(path: str, **how: bool) -> tuple[tuple[int, int], dict[int, int]]:
        content = reader(path, **how)
        time.sleep(0.05)
        return content

    monkeypatch.setattr(dataset.index, "read_histogram", slow)
    for name, labels in PAINTED.items():
        paint(Path(images.mask_path(name)), labels)
    class_index(images)
    opened.clear()
    class_index(images)
    assert opened == ["b", "a", "c"]


WHOLE = np.random.RandomState(0).randint(0, 21, (50, 50))
NO_MASK = "no such mask, but the list of painted names it; add it (prepare.py), or"
DAMAGED = "damaged or not an image, fetch it again ("
BAD_MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda path: None, NO_MASK),
    "a pipe": (os.mkfifo, NO_MASK),  # it would be waited for without end
    "text": (lambda path: path.write_bytes(b"<html>"), "not read, it is a web page; fetch the image itself"),
    "empty": (lambda path: path.write_bytes(b""), "empty; fetch it again"),
    "truncated": (lambda path: (paint(path, WHOLE), path.write_bytes(path.read_bytes()[:300])), DAMAGED),
    **{
        mode: (
            lambda path, mode=mode: Image.new(mode, (4, 4)).save(path),
            "a mask that is transparent everywhere; save it as a grey PNG of one label a pixel",
        )
        for mode in ("RGBA", "LA")
    },
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_mask_is_named(images: ImageSet, name: str, cached: bool) -> None:
    damage, says = BAD_MASKS[name]
    if cached:
        class_index(images)
    path = Path(images.mask_path("a"))
    path.unlink()
    damage(path)
    with pytest.raises(UserError) as excinfo:
        class_index(images)
    assert str(excinfo.value).startswith(f"{path}: {says}")
    assert "\n" not in str(excinfo.value)


@pytest.fixture
def many(tmp_path: Path) -> ImageSet:
    """More masks than two workers take at a time."""
    rng = np.random.RandomState(0)
    names = tuple(f"{number:04d}" for number in rng.permutation(2 * CHUNK + 5))
    for name in names:
        paint(tmp_path / f"{name}.png", rng.choice((0, 1, 2, 20, 255), (4, 5)))
    return ImageSet("many", names, tmp_path, tmp_path, {})


def test_parallel_equals_serial(many: ImageSet) -> None:
    serial = class_index(many, 1)
    assert [list(serial[name].values()) for name in many.ids[:3]] == [
        [int((np.asarray(Image.open(many.mask_path(name))) == cls).sum()) for cls in serial[name]]
        for name in many.ids[:3]
    ]
    parallel = class_index(many, 2)
    assert parallel == serial
    assert list(parallel) == list(many.ids)


def test_a_bad_mask_in_parallel_is_one_line(many: ImageSet) -> None:
    path = Path(many.mask_path(many.ids[CHUNK + 1]))
    path.write_bytes(b"text")
    with pytest.raises(UserError) as excinfo:
        class_index(many, 2)
    assert str(excinfo.value).startswith(f"{path}: damaged or not an image")


def test_nothing_is_written_to_the_dataset(images: ImageSet, tmp_path: Path) -> None:
    def everything() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}

    before = everything()
    images.masks.chmod(0o555)
    assert class_index(images) == EXPECTED
    images.masks.chmod(0o755)
    assert everything() == before
