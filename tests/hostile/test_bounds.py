"""What is right in form but absurd in size is one line, before it costs memory or time."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import main as training
import predict
import reproduce
import test as testing
from dataset import Episode, hsnet
from dataset.images import most_pixels, read_binary_mask, read_histogram, read_mask, read_rgb, read_size
from dataset.prepare import coco_masks
from dataset.provenance import EXPECTED, read_name
from engine.checkpoint import load_checkpoint
from engine.evaluation.protocol import PAPER, load_episodes, plan_seeds, save_episodes
from engine.evaluation.result import find_results
from engine.recorded import read_record
from engine.setting import Schedule, Setting
from engine.training.state import Training, check_counts, load_training, save_training
from engine.training.trainer import make_optimizer, restore_optimizer
from model import build_model
from prediction.files import check_image, read_image
from prediction.labelme import draw_shapes, read_labelme
from prediction.masks import read_object
from util.errors import UserError
from util.files import read_json
from util.launch import LONGEST, command


def line_of(work: Callable[[], object]) -> str:
    """The one line that something ends in."""
    with pytest.raises(UserError) as raised:
        work()
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


# Flags


@pytest.mark.parametrize(
    ("main", "flag", "says"),
    [
        (training.main, "--episode=1000000000000", "'1000000000000' is more than 1000000"),
        (training.main, "--episode=-1", "'-1' is not a whole number of at least 0"),
        (training.main, "--batch-size=4097", "'4097' is more than 4096"),
        (training.main, "--crop-size=8", "'8' is not a whole number from 33 to 4096"),
        (training.main, "--seeds=1e5", "'1e5' is not a whole number from 1 to 1000"),
        (training.main, "--workers=\u0663", "'\u0663' is not a whole number from 0 to 256"),
        (training.main, "--lr=1e300", "'1e300' is more than 1e+30"),
        (testing.main, "--shot=101", "'101' is not a whole number from 1 to 100"),
        (testing.main, "--cache-gb=1e31", "'1e31' is more than 1e+30"),
        (predict.main, "--threshold=0.\u0663", "'0.\u0663' is not a number between 0 and 1"),
        (reproduce.parse_budget, "--episodes=1000001", "'1000001' is more than 1000000"),
    ],
)
def test_flags(main: Callable[[list[str]], object], flag: str, says: str) -> None:
    assert line_of(lambda: main([flag])).startswith(f"argument {flag.partition('=')[0]}: {says} (see ")


def test_the_last_line_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError(f"list.txt: {'x' * 10**7}; mend it")

    with pytest.raises(SystemExit):
        command(fail)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: list.txt: xxx")
    assert line.endswith("x; mend it")
    assert len(line) < LONGEST + 20


def test_memory_that_does_not_suffice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(lambda: bytearray(2**62))
    assert ended.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: memory is full; close other programs, or lower --workers, --cache-gb or --max-side\n"
    )


# JSON

JSONS = {"deep": b"[" * 10**5, "a long number": b"9" * 5000, "cut": b'{"a": [1,'}
READERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "episodes": (load_episodes, "not a list of episodes that --save-episodes wrote"),
    "result": (lambda path: find_results([path]), "damaged, or not JSON; write it again with test.py --json"),
    "coco": (coco_masks.read_instances, "damaged or not COCO's instances, unpack it again ("),
    "labelme": (lambda path: read_labelme(path, None), "not JSON, or damaged ("),
    "hsnet": (hsnet.read_class_lists, "damaged, or not a list that prepare.py splits made; import it again"),
    "counts": (lambda path: read_name(path.parent), "cannot be read as counts ("),
    "record": (lambda path: read_record(path.parent), "damaged; remove it, then prepare.py checkpoints checks"),
}
NAMES = {"counts": EXPECTED, "record": "checkpoints.json"}


@pytest.mark.parametrize("content", JSONS.values(), ids=JSONS)
@pytest.mark.parametrize("kind", READERS)
def test_jsons(kind: str, content: bytes, tmp_path: Path) -> None:
    read, says = READERS[kind]
    path = tmp_path / NAMES.get(kind, "a.json")
    path.write_bytes(content)
    assert line_of(lambda: read(path)).startswith(f"{path}: {says}")


@pytest.mark.parametrize("kind", ["result", "counts", "record"])
def test_jsons_of_many_bytes(kind: str, tmp_path: Path) -> None:
    read, says = READERS[kind]
    says = "not a result of main.py or test.py" if kind == "result" else says  # which have fewer bytes
    path = tmp_path / NAMES.get(kind, "a.json")
    path.touch()
    os.truncate(path, 2**33)  # of which the disk holds nothing
    assert line_of(lambda: read(path)).startswith(f"{path}: {says}")


def test_the_bound_of_a_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]" + " " * 2**20)
    assert read_json(path) == [1]
    with pytest.raises(ValueError, match=r"^more than the 1 MB that are read$"):
        read_json(path, 2**20)


def test_seeds_of_saved_episodes(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    save_episodes(path, Setting(fold=0), PAPER, {0: [Episode("a", 3, ("b",))]})
    path.write_text(path.read_text().replace('{"0": [', '{"-1": ['))
    assert line_of(lambda: load_episodes(path)).endswith("not a list of episodes that --save-episodes wrote")


def test_many_episodes_of_many_seeds() -> None:
    line = line_of(lambda: plan_seeds(None, 1, range(1000), 10**6))
    assert line == (
        "1000 seeds of 1000000 episodes are more than 10000000 in all; lower --seeds, or the episodes of a seed"
    )


# Images


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path: Path, width: int, height: int, *chunks: bytes) -> Path:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + tail)
    return path


READ_IMAGES: list[Callable[[Path], object]] = [
    read_rgb, read_mask, read_binary_mask, read_histogram, read_image, check_image,
    lambda path: read_object(path, None), read_size,
]  # fmt: skip
BOMB = zlib.compress(b"\0" * 2**21)  # beyond Pillow's own limit of a text
IMAGES: dict[str, tuple[tuple[Any, ...], str]] = {
    "a side": ((10**9, 10**9), "has more than 89.5 million pixels, the most that are read; make the "),
    "text": ((8, 8, chunk(b"zTXt", b"a\0\0" + BOMB)), "(Decompressed data too large"),
    "profile": ((8, 8, chunk(b"iCCP", b"a\0\0" + BOMB)), "(Decompressed data too large"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("what", "says"), IMAGES.values(), ids=IMAGES)
def test_images(what: tuple[Any, ...], says: str, tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", *what)
    for read in READ_IMAGES:
        line = line_of(lambda read=read: read(path))
        assert line.startswith(f"{path}: ")
        assert says in line


@pytest.mark.filterwarnings("error")
def test_an_image_of_as_many_pixels_as_are_read(tmp_path: Path) -> None:
    assert read_size(png(tmp_path / "a.png", 1, most_pixels())) == (1, most_pixels())


# Masks from shapes

NO_POLYGON = "no polygons or run lengths ("
SEGMENTATIONS: dict[str, tuple[Any, str]] = {
    "large runs": ({"size": [60_000, 50_000], "counts": [3 * 10**9]}, "its size is not the image's"),
    "a large run": ({"size": [4, 6], "counts": [3 * 10**9]}, "the run lengths do not fill the image"),
    "a large code": (
        {"size": [4, 6], "counts": "o" * 10**6},
        "run lengths that end within a number, or are none of COCO's",
    ),
}


@pytest.mark.parametrize(("segmentation", "says"), SEGMENTATIONS.values(), ids=SEGMENTATIONS)
def test_segmentations(segmentation: Any, says: str) -> None:
    annotation = {"id": 7, "category_id": 1, "segmentation": segmentation, "iscrowd": 0}
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        coco_masks.paint([annotation], (4, 6), {1: 1})
    assert str(raised.value) == f"annotation 7: {NO_POLYGON}{says})"


def test_sizes_of_coco_s_images(tmp_path: Path) -> None:
    instances = coco_masks.Instances({"a": (1, most_pixels() + 1)}, {}, {}, [])
    line = line_of(lambda: coco_masks.make_masks(instances, tmp_path, workers=0))
    assert line.startswith(f"{tmp_path / 'a.png'}: cannot be made, the instances JSON is damaged: an image of ")


SHAPES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a wide circle": (
        [{"shape_type": "circle", "points": [[0, 0], [1e6, 0]]}],
        "no shape of the object can be drawn: a shape of type 'circle' with the points [[0, 0], [1000000.0, 0]]; draw "
        "it in LabelMe as polygon, rectangle, circle, line, point or mask",
    ),
    "many points": (
        [{"points": [[0, 0]] * 50_001}] * 2,
        "its shapes have more than 100000 points; save the mask as PNG",
    ),
    "many masks": (
        [{"shape_type": "mask", "points": [[0, 0], [20_000, 20_000]]}] * 2,
        "its masks have more than 536870912 pixels; save them as one PNG",
    ),
}


@pytest.mark.parametrize(("shapes", "says"), SHAPES.values(), ids=SHAPES)
def test_shapes(shapes: list[dict[str, Any]], says: str) -> None:
    assert line_of(lambda: draw_shapes("a.json", (500, 400), [(1, x) for x in shapes])) == f"a.json: {says}"


# Files of weights


def zipped(path: Path, content: bytes, unpacked: int | None = None, how: int = zipfile.ZIP_STORED) -> Path:
    """As torch.save writes, with a pickle that claims so many bytes, else those it has."""
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data.pkl", content)
    if unpacked:
        whole = bytearray(path.read_bytes())
        entry = whole.rindex(b"PK\x01\x02")
        whole[entry + 24 : entry + 28] = struct.pack("<I", unpacked)
        path.write_bytes(whole)
    return path


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def network(path: Path, tensor: torch.Tensor | None = None, **info: Any) -> Path:
    """Keys of the paper's network, with one tensor in place of each."""
    small = torch.zeros(1)
    state = dict.fromkeys(build_keys(), small) | ({} if tensor is None else {"layer0.0.0.weight": tensor})
    return saved(path, {"format": "ssp-checkpoint-1", "state_dict": state, "info": info})


