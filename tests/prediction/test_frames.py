"""Frames of videos and animated images: upright, at their times, as they are shown; what is cut is told."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prediction.frames import Film, check_film, read_frames
from prediction.queries import check_query, describe_count
from tests.prediction.films import RATE, cut, paint_frames, write_film
from util.errors import UserError


@pytest.fixture
def av() -> object:
    return pytest.importorskip("av")


def shown_by(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Pixels at the places x' = a x + c y, y' = b x + d y, moved so that they begin at 0."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    columns, rows = a * x + c * y, b * x + d * y
    columns, rows = columns - columns.min(), rows - rows.min()
    shown = np.zeros((rows.max() + 1, columns.max() + 1, 3), np.uint8)
    shown[rows, columns] = pixels
    return shown


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0),
        (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0),
    ],
)  # fmt: skip
def test_frames_are_upright(tmp_path: Path, av: object, matrix: tuple[int, int, int, int]) -> None:
    """As the display matrix says of a phone that was held in some way."""
    stored = np.full((48, 64, 3), 40, np.uint8)
    stored[:16, :40] = 120
    stored[:16, :16] = 230
    path = write_film(tmp_path / "a.mp4", [stored] * 2, matrix)
    expected = shown_by(stored, *matrix)
    (first, second) = read_frames(path)
    assert np.abs(np.array(first.picture, int) - expected).mean() < 5
    assert check_film(path) == Film((expected.shape[1], expected.shape[0]), 2, RATE)
    assert (second.number, second.seconds) == (1, 1 / RATE)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov", ".ts", ".jpg"])  # whatever it is called
def test_every_nth_frame_of_any_container(tmp_path: Path, av: object, suffix: str) -> None:
    frames = paint_frames(7)
    path = write_film(tmp_path / f"a{suffix.replace('jpg', 'mp4')}", frames).rename(tmp_path / f"a{suffix}")
    found = list(read_frames(path, 3))
    assert [frame.number for frame in found] == [0, 3, 6]
    assert [frame.seconds for frame in found] == [number / RATE for number in (0, 3, 6)]
    for frame in found:
        grey, expected = (np.array(x, int).mean(-1) for x in (frame.picture, frames[frame.number]))
        assert np.abs(grey - expected).mean() < 6
    query = check_query(path, 3)
    assert (query.size, query.frames, query.rate, query.count) == ((64, 48), range(0, 7, 3), RATE / 3, 3)
    assert describe_count([query, query._replace(frames=None)]) == "1 image and 3 frames"


def test_films_that_cannot_be_read(tmp_path: Path, av: object) -> None:
    frames = paint_frames(40)
    (tmp_path / "text.mp4").write_text("hello " * 400)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwhole.ts\n#EXT-X-ENDLIST\n")
    write_film(tmp_path / "whole.ts", frames)
    for path in (
        write_film(tmp_path / "index_last.mp4", frames),
        write_film(tmp_path / "index_first.mp4", frames, movflags="faststart"),
        write_film(tmp_path / "matroska.mkv", frames),
    ):
        assert check_film(path) == Film((64, 48), 40, RATE)
        cut(path)
    head = cut(tmp_path / "matroska.mkv", 0.01)
    head.rename(tmp_path / "head.mkv")
    cut(tmp_path / "matroska.mkv")
    damaged = r"not a video, or damaged \(.+\); replace it or leave it out$"
    says = {
        "text.mp4": damaged,
        "empty.mp4": damaged,
        "list.mp4": damaged,  # it would open other files
        "index_last_cut.mp4": damaged,
        "index_first_cut.mp4": rf"({damaged}|holds [12]\.\d of its 4\.0 seconds)",
        "matroska_cut.mkv": r"holds [12]\.\d of its 4\.0 seconds; fetch it again",
        "head.mkv": r"(a video without frames|holds 0\.0 of|not a video)",
    }
    for name, problem in says.items():
        with pytest.raises(UserError, match=f"^{tmp_path}/{name}: {problem}"):
            check_film(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path: Path, av: object) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(UserError, match=r"a\.mp4: holds no video; replace it or leave it out$"):
        check_film(tmp_path / "a.mp4")


RED, GREEN, BLUE, CLEAR = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def squares(*colours: tuple[int, ...]) -> list[Image.Image]:
    """Clear pictures with a square each, at another place."""
    pictures = []
    for number, colour in enumerate(colours):
        picture = Image.new("RGBA", (40, 32), CLEAR)
        picture.paste(colour, (10 * number, 0, 10 * number + 10, 10))
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.gif", {"disposal": 2}), ("a.png", {}), ("a.webp", {"lossless": True}), ("gif.mp4", {"disposal": 2})],
)
def test_animated_images_are_read_as_they_are_shown(tmp_path: Path, name: str, options: dict) -> None:
    """What is clear is white, as of other images; each frame has its own time."""
    if name == "gif.mp4":
        pytest.importorskip("av")
    first, *others = squares(RED, GREEN, BLUE)
    if name == "a.webp":  # Pillow 13 writes these without transparency
        first, *others = (Image.alpha_composite(Image.new("RGBA", x.size, "white"), x) for x in (first, *others))
    form = "GIF" if "gif" in name else None
    path = tmp_path / name
    first.save(path, form, save_all=True, append_images=others, duration=[100, 250, 400], **options)
    found = list(read_frames(path))
    assert [frame.seconds for frame in found] == [0, Fraction(1, 10), Fraction(7, 20)]
    if name == "gif.mp4":
        return  # FFmpeg's colours of what is clear are its own
    assert check_film(path) == Film((40, 32), 3, Fraction(4))
    for number, frame in enumerate(found):
        expected = np.full((32, 40, 3), 255)
        expected[:10, 10 * number : 10 * number + 10] = (RED, GREEN, BLUE)[number][:3]
        assert np.array_equal(frame.picture, expected)


def test_partial_frames_of_a_gif_lie_on_those_before(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (40, 32), "white")]
    for picture in squares(RED, GREEN, BLUE):
        pictures.append(pictures[-1].copy())
        pictures[-1].paste(picture, mask=picture)
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], disposal=1, duration=0)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(3)
        assert image.tile[0][1] == (20, 0, 30, 10)  # what the file holds of this frame
    *_, last = read_frames(tmp_path / "a.gif")
    assert np.array_equal(last.picture, pictures[-1])
    assert last.seconds == Fraction(3, 10)  # without a time of its own a frame is shown for a tenth


def test_the_default_image_of_an_apng_is_no_frame(tmp_path: Path) -> None:
    first, *others = squares(RED, GREEN, BLUE)
    for is_apart, count in ((True, 2), (False, 3)):
        first.save(tmp_path / "a.png", save_all=True, append_images=others, default_image=is_apart, duration=100)
        assert check_film(tmp_path / "a.png") == Film((40, 32), count, RATE)


@pytest.mark.parametrize("name", ["one.gif", "pages.tif", "a.jpg", "missing.jpg"])
def test_what_is_one_image(tmp_path: Path, name: str) -> None:
    pictures = [Image.new("RGB", (40, 32), colour) for colour in ("red", "blue")]
    pictures[0].save(tmp_path / "one.gif")
    pictures[0].save(tmp_path / "a.jpg")
    pictures[0].save(tmp_path / "pages.tif", save_all=True, append_images=pictures[1:])
    assert check_film(tmp_path / name) is None


def test_a_gif_that_is_cut_is_told(tmp_path: Path) -> None:
    noise = [Image.fromarray(x) for x in np.random.default_rng(0).integers(0, 256, (6, 32, 40), dtype=np.uint8)]
    noise[0].save(tmp_path / "a.gif", save_all=True, append_images=noise[1:])
    assert check_film(tmp_path / "a.gif").count == 6
    with pytest.raises(UserError, match=r"a_cut\.gif: not an image, or damaged \(.+\); replace it or leave it out$"):
        check_film(cut(tmp_path / "a.gif"))


def test_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    first, *others = squares(RED, GREEN)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    for name in ("a.mp4", "a.gif"):
        with pytest.raises(UserError, match=rf"/{name}: videos are read and written by .* av; pip install av$"):
            check_query(tmp_path / name)
