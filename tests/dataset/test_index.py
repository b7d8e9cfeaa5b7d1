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
from dataset.images import read_histogram
from dataset.index import cache_path
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

    def reader(path: str) -> tuple[tuple[int, int], dict[int, int]]:
        names.append(Path(path).stem)
        return read_histogram(path)

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
    def part(*names: str) -> ImageSet:
        return ImageSet("part", names, images.images, images.masks, {})

    class_index(part("a"))
    class_index(part("c", "b"))
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


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"not an archive",
    "appended": lambda whole: whole + b"more",
    "zeros": lambda whole: bytes(len(whole)),
    "middle": lambda whole: whole[:300] + bytes(100) + whole[400:],
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_built_again(images: ImageSet, opened: list[str], damage: str) -> None:
    class_index(images)
    path = cache_path(images.masks)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert class_index(images) == EXPECTED
    opened.clear()
    assert class_index(images) == EXPECTED
    assert opened == []


@pytest.mark.usefixtures("settled")
def test_a_cache_with_any_damage_gives_the_same_index(images: ImageSet) -> None:
    class_index(images)
    path = cache_path(images.masks)
    whole = path.read_bytes()
    rng = random.Random(0)
    for number in range(300):
        damaged = bytearray(whole)
        if number % 3:
            for _ in range(rng.choice((1, 1, 20))):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        else:
            del damaged[rng.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        assert class_index(images) == EXPECTED


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", ["array", "version", "names", "counts", "pixels", "labels", "stamps", "sizes"])
def test_a_readable_cache_that_is_not_ours_is_built_again(images: ImageSet, change: str) -> None:
    class_index(images)
    path = cache_path(images.masks)
    with np.load(path) as file:
        arrays = dict(file)
    with path.open("wb") as file:
        if change == "array":
            np.save(file, np.arange(5))
        elif change == "version":
            np.savez(file, **{**arrays, "version": 99})
        else:
            np.savez(file, **{**arrays, change: arrays[change][:-1]})
    assert class_index(images) == EXPECTED


@pytest.mark.usefixtures("settled")
def test_a_removed_cache_is_built_again(images: ImageSet, opened: list[str]) -> None:
    class_index(images)
    cache_path(images.masks).unlink()
    opened.clear()
    assert class_index(images) == EXPECTED
    assert sorted(opened) == ["a", "b", "c"]
    assert cache_path(images.masks).is_file()


def test_an_unusable_cache_folder_is_a_note(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert class_index(images) == EXPECTED
        note = capsys.readouterr().err
        assert note.startswith("note: the class index is not kept for the next run: cannot write ")
        assert note.count("\n") == 1


def test_fresh_masks_are_read_again(images: ImageSet, opened: list[str]) -> None:
    for _ in range(3):  # they may change once more within one tick of the clock
        opened.clear()
        assert class_index(images) == EXPECTED
        assert opened == ["b", "a", "c"]


def test_masks_that_changed_while_they_were_read_are_read_again(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """Reading takes longer than masks take to resolve_setting, as thousands of masks do."""
    monkeypatch.setattr(dataset.index, "SETTLED_NS", 5 * 10**7)
    reader = dataset.index.read_histogram

    def slow(path: str) -> tuple[tuple[int, int], dict[int, int]]:
        content = reader(path)
        time.sleep(0.05)
        return content

    monkeypatch.setattr(dataset.index, "read_histogram", slow)
    for name, labels in PAINTED.items():
        paint(Path(images.mask_path(name)), labels)
    class_index(images)
    opened.clear()
    class_index(images)
    assert opened == ["b", "a", "c"]


def test_a_missing_mask_is_named(images: ImageSet) -> None:
    Path(images.mask_path("a")).unlink()
    with pytest.raises(UserError) as excinfo:
        class_index(images)
    expected = f"{images.mask_path('a')}: no such mask, but the list of painted names it; add it (prepare.py), or"
    assert str(excinfo.value).startswith(expected)


@pytest.mark.usefixtures("settled")
def test_a_mask_that_goes_missing_is_named(images: ImageSet) -> None:
    class_index(images)
    Path(images.mask_path("c")).unlink()
    with pytest.raises(UserError, match=r"c\.png: no such mask"):
        class_index(images)


def test_a_pipe_in_the_place_of_a_mask(images: ImageSet) -> None:
    """It would be waited for without end."""
    path = Path(images.mask_path("a"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"a\.png: no such mask, but the list of "):
        class_index(images)


def test_without_a_home_folder(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert class_index(images) == EXPECTED
    note = "note: the class index is not kept for the next run: there is no home folder; set XDG_CACHE_HOME\n"
    assert capsys.readouterr().err.endswith(note)


@pytest.mark.parametrize("content", ["text", "truncated", "empty"])
def test_a_damaged_mask_is_named(images: ImageSet, content: str) -> None:
    path = Path(images.mask_path("a"))
    paint(path, np.random.RandomState(0).randint(0, 21, (50, 50)))
    whole = path.read_bytes()
    path.write_bytes({"text": b"<html>", "truncated": whole[: len(whole) // 2], "empty": b""}[content])
    with pytest.raises(UserError) as excinfo:
        class_index(images)
    assert str(excinfo.value).startswith(f"{path}: damaged or not an image, fetch it again (")
    assert "\n" not in str(excinfo.value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "1", "LA"])
def test_an_image_that_is_no_mask_is_named(images: ImageSet, mode: str) -> None:
    path = images.mask_path("a")
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(UserError) as excinfo:
        class_index(images)
    message = str(excinfo.value)
    assert message.startswith(f"{path}: a mask holds one 8-bit label a pixel (grey or palette PNG), this one is {mode}")


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
