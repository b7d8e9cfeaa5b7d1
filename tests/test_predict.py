"""predict.py from end to end: what is written, what is said, and one line for whatever is wrong."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import predict
import prepare
from benchmarks.predicting import WAYS
from dataset.run_lengths import ANNOTATIONS, decode
from engine.checkpoint import load_checkpoint, save_checkpoint
from model import SSP
from model.matching import Matching
from prediction import batch, load_predictor, outputs, run_time
from prediction.files import read_image
from prediction.frames import Film, check_film, read_frames
from prediction.masks import read_support
from prediction.overlap import overlap
from prediction.predictor import Prediction
from tests.files import OneLine
from tests.prediction.films import RATE, cut, paint_frames, write_film
from tests.tiny import TINY
from util.files import temporary_name


def paint(path: Path, size: tuple[int, int], seed: int, **options: object) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def paint_mask(path: Path, size: tuple[int, int], value: int = 255) -> Path:
    """The left half is the object."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, : size[0] // 2] = value
    Image.fromarray(mask).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two supports, with an image and a LabelMe mask, and two queries."""
    folder = tmp_path / "photos"
    paint(folder / "marked_1.jpg", (64, 48), 1)
    paint_mask(folder / "marked_1.png", (64, 48))
    paint(folder / "marked_2.jpg", (40, 56), 2)
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[0, 0], [19, 55]]}
    (folder / "marked_2.json").write_text(json.dumps({"shapes": [shape], "imageWidth": 40, "imageHeight": 56}))
    exif = Image.Exif()
    exif[0x0112] = 6
    paint(folder / "new_1.jpg", (64, 40), 3, exif=exif)  # shown as 40x64
    paint(folder / "new_2.png", (80, 70), 4)
    return folder


@pytest.fixture
def flags(calibrated: Path, photos: Path, tmp_path: Path) -> list[str]:
    """Two supports, both queries."""
    supports = [str(photos / name) for name in ("marked_1.jpg", "marked_2.jpg")]
    return [
        "--checkpoint", str(calibrated), "--support", *supports, "--query", str(photos / "new_*"),
        "--out", str(tmp_path / "out"), "--device", "cpu",
    ]  # fmt: skip


def changed(flags: list[str], flag: str, *values: str | Path) -> list[str]:
    """The flags with other values of one."""
    start = flags.index(flag) + 1
    end = next((n for n in range(start, len(flags)) if flags[n].startswith("--")), len(flags))
    return [*flags[:start], *map(str, values), *flags[end:]]


def written(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_without_a_checkpoint(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Nothing was trained, and SSP refines."""
    shares = predict.main([*flags[2:], "--backbone", TINY])
    out = capsys.readouterr().out
    assert out.startswith(f"network: ssp {TINY}, refine; as it is made, nothing was trained\nsupport ")
    assert len(shares) == 2
    assert "sheet.png" in written(tmp_path / "out")


