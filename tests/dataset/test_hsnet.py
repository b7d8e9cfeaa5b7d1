"""The HSNet protocol's episodes, and lists that are missing, damaged or hostile."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest

from dataset import DATASETS, Coco, Fss, Pascal
from tests.files import GOLDEN as GOLDEN_FILES
from tests.files import write
from tests.real_data import REAL_DATA
from util.errors import UserError

GOLDEN = json.loads((GOLDEN_FILES / "episodes_hsnet.json").read_text())["runs"]
SPLITS = REAL_DATA / "hsnet_splits"


@pytest.mark.skipif(not SPLITS.is_dir(), reason="needs HSNet's own lists")
@pytest.mark.parametrize("name", GOLDEN)
def test_hsnets_own_episodes(name: str) -> None:
    dataset, *fold, shot = name.split("_")
    plan = DATASETS[dataset].plan_hsnet(SPLITS, int(fold[0][-1]) if fold else 0, int(shot[-1]))
    prefix = "val2014/" if dataset == "coco" else ""
    suffix = "" if dataset == "pascal" else ".jpg"
    lines = [
        " ".join((f"{prefix}{query}{suffix}", str(cls - 1), *(f"{prefix}{image}{suffix}" for image in supports)))
        for query, cls, supports in plan
    ]
    assert lines[:8] == GOLDEN[name]["first"]
    assert len(lines) == GOLDEN[name]["n"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == GOLDEN[name]["sha256"]


def test_small_list_by_hand(tmp_path: Path) -> None:
    """Of two images the one that is not the query is every support; the queries go around."""
    write(tmp_path / "pascal" / "val" / "fold1.txt", "a__06\nb__06\n")
    plan = Pascal.plan_hsnet(tmp_path, 1, 3)
    assert len(plan) == 1000
    assert plan[0] == ("a", 6, ("b", "b", "b"))
    assert plan[1] == ("b", 6, ("a", "a", "a"))
    assert Pascal.hsnet_classes(1, plan) == [6, 7, 8, 9, 10]
    assert Coco.hsnet_classes(0, plan) == list(range(1, 78, 4))
    assert Fss.hsnet_classes(0, plan) == [6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such list; pass the data/splits"),
        ("", "the list is empty"),
        ("2007_000033", "is not IMAGE__CLASS"),
        ("2007_000033__", "is not IMAGE__CLASS"),
        ("2007_000033__21", "is not IMAGE__CLASS"),
        ("2007_000033__1x", "is not IMAGE__CLASS"),
        ("a__01\na__01", "lists 1 images of class 1"),
    ],
)
def test_bad_text_lists(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "pascal" / "val" / "fold0.txt"
    if text is not None:
        write(path, text)
    with pytest.raises(UserError, match=message) as caught:
        Pascal.plan_hsnet(tmp_path, 0, 1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Hostile:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_hostile_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coco" / "val" / "fold0.pkl"
    write(path, pickle.dumps({0: Hostile(tmp_path / "ran")}))
    with pytest.raises(UserError, match="refused: not a pickle of plain lists"):
        Coco.plan_hsnet(tmp_path, 0, 1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({0: ["val2014/a.jpg"] * 9})[:-9], "truncated"),
        (b"no pickle", "damaged or truncated|refused"),
        (b"", "damaged or truncated"),
        (pickle.dumps(["a"]), "not HSNet's lists"),
        (pickle.dumps({0: "a"}), "not HSNet's lists"),
        (pickle.dumps({0: [1, 2]}), "not HSNet's lists"),
        (pickle.dumps({cls: ["a.jpg", "b.jpg"] for cls in range(76)}), "lists 0 images of class 77"),
    ],
)
def test_bad_pickles(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path / "coco" / "val" / "fold0.pkl", content)
    with pytest.raises(UserError, match=message) as caught:
        Coco.plan_hsnet(tmp_path, 0, 1)
    assert "\n" not in str(caught.value)
