"""The finder gives what predict.py gives, asks the backbone once an image, and packs what it found."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predict
from page import finder as finding
from page.examples import make_examples
from page.finder import INSIDE, VIEWS, Finder, Search, is_same, pack_results
from prediction import draw_explanation, load_predictor
from tests.page.photos import make_support
from util.errors import UserError


@pytest.fixture(scope="module")
def finder(calibrated: Path) -> Finder:
    return Finder(load_predictor(calibrated, device="cpu"))


@pytest.fixture
def passes(finder: Finder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each pass of the backbone."""
    counted: list[int] = []
    features = finder.predictor.net.features
    monkeypatch.setattr(finder.predictor.net, "features", lambda x: counted.append(1) or features(x))
    finder._encoded.clear()
    return counted


def search(photos: Path, *names: str, inside: bool = False) -> Search:
    """For the object of one support, with refinement."""
    return Search([make_support()], [photos / f"{name}.png" for name in names], refine=True, inside=inside)


def test_the_share_is_that_of_predict(finder: Finder, photos: Path, calibrated: Path, tmp_path: Path) -> None:
    [found] = finder.find(search(photos, "new"))
    flags = ["--checkpoint", calibrated, "--support", photos / "a.png", "--query", photos / "new.png"]
    for more, threshold in ([], 0.5), (["--threshold", "0.3"], 0.3):
        shares = predict.main([*map(str, flags), "--out", str(tmp_path), "--device", "cpu", *more])
        assert found.mask(threshold).mean() == shares[photos / "new.png"]
    assert found.caption(0.3) == f"new: {found.mask(0.3).mean():.1%} object"


def test_an_image_passes_the_backbone_once(finder: Finder, photos: Path, passes: list[int]) -> None:
    asked = search(photos, "new", "other")
    first = finder.find(asked)
    assert len(passes) == 3
    other = make_support()._replace(mask=1 - make_support().mask)
    others: list[dict] = [{"supports": [other]}, {"refine": False}, {"supports": [make_support(), other]}]
    for again in (*others, {"settings": "fg_threshold=0.99 bg_mix=1"}):
        assert not np.array_equal(finder.find(asked._replace(**again))[0].probability, first[0].probability)
    assert len(passes) == 3
    assert is_same(finder.find(asked), first)
    finder.find(asked._replace(supports=[make_support(), make_support(7)]))
    assert len(passes) == 4


@pytest.mark.parametrize(
    ("words", "says"),
    [("depth=1", "is not NAME=VALUE"), ("final_loss=2", "belong to training"), ("bg_mix=7", "from 0 to")],
)
def test_wrong_settings(finder: Finder, photos: Path, words: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        finder.find(search(photos, "new")._replace(settings=words))


def test_what_is_remembered_is_bounded(
    finder: Finder, photos: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = finder.find(search(photos, "new"))
    monkeypatch.setattr(finding, "CACHE_BYTES", finder.count_bytes())
    finder.find(search(photos, "other"))
    assert finder.count_bytes() <= finding.CACHE_BYTES
    assert len(passes) == 3
    [again] = finder.find(search(photos, "new"))
    assert len(passes) == 4
    assert is_same([found], [again])
    for other in ([], [again._replace(name="other")], [again._replace(probability=1 - again.probability)]):
        assert not is_same([found], other)


def test_a_look_inside(finder: Finder, photos: Path, passes: list[int]) -> None:
    [plain], [found] = (finder.find(search(photos, "new", inside=inside)) for inside in (False, True))
    assert len(passes) == 2
    assert np.array_equal(plain.probability, found.probability)
    assert VIEWS[INSIDE](plain, 0.5) is None
    assert VIEWS[INSIDE](found, 0.5).width < draw_explanation(finder.predictor.explain(found.image)).width / 2
    assert not is_same([plain], [found])
    names = zipfile.ZipFile(io.BytesIO(pack_results([found], 0.5))).namelist()
    assert names == ["new_mask.png", "new_overlay.png", "new_probability.png", "new_explained.png"]


def test_the_zip(finder: Finder, photos: Path, tmp_path: Path) -> None:
    asked = search(photos, "new")
    found = finder.find(
        asked._replace(queries=[*asked.queries, Path(shutil.copy(photos / "other.png", tmp_path / "NEW.png"))])
    )
    with zipfile.ZipFile(io.BytesIO(pack_results(found, 0.4))) as archive:
        kinds = ("mask", "overlay", "probability")
        assert archive.namelist() == [f"{name}_{kind}.png" for name in ("new", "NEW_2") for kind in kinds]
        assert np.array_equal(np.array(Image.open(archive.open("new_mask.png"))) == 255, found[0].mask(0.4))
        grey = np.array(Image.open(archive.open("new_probability.png")))
        assert np.abs(grey / 255 - found[0].probability).max() <= 0.5 / 255 + 1e-6
        assert Image.open(archive.open("NEW_2_overlay.png")).size == (129, 129)


def test_an_object_too_small_is_a_sentence(finder: Finder, photos: Path) -> None:
    speck = np.zeros((129, 129), np.uint8)
    speck[2, 2] = 1
    with pytest.raises(UserError, match=r"^support 3: the object's 1 pixels in 129x129 are too few"):
        finder.find(search(photos, "new")._replace(supports=[make_support()._replace(mask=speck)]))


def test_the_toy_images() -> None:
    for toy in make_examples():
        assert toy.mask.mean() > 0.05
        assert len(toy.queries) == 2