def build_keys() -> Sequence[str]:
    with torch.device("meta"):
        return list(build_model("ssp", "resnet50").state_dict())


def laughs(value: Any, times: int) -> Any:
    """A list of 2^times values, which a pickle holds in as many bytes as there are times."""
    for _ in range(times):
        value = [value, value]
    return value


REFUSED = "refused: not a checkpoint of plain tensors (it is damaged or holds code that loading would run)"
UNREADABLE = "cannot be read, it is truncated or not a checkpoint; fetch it again"
CLAIMS = "holds, or claims to hold, far more names or bytes than weights have; fetch it again"
NO_STATE = "holds no state dict (tensors by name)"
WEIGHTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "many memos": (lambda path: zipped(path, b"\x80\x02}r\xff\xff\xff\x0f."), NO_STATE),
    "a long array": (lambda path: zipped(path, b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x."), REFUSED),
    "deep": (lambda path: zipped(path, b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b"."), "holds a list, not a"),
    "a claim": (lambda path: zipped(path, b"\x80\x02}.", 2**32 - 2), CLAIMS),
    "a bomb": (lambda path: zipped(path, b"\0" * 2**22, how=zipfile.ZIP_DEFLATED), CLAIMS),
    "many names": (lambda path: saved(path, {"x" * (2**24 + 1): torch.zeros(1)}), CLAIMS),
    "a long line": (lambda path: saved(path, {"a\nb" * 99: torch.zeros(1)}), "not the weights of an SSP or baseline"),
    "a list of lists": (
        lambda path: network(path, shot=laughs(1, 200)),
        "damaged: its shot cannot be [[[[[[[...], [...]], [[...], [...]]], [[; fetch it again",
    ),
    "on no device": (lambda path: network(path, torch.empty(9, device="meta")), NO_STATE),
}


@pytest.mark.parametrize(("build", "says"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights(build: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    path = build(tmp_path / "a.pth")
    assert line_of(lambda: load_checkpoint(path)).startswith(f"{path}: {says}")


@pytest.mark.parametrize(("size", "header", "says"), [(2**60, b"{}", CLAIMS), (10**5, b"[" * 10**5, UNREADABLE)])
def test_safetensors(size: int, header: bytes, says: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + header)
    assert line_of(lambda: load_checkpoint(path)) == f"{path}: {says}"


def test_a_tensor_that_is_but_stretched_is_of_a_wrong_shape(tmp_path: Path) -> None:
    from engine.checkpoint import load_network

    path = network(tmp_path / "a.pth", torch.zeros(1).expand(10**6, 10**6))
    with torch.device("meta"):
        net = build_model("ssp", "resnet50")
    line = line_of(lambda: load_network(net, load_checkpoint(path).state_dict, path))
    assert line.startswith(f"{path}: layer0.0.0.weight has shape (1000000, 1000000), expected ")


# A run's state

FINE = {"snapshot": 1, "steps": 1, "loss": 1.0, "losses": [1.0], "lr": 0.1, "miou": 1.0, "fb_iou": 1.0}


@pytest.mark.parametrize("other", [{"losses": ["1"]}, {"best_miou": 10**31}, {"history": [{**FINE, "steps": 10**400}]}])
def test_numbers_of_a_run_s_state(other: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.last"
    save_training(path, Training(**{"arguments": {}, **other}))
    assert line_of(lambda: load_training(path)).startswith(f"{path}: not the state of a training run; remove it")


@pytest.mark.parametrize("other", [{"snapshot": 3, "history": [FINE] * 3}, {"snapshot": 1}, {"losses": [1.0] * 3}])
def test_a_run_s_state_beyond_its_end(other: dict[str, Any]) -> None:
    schedule = Schedule(4, 2, 1, 0.1)  # two snapshots of two steps
    line = line_of(lambda: check_counts(Path("run.last"), Training({}, **other), schedule))
    assert (
        line
        == "run.last: not the state of this run: its counts contradict each other or the flags; remove it to start anew"
    )


def test_rates_of_a_run_s_state_do_not_count() -> None:
    net = torch.nn.ModuleDict({"backbone": torch.nn.Linear(1, 1)})
    optimizer = make_optimizer(net, 0.1)
    state = optimizer.state_dict()
    state["param_groups"][0] |= {"momentum": 10**30, "lr": 10**30, "weight_decay": 10**30}
    fresh = make_optimizer(net, 0.1)
    before = [(group["momentum"], group["weight_decay"], group["lr"]) for group in fresh.param_groups]
    restore_optimizer(fresh, state)
    assert [(group["momentum"], group["weight_decay"], group["lr"]) for group in fresh.param_groups] == before


# HSNet's lists

NO_LISTS = "not HSNet's lists of images by class; import the file again"
DAMAGED = "damaged or truncated; import it again"
SHARED = [f"image {number}" for number in range(1000)]
PICKLES: dict[str, tuple[bytes, str]] = {
    "a long array": (b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.", DAMAGED),
    "deep": (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", NO_LISTS),
    "many memos": (b"\x80\x02]r\xff\xff\xff\x0f.", NO_LISTS),
    "a large class": (pickle.dumps({10**30: ["a", "b"]}), NO_LISTS),
    "one list for many classes": (pickle.dumps(dict.fromkeys(range(1500), SHARED)), NO_LISTS),
}


@pytest.mark.parametrize(("content", "says"), PICKLES.values(), ids=PICKLES)
def test_pickles(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "fold0.pkl"
    path.write_bytes(content)
    assert line_of(lambda: hsnet.read_class_lists(path)) == f"{path}: {says}"


def test_a_pickle_of_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "fold0.pkl"
    path.touch()
    os.truncate(path, 2**33)
    assert line_of(lambda: hsnet.read_class_lists(path)).endswith(
        "more than the 64 MB that are read; import the file again"
    )


def test_a_long_line_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "fold0.txt"
    path.write_text("x" * 10**6)
    assert len(line_of(lambda: hsnet.read_pairs(path))) < 300