def test_masks_overlays_and_a_sheet(
    flags: list[str], photos: Path, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shares = predict.main(flags)
    assert written(out) == [
        "new_1_mask.png", "new_1_overlay.jpg", "new_2_mask.png", "new_2_overlay.jpg", "sheet.png",
    ]  # fmt: skip
    predictor = load_predictor(calibrated, device="cpu")
    pairs = [("marked_1.jpg", "marked_1.png"), ("marked_2.jpg", "marked_2.json")]
    predictor.set_support(*zip(*(read_support(photos / image, photos / mask) for image, mask in pairs), strict=True))
    network, *lines = capsys.readouterr().out.splitlines()
    assert (
        network
        == f"network: ssp resnet50, refine; weights {calibrated.name}, which do not say what they were trained on"
    )
    assert lines[0] == f"support {photos}/marked_1.jpg: 50.0% object, by marked_1.png"
    assert lines[1] == f"support {photos}/marked_2.jpg: 50.0% object, by marked_2.json"
    for line, name, size in zip(lines[2:], ("new_1.jpg", "new_2.png"), ((40, 64), (80, 70)), strict=False):
        expected = predictor.predict(read_image(photos / name)).mask
        with Image.open(out / f"{Path(name).stem}_mask.png") as mask:
            assert (mask.mode, mask.size) == ("L", size)
            assert np.array_equal(np.array(mask), expected * np.uint8(255))
        with Image.open(out / f"{Path(name).stem}_overlay.jpg") as overlay:
            assert overlay.size == size
        assert line == f"{photos}/{name}: {expected.mean():.1%} object"
        assert shares[photos / name] == expected.mean()
    assert lines[4].startswith("2 images, 0.")
    assert lines[4].endswith(f" s each; masks and overlays in {out}, all on {out}/sheet.png")
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.height > 400


def test_a_look_inside(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A figure beside each mask, which is the same as without; every image passes the backbone once."""
    predict.main([*flags, "--threshold", "0.4"])
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    passes: list[int] = []
    features = SSP.features
    monkeypatch.setattr(SSP, "features", lambda net, x: passes.append(len(x)) or features(net, x))
    capsys.readouterr()
    predict.main([*flags, "--threshold", "0.4", "--explain"])
    assert passes == [1] * 4  # two supports, two queries
    figures = ["new_1_explained.png", "new_2_explained.png"]
    assert written(out) == sorted([*before, *figures])
    assert all((out / name).read_bytes() == data for name, data in before.items())
    for name in figures:
        with Image.open(out / name) as figure:
            assert figure.width > 5 * 320
    assert "masks, overlays and explanations in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--set fg_threshold=0.5 --set rounds=2", {"fg_threshold": 0.5, "rounds": 2}),
        ("--without self-support --explain", {"fg_mix": 0.0, "support_bg_mix": 1.0}),
    ],
)
def test_settings(
    flags: list[str], calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, settings: dict
) -> None:
    """As those of a predictor in Python; in place of the checkpoint's, which --set can give back; all are said."""
    changed_file = tmp_path / "changed.ckpt"
    known = load_checkpoint(calibrated)
    save_checkpoint(changed_file, known._replace(info={**known.info, "settings": {"bg_mix": 0.9}}))
    shares = predict.main([*changed(flags, "--checkpoint", changed_file), *words.split()])
    line = capsys.readouterr().out.splitlines()[0]
    assert "trained with bg_mix=0.9" in line
    assert all(f"{name}={value:g}" in line for name, value in settings.items())
    predictor = load_predictor(changed_file, device="cpu", settings=settings)
    assert predictor.net.matching == Matching(**{"bg_mix": 0.9, **settings})
    photos = next(iter(shares)).parent
    pairs = [("marked_1.jpg", "marked_1.png"), ("marked_2.jpg", "marked_2.json")]
    predictor.set_support(*zip(*(read_support(photos / image, photos / mask) for image, mask in pairs), strict=True))
    assert {path: predictor.predict(read_image(path)).mask.mean() for path in shares} == shares
    back = load_predictor(changed_file, device="cpu", settings={"bg_mix": 0.3})
    assert back.net.matching == Matching()
    assert "settings of the paper, trained with bg_mix=0.9" in back.about


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--set depth=1", "--set depth=1: is not NAME=VALUE with one of the names temperature, "),
        ("--set bg_mix=2", "bg_mix is a number from 0 to 1 (the paper's: 0.3)"),
        ("--without final", "--without final: is none of ssfp, ssbp, asbp, self-support, self-support-loss"),
        ("--set final_loss=2", "final_loss: the weights of the losses belong to training, give them to main.py"),
        ("--without self-support-loss", "the weights of the losses belong to training"),
        ("--no-refine --set rounds=2", "rounds=2: belongs to the refinement; pass --refine"),
    ],
)
def test_wrong_settings(flags: list[str], tmp_path: Path, words: str, says: str, one_line_error: OneLine) -> None:
    assert says in one_line_error(predict.main, [*flags, *words.split()])
    assert not (tmp_path / "out").exists()


