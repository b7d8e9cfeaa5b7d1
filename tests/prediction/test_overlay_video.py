"""Videos that are written: whole or not at all, with even sides, each picture at its time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prediction import overlay_video
from prediction.frames import Film, check_film, read_frames
from prediction.overlay_video import CODECS, write_video
from util.errors import UserError
from util.files import check_mark

av = pytest.importorskip("av")
MARK = "a mark of a test"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25), Fraction(10, 3)])
def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, rate: Fraction) -> None:
    monkeypatch.setattr(overlay_video, "CODECS", {codec: CODECS[codec]})
    path = tmp_path / "a.mp4"
    pixels = np.full((49, 67, 3), (200, 30, 40), np.uint8)
    pixels[:16, :16] = (0, 0, 255)
    with write_video(path, rate, MARK) as add:
        for number in range(12):
            assert not path.exists()
            add(Image.fromarray(pixels), number / rate)
    assert check_film(path) == Film((66, 48), 12, rate)
    frames = list(read_frames(path))
    assert [frame.seconds for frame in frames] == [number / rate for number in range(12)]
    assert np.abs(np.array(frames[-1].picture, int) - pixels[:48, :66]).mean() < 6
    check_mark("--out", path, MARK)
    with pytest.raises(UserError, match="is there and is nothing that --out writes"):
        check_mark("--out", path, "another mark")


def test_times_as_of_a_gif_are_kept_and_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    times = [Fraction(0), Fraction(1, 10), Fraction(35, 100), Fraction(35, 100), Fraction(2)]
    with write_video(path, Fraction(5), MARK) as add:
        for seconds in times:
            add(Image.new("RGB", (64, 48)), seconds)
    assert [round(float(frame.seconds), 3) for frame in read_frames(path)] == [0, 0.1, 0.35, 0.35, 2]


@pytest.mark.parametrize("pictures", [0, 1])
def test_interrupted(tmp_path: Path, pictures: int) -> None:
    (tmp_path / "a.mp4").write_text("as before")

    def write() -> None:
        with write_video(tmp_path / "a.mp4", Fraction(5), MARK) as add:
            for _ in range(pictures):
                add(Image.new("RGB", (64, 48)), Fraction(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "as before"
