"""What several test files share: toy datasets, a private cache folder, and the one-line error contract."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import dataset.samples
import prepare
from dataset.prepare.toy import make_coco, make_fss, make_pascal, scene
from dataset.transform import normalise
from engine.checkpoint import Checkpoint, save_checkpoint
from model import build_model, calibrate_batch_norms
from tests.files import COCO_SEED, TOY_SEED
from util.interrupts import SIGNALS
from util.launch import TRACEBACK, command

Main = Callable[[list[str]], object]

torch.set_num_threads(1)  # the networks here are tiny; threads of several test runs would wait for each other


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning:pycocotools")


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's own class index, and defects are raised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(TRACEBACK, "1")  # a defect fails its test
        yield


@pytest.fixture
def signals_arrive() -> Iterator[None]:
    """Programs that are started hear of signals, even where the tests do not: under nohup, or in the background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy dataset, 60 training and 40 validation images, that no test may change."""
    root = tmp_path_factory.mktemp("toy") / "VOC2012"
    make_pascal(root, train=60, val=40, seed=TOY_SEED)
    return root


@pytest.fixture
def toy_copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of the toy dataset for a test to damage."""
    return Path(shutil.copytree(toy, tmp_path / "VOC2012"))


@pytest.fixture(scope="session")
def toy_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy dataset in COCO's layout, 40 and 40 images, masks and lists made, that no test may change."""
    root = tmp_path_factory.mktemp("toy") / "COCO2014"
    make_coco(root, train=40, val=40, seed=COCO_SEED)
    prepare.main(["coco", "--data-root", str(root), "--workers", "0"])
    return root


@pytest.fixture
def toy_coco_copy(toy_coco: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_coco, tmp_path / "COCO2014"))


@pytest.fixture(scope="session")
def toy_fss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy dataset in FSS-1000's layout, 20 classes, that no test may change."""
    root = tmp_path_factory.mktemp("toy") / "FSS-1000"
    make_fss(root, seed=0)
    return root


@pytest.fixture
def toy_fss_copy(toy_fss: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_fss, tmp_path / "FSS-1000"))


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights that refine, with batch norms calibrated on toy images."""
    torch.manual_seed(0)
    net = build_model("ssp")
    calibrate_batch_norms(net, torch.stack([normalise(scene(number, 0).image) for number in range(3)]))
    path = tmp_path_factory.mktemp("calibrated") / "random.ckpt"
    save_checkpoint(path, Checkpoint(net.state_dict(), {"refine": True}))
    return path


@pytest.fixture
def small_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """HSNet's protocol resizes images to squares of 97 pixels, in place of 400."""
    whole_image = dataset.samples.whole_image
    small = lambda images, image, classes, side: whole_image(images, image, classes, side and 97)  # noqa: E731
    monkeypatch.setattr(dataset.samples, "whole_image", small)


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Flags of main.py for a run of two snapshots of one step each."""
    return (
        "--pretrained none --crop-size 65 --episode 4 --snapshot 2 --batch-size 2 --test-episodes 2 --seeds 2 "
        "--workers 0 --shot 1 --device cpu"
    ).split()


@pytest.fixture
def one_line_error(capsys: pytest.CaptureFixture[str]) -> Callable[[Main, list[str]], str]:
    """Run a script that must fail as users see it: one line on stderr, exit code 2. Returns the line."""

    def run(main: Main, argv: list[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            command(lambda: main(argv))
        assert exit_.value.code == 2
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        lines = [line for line in printed.splitlines() if line.strip()]
        assert len(lines) == 1, printed
        assert lines[0].startswith("error: ")
        return lines[0]

    return run