def test_large_images_are_resized_with_a_note(
    flags: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mask has the image's own size, the overlay is no larger than it need be."""
    monkeypatch.setattr(outputs, "OVERLAY_SIDE", 40)
    predict.main([*changed(flags, "--query", photos / "new_2.png"), "--max-side", "48"])
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("50.0% object, by marked_1.png, 64x48 seen as 48x36")
    assert lines[2].endswith("% object, 80x70 seen as 48x42")
    for name, size in (("new_2_mask.png", (80, 70)), ("new_2_overlay.jpg", (40, 35))):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size == size


def test_a_folder_of_supports_and_queries_in_one(flags: list[str], photos: Path, tmp_path: Path) -> None:
    """In a folder of both, the supports have masks; they may be queries too, their masks are not."""
    for image in ("new_1.jpg", "new_2.png"):
        shutil.move(photos / image, tmp_path / image)
    predict.main(changed(changed(flags, "--support", photos), "--query", photos, tmp_path / "new_2.png"))
    names = {name.rpartition("_")[0] for name in written(tmp_path / "out")}
    assert names == {"", "marked_1", "marked_2", "new_2"}


def test_same_names_get_numbers_and_the_same_file_comes_once(flags: list[str], photos: Path, tmp_path: Path) -> None:
    """No figure takes the name of another image's."""
    other = paint(tmp_path / "other" / "NEW_1.png", (40, 40), 8)
    explained = paint(tmp_path / "other" / "new_1_explained.png", (40, 40), 9)
    queries = [photos / "new_1.jpg", other, photos / "*_1.jpg", other, explained]
    shares = predict.main([*changed(flags, "--query", *queries), "--explain"])
    assert [path.name for path in shares] == ["new_1.jpg", "NEW_1.png", "marked_1.jpg", "new_1_explained.png"]
    stems = ["NEW_1_2", "marked_1", "new_1", "new_1_explained"]
    for kind in ("mask.png", "explained.png"):
        names = [name for name in written(tmp_path / "out") if name.endswith(f"_{kind}")]
        assert names == sorted(f"{stem}_{kind}" for stem in stems)


def test_an_earlier_run_is_replaced_and_its_leftovers_go(flags: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict.main(flags)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "new_1_mask.png").write_bytes(before["new_1_mask.png"] + b"of an earlier run")
    (out / temporary_name("new_2_mask.png", 4194305)).write_text("of a process that was killed")
    (out / "mine.txt").write_text("a note")
    predict.main(flags)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {**before, "mine.txt": b"a note"}


def test_masks_and_labels_as_named(flags: list[str], photos: Path, tmp_path: Path) -> None:
    masks = [paint_mask(tmp_path / "7.png", (64, 48), 7), photos / "marked_2.json"]
    shares = predict.main([*flags, "--mask", *map(str, masks)])
    assert shares == predict.main(flags)
    only = changed(flags, "--support", photos / "marked_1.jpg")
    assert predict.main([*only, "--mask", str(masks[0]), "--label", "7"]) == predict.main(only)
    assert predict.main([*flags, "--label", "cat"]) == shares  # a name is one of the JSONs where there are both


def test_refinement_and_threshold(flags: list[str]) -> None:
    shares = predict.main(flags)
    assert shares == predict.main([*flags, "--refine"])
    assert shares != predict.main([*flags, "--no-refine"])
    strict, lax = (predict.main([*flags, "--threshold", p]) for p in ("0.6", "0.4"))
    assert all(strict[path] <= shares[path] <= lax[path] for path in shares)
    assert strict != lax


@pytest.mark.parametrize("more", [[], ["--explain", "--threshold", "0.4"]])
def test_reading_ahead_and_writing_behind_change_nothing(
    flags: list[str],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    """Byte for byte what one after the other gives; the lines are in order."""
    for number in range(3, 6):
        paint(photos / f"new_{number}.jpg", (40 + 9 * number, 50), number)
    results = []
    for way in WAYS.values():
        monkeypatch.setattr(batch, "take_turns", way)
        shares = predict.main([*flags, *more])
        *lines, end = capsys.readouterr().out.splitlines()
        assert [Path(line.split(": ")[0]) for line in lines[-5:]] == list(shares)
        files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert end.startswith("5 images")
        results.append((lines, shares, files))
    assert results[0] == results[1]


def test_a_long_run_says_how_long_before_it_starts(
    flags: list[str], photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_time, "MANY_COPIES", 1)
    monkeypatch.setattr(run_time, "LONG", 0)
    predict.main(flags)
    assert re.match(r"2 images, about \d+ s$", capsys.readouterr().out.splitlines()[3])
    predict.main(changed(flags, "--query", photos / "new_1.jpg"))
    line = capsys.readouterr().out.splitlines()[3]
    assert re.match(rf"query {photos}/new_1\.jpg: 40x64 pixels, about \d+ s$", line)


def test_the_first_image_that_fails_is_named(
    flags: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line_error: OneLine
) -> None:
    """One that was removed after it was opened, be it while the one before is segmented or written."""
    for number in range(3, 6):
        paint(photos / f"new_{number}.png", (64, 50), number)
    write = batch.write_files

    def write_and_remove(*arguments: object) -> np.ndarray:
        for number in range(3, 6):
            (photos / f"new_{number}.png").unlink(missing_ok=True)
        return write(*arguments)

    monkeypatch.setattr(batch, "write_files", write_and_remove)
    monkeypatch.setattr(batch, "take_turns", overlap)
    line = one_line_error(predict.main, flags)
    assert re.search(r"new_[34]\.png: no such image$", line)  # the third may be read before
    kept = 2 + ("new_4" in line)
    assert len(written(tmp_path / "out")) == 2 * kept


def test_more_queries_than_a_sheet_shows(
    flags: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headings = []
    real = batch.draw_sheet
    monkeypatch.setattr(batch, "draw_sheet", lambda sections: headings.extend(sections) or real(sections))
    monkeypatch.setattr(batch, "MOST_TILES", 1)
    predict.main(flags)
    assert [heading.partition(" (")[0].partition(";")[0] for heading, _ in headings] == [
        "ssp resnet50, refine", "supports", "queries",
    ]  # fmt: skip
    assert headings[2][0].startswith("queries (2, the first 1 are shown)")
    assert len(headings[2][1]) == 1
    assert len(written(tmp_path / "out")) == 5


# One line each


def failure(one_line_error: OneLine, argv: list[str], out: Path) -> str:
    line = one_line_error(predict.main, argv)
    assert not out.exists()
    return line


def damage(photos: Path, flags: list[str]) -> dict[str, tuple[list[str], str]]:
    """Flags that fail, and what is said, of some damaged files."""
    (photos / "text.jpg").write_text("not an image")
    (photos / "half.png").write_bytes((photos / "new_2.png").read_bytes()[:500])
    paint(photos / "wide.png", (2000, 40), 0)
    paint(photos / "bare.jpg", (64, 48), 0)
    paint(photos / "small.jpg", (64, 64), 0)
    speck = np.zeros((64, 64), np.uint8)
    speck[2, 2] = 1
    Image.fromarray(speck).save(photos / "small.png")
    (photos / "empty").mkdir()
    (photos / "text.ckpt").write_text("not a checkpoint")

    def query(*names: str) -> list[str]:
        return changed(flags, "--query", photos / "new_2.png", *(photos / name for name in names))

    def support(*names: str) -> list[str]:
        return changed(flags, "--support", photos / "marked_1.jpg", *(photos / name for name in names))

    masks = [str(photos / "marked_1.png"), str(photos / "marked_2.json")]
    return {
        "text as query": (query("text.jpg"), r"photos/text\.jpg: not an image, or damaged; replace it or leave it out"),
        "truncated query": (query("half.png"), r"photos/half\.png: not an image, or damaged \(.*\); replace it"),
        "wide query": (
            query("wide.png"),
            r"wide\.png: 2000x40 pixels would be segmented as 1024x20, too narrow; raise --max-side to 1600, or crop",
        ),
        "missing query": (query("missing.jpg"), r"--query .*/missing\.jpg: no such file or folder"),
        "support without mask": (support("bare.jpg"), r"no mask beside .*/bare\.jpg: .*; or name it with --mask"),
        "a speck of an object": (support("small.jpg"), r"small\.jpg: the object's 1 pixels in 64x64 are too few to be"),
        "masks in another order": (
            [*flags, "--mask", *masks[::-1]],
            r"marked_2\.json: mask of 40x56 pixels for an image of 64x48, .*/marked_1\.jpg; replace one of the two",
        ),
        "missing mask": ([*flags, "--mask", masks[0], "nothing.png"], r"nothing\.png: no such mask"),
        "no such shape": (
            [*changed(flags, "--support", photos / "marked_2.jpg"), "--label", "dog"],
            r"marked_2\.json: no shape has --label dog; it holds cat",
        ),
        "missing checkpoint": (changed(flags, "--checkpoint", "nothing.pth"), r"nothing\.pth: no such checkpoint or"),
        "no checkpoint": (changed(flags, "--checkpoint", photos / "text.ckpt"), r"text\.ckpt: text, not weights"),
        "many checkpoints": (changed(flags, "--checkpoint", photos / "empty"), r"empty: holds no \*\.pth or \*\.ckpt"),
        "out among the inputs": (
            changed(flags, "--out", photos),
            r"--out .*/photos: holds the input marked_1\.jpg, which could be overwritten; choose another folder",
        ),
        "out is a file": (changed(flags, "--out", photos / "text.jpg"), r"cannot write to .*/text\.jpg: "),
        "small limit": (
            [*flags, "--max-side", "31"],
            r"--max-side: '31' is less than 32 pixels; 0 is the image's own size",
        ),
        "threshold": ([*flags, "--threshold", "1"], r"--threshold: '1' is not a number between 0 and 1"),
        "no query": (changed(flags, "--query"), r"--query: expected at least one argument"),
    }


def test_whatever_is_wrong_is_one_line_and_nothing_is_written(
    photos: Path, flags: list[str], tmp_path: Path, one_line_error: OneLine
) -> None:
    before = None
    for what, (argv, says) in damage(photos, flags).items():
        before = before or sorted(photos.rglob("*"))
        line = failure(one_line_error, argv, tmp_path / "out")
        assert re.search(says, line), f"{what}: {line}"
    assert sorted(photos.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "words", "says"),
    [
        (MemoryError(), "", "1024"),
        (torch.cuda.OutOfMemoryError("CUDA"), "--max-side 500", "500"),
        (RuntimeError("you tried to allocate 9 bytes"), "--max-side 0", "the image's own size"),
        (RuntimeError("a defect"), "", None),
    ],
)
def test_only_a_lack_of_memory_names_the_flag(
    flags: list[str],
    one_line_error: OneLine,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
    says: str | None,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(batch.Predictor, "predict", fail)
    if says is None:
        with pytest.raises(RuntimeError, match="a defect"):
            predict.main(flags)
    else:
        line = one_line_error(predict.main, [*flags, *words.split()])
        assert line == f"error: memory is full; lower --max-side, now {says}"


def test_interrupted(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is whole, and the rest is not there."""
    real, calls = batch.Predictor.predict, []

    def predict_once(*arguments: object) -> object:
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(batch.Predictor, "predict", predict_once)
    with pytest.raises(KeyboardInterrupt):
        predict.main(flags)
    assert written(tmp_path / "out") == ["new_1_mask.png", "new_1_overlay.jpg"]
    for path in (tmp_path / "out").iterdir():
        Image.open(path).load()


# Videos, several masks, numbers


def find_in(photos: Path, calibrated: Path, picture: Image.Image) -> Prediction:
    """What the two supports find in a picture."""
    predictor = load_predictor(calibrated, device="cpu")
    pairs = [("marked_1.jpg", "marked_1.png"), ("marked_2.jpg", "marked_2.json")]
    predictor.set_support(*zip(*(read_support(photos / image, photos / mask) for image, mask in pairs), strict=True))
    return predictor.predict(picture)


def test_a_video_and_its_numbers(
    flags: list[str], photos: Path, calibrated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every third frame, upright; prepare.py own makes of the dataset what the masks show."""
    pytest.importorskip("av")
    film = write_film(photos / "clip.mp4", paint_frames(8), matrix=(0, 1, -1, 0))
    queries = changed(flags, "--query", photos / "new_1.jpg", film, photos / "new_2.png")
    out, coco = tmp_path / "out", tmp_path / "labels" / "all.json"
    arguments = [*queries, "--every", "3", "--json", "--coco", str(coco), "--label", "cat"]
    shares = predict.main(arguments)
    *_, told, last, end, numbers, listed = capsys.readouterr().out.splitlines()
    frames = list(read_frames(film, 3))
    expected = [find_in(photos, calibrated, frame.picture) for frame in frames]
    low, *_, high = sorted(found.mask.mean() for found in expected)
    assert shares[film] == pytest.approx(np.mean([found.mask.mean() for found in expected]))
    assert told == f"{film}: 3 frames, {shares[film]:.1%} object, {low:.1%} to {high:.1%}"
    assert last.startswith(f"{photos}/new_2.png: ")
    assert end.startswith("2 images and 3 frames, ")
    assert end.endswith(f"masks and overlays in {out}, some on {out}/sheet.png")
    assert numbers == f"numbers in {out}/results.json"
    assert listed == f"{coco}: 5 images; for prepare.py own, --coco {coco} --images {tmp_path}"

    names = ["000000", "000003", "000006"]
    assert written(out / "clip_masks") == [f"{name}.png" for name in names]
    assert written(out / "clip_frames") == [f"{name}.jpg" for name in names]
    for name, found in zip(names, expected, strict=True):
        assert np.array_equal(Image.open(out / "clip_masks" / f"{name}.png"), found.mask * np.uint8(255))
    assert check_film(out / "clip_overlay.mp4") == Film((48, 64), 3, RATE / 3)

    content = json.loads((out / "results.json").read_text())
    assert content["made_by"].keys() == {"program", "commit", "versions", "device", "command"}
    assert content["network"].startswith("ssp resnet50, refine")
    assert content["settings"] == {"threshold": 0.5, "max_side": 1024, "label": "cat", "every": 3}
    assert content["matching"] == {**asdict(Matching()), "refine_mix": list(Matching().refine_mix)}
    assert [(x["image"], x.get("frame")) for x in content["results"]] == [
        (str(photos / "new_1.jpg"), None), *((str(film), number) for number in (0, 3, 6)),
        (str(photos / "new_2.png"), None),
    ]  # fmt: skip
    for entry, found in zip(content["results"][1:4], expected, strict=True):
        assert entry["share"] == found.mask.mean()
        assert entry["score"] == (pytest.approx(found.probability[found.mask].mean()) if found.mask.any() else 0)

    files = [out / "new_1_mask.png", *(out / "clip_masks" / f"{name}.png" for name in names), out / "new_2_mask.png"]
    masks = [np.array(Image.open(file)) > 0 for file in files]
    truth = COCO(coco)
    results = truth.loadRes(content["results"])
    for id_, mask in zip(truth.getImgIds(), masks, strict=True):
        for labels in (truth, results):
            union = sum((labels.annToMask(x) for x in labels.loadAnns(labels.getAnnIds(id_))), np.zeros_like(mask, int))
            assert np.array_equal(union, mask)

    prepare.main(["own", "--coco", str(coco), "--images", str(tmp_path), "--out", str(tmp_path / "own")])
    lines = [json.loads(line) for line in (tmp_path / "own" / ANNOTATIONS).read_text().splitlines()]
    shown = {line["image"]: line for line in lines}
    assert len(shown) == 4  # without new_1.jpg, which is stored lying: own data is not turned
    for id_, mask in list(zip(truth.getImgIds(), masks, strict=True))[1:]:
        line = shown[str(Path(truth.imgs[id_]["file_name"]).with_suffix(""))]
        assert tuple(line["size"]) == mask.shape
        assert np.array_equal(decode(line["classes"]["cat"], mask.shape) if mask.any() else mask, mask)

    (out / "clip_masks" / "000001.png").write_bytes((out / "clip_masks" / "000000.png").read_bytes())
    before = (out / "results.json").read_bytes()
    predict.main(arguments)  # again: what an earlier run left is replaced
    assert written(out / "clip_masks") == [f"{name}.png" for name in names]
    assert (out / "results.json").read_bytes() == before


def test_an_animated_image_with_figures(flags: list[str], photos: Path, tmp_path: Path) -> None:
    """One picture in its file is an image as ever."""
    pytest.importorskip("av")
    first, *others = (Image.fromarray(frame) for frame in paint_frames(9))
    first.save(photos / "many.gif", save_all=True, append_images=others, duration=100)
    first.save(photos / "one.gif")
    predict.main([*changed(flags, "--query", photos / "many.gif", photos / "one.gif"), "--explain"])
    out = tmp_path / "out"
    assert [name for name in written(out) if not name.startswith("many")] == [
        "one_explained.png", "one_mask.png", "one_overlay.jpg", "sheet.png",
    ]  # fmt: skip
    assert len(written(out / "many_masks")) == len(written(out / "many_explained")) == 9
    assert check_film(out / "many_overlay.mp4") == Film((64, 48), 9, RATE)
    assert not (out / "many_frames").exists()


def test_frames_on_the_sheet() -> None:
    assert batch.choose_shown(range(0, 300, 3)) == {0, 60, 120, 177, 237, 297}
    assert batch.choose_shown(range(2)) == {0, 1}
    assert batch.choose_shown(range(1)) == {0}


def test_an_interrupted_video(flags: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The masks that are there are whole; the overlay comes last."""
    pytest.importorskip("av")
    film = write_film(photos / "clip.mp4", paint_frames(4))
    predict.main(changed(flags, "--query", film))
    real, calls = batch.Predictor.predict, []

    def predict_twice(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(batch.Predictor, "predict", predict_twice)
    with pytest.raises(KeyboardInterrupt):
        predict.main(changed(flags, "--query", film))
    assert written(tmp_path / "out") == ["clip_masks", "sheet.png"]
    assert written(tmp_path / "out" / "clip_masks") == ["000000.png", "000001.png"]


def test_what_is_wrong_with_a_video_is_one_line(
    flags: list[str],
    photos: Path,
    tmp_path: Path,
    one_line_error: OneLine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the network looks at anything."""
    pytest.importorskip("av")
    monkeypatch.setattr(batch.Predictor, "set_support", lambda *_: pytest.fail("the network has started"))
    film = write_film(photos / "clip.mp4", paint_frames(20))
    (photos / "text.mp4").write_text("no video")
    write_film(photos / "narrow.mp4", paint_frames(2, (200, 20)))
    says = {
        "text.mp4": r"text\.mp4: not a video, or damaged",
        cut(film).name: r"clip_cut\.mp4: not a video, or damaged",
        "narrow.mp4": r"narrow\.mp4: 200x20 pixels; at least 32 on either side are needed",
    }
    for name, problem in says.items():
        argv = changed(flags, "--query", photos / "new_2.png", photos / name)
        assert re.search(problem, failure(one_line_error, argv, tmp_path / "out"))
    paint_mask(photos / "clip.png", (64, 48))
    line = failure(one_line_error, changed(flags, "--support", film), tmp_path / "out")
    assert line.endswith("clip.mp4: not read, it is a video; save a frame of it as PNG or JPEG")
    line = failure(one_line_error, [*flags, "--every", "0"], tmp_path / "out")
    assert "--every" in line


@pytest.mark.parametrize("place", ["out/clip_masks/000002.png", "out/clip_overlay.mp4", "out/results.json", "all.json"])
def test_nothing_of_somebody_elses_is_replaced(
    flags: list[str], photos: Path, tmp_path: Path, one_line_error: OneLine, place: str
) -> None:
    pytest.importorskip("av")
    film = write_film(photos / "clip.mp4", paint_frames(4))
    foreign = tmp_path / place
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("somebody's")
    more = ["--json", "--coco", str(tmp_path / "all.json")]
    line = one_line_error(predict.main, [*changed(flags, "--query", film), *more])
    assert f"{foreign}: is there and is nothing that --" in line
    assert foreign.read_text() == "somebody's"


def test_several_masks_of_a_support(
    flags: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two quarters are the half that one mask marks."""
    only = changed(flags, "--support", photos / "marked_1.jpg")
    expected = predict.main(only)
    whole = np.array(Image.open(photos / "marked_1.png"))
    (photos / "marked_1.png").unlink()
    for number, rows in enumerate((slice(0, 20), slice(20, 48)), 1):
        part = np.zeros_like(whole)
        part[rows] = whole[rows]
        Image.fromarray(part).save(photos / f"marked_1_{number}.png")
    capsys.readouterr()
    assert predict.main(only) == expected
    line = f"support {photos}/marked_1.jpg: 50.0% object, by marked_1_1.png and marked_1_2.png, united"
    assert line in capsys.readouterr().out.splitlines()
    masks = [str(photos / f"marked_1_{number}.png") for number in (2, 1)]
    assert predict.main([*only, "--mask", *masks]) == expected
