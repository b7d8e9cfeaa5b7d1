"""Lists for HSNet's protocol: taken over unchanged, made from masks and marked as such, never run as code."""

from __future__ import annotations

import json
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dataset import DATASETS, Coco, Fss, Pascal
from dataset.fss import CLASS_LISTS
from dataset.hsnet import GENERATED, is_generated, read_class_lists, read_pairs
from dataset.prepare.write_lists import (
    derive_fss_lists,
    generate_lists,
    import_lists,
    read_official_list,
    write_fss_lists,
)
from tests.dataset.layouts import save_labels
from tests.dataset.test_hsnet import GOLDEN, SPLITS
from tests.files import write
from util.errors import UserError


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """data/splits of an HSNet checkout, in an order that no sorting gives."""
    source = tmp_path / "hsnet" / "data" / "splits"
    for fold in range(4):
        first = 5 * fold + 1
        lines = [f"2007_{number:06d}__{first + number % 2:02d}" for number in (5, 2, 7, 1, 4, 9)]
        write(source / "pascal" / "val" / f"fold{fold}.txt", "\n".join(lines))
        lists = {
            cls: [f"val2014/COCO_val2014_{number:012d}.jpg" for number in (7 + cls, 3, 5)] if cls % 4 == fold else []
            for cls in reversed(range(80))
        }
        write(source / "coco" / "val" / f"fold{fold}.pkl", pickle.dumps(lists, protocol=2))
    for file, names in (("trn", "zebra\nbus\n"), ("val", "cup\nant\n"), ("test", "drum\ncrab\napple\n")):
        write(source / "fss" / f"{file}.txt", names)
    return source


# HSNet's own


def test_imported_lists_are_text_and_in_order(checkout: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = import_lists(checkout, out)
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    found = contents(out)
    pascals, cocos = ([f"{name}/val/fold{fold}.{suffix}" for fold in range(4)] for name, suffix in (
        ("pascal", "txt"), ("coco", "json"),
    ))  # fmt: skip
    assert found.keys() == {*pascals, *cocos, "fss/trn.txt", "fss/val.txt", "fss/test.txt"}
    assert found["pascal/val/fold1.txt"] == (
        "2007_000005__07\n2007_000002__06\n2007_000007__07\n2007_000001__07\n2007_000004__06\n2007_000009__07\n"
    )
    lists = json.loads(found["coco/val/fold2.json"])["classes"]
    assert list(lists) == [str(cls) for cls in reversed(range(80))]  # counted from 0 and in order, as HSNet's
    assert lists["6"] == ["COCO_val2014_000000000013", "COCO_val2014_000000000003", "COCO_val2014_000000000005"]
    assert lists["7"] == []
    assert found["fss/test.txt"] == "drum\ncrab\napple\n"
    assert not any(is_generated(path) for path in written)
    import_lists(out, tmp_path / "again")
    assert contents(tmp_path / "again") == found


@pytest.mark.parametrize(("dataset", "fold"), [("pascal", 3), ("coco", 2), ("fss", None)])
def test_episodes_of_imported_lists_are_those_of_the_checkout(
    checkout: Path, tmp_path: Path, dataset: str, fold: int | None
) -> None:
    import_lists(checkout, tmp_path / "out")
    assert Coco.hsnet_list(checkout, 0).suffix == ".pkl"
    assert Coco.hsnet_list(tmp_path / "out", 0).suffix == ".json"
    imported = DATASETS[dataset].plan_hsnet(tmp_path / "out", fold, 5)
    assert imported == DATASETS[dataset].plan_hsnet(checkout, fold, 5)
    assert {len(episode.supports) for episode in imported} == {5}


@pytest.mark.parametrize("kept", ["pascal", "coco", "fss"])
def test_one_dataset_alone_is_imported(checkout: Path, tmp_path: Path, kept: str) -> None:
    (checkout / kept).rename(tmp_path / kept)
    import_lists(tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {kept}


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("pascal/val/fold3.txt", None, "no such list; pass the data/splits"),
        ("coco/val/fold1.pkl", b"\x80\x02}", "damaged or truncated"),
        ("fss/val.txt", "cup\ncup\n", "lists cup twice"),
    ],
)
def test_one_bad_list_and_nothing_is_written(
    checkout: Path, tmp_path: Path, path: str, content: str | bytes | None, message: str
) -> None:
    (checkout / path).unlink()
    if content is not None:
        write(checkout / path, content)
    with pytest.raises(UserError, match=message) as caught:
        import_lists(checkout, tmp_path / "out")
    assert str(caught.value).startswith(f"{checkout / path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_lists_that_were_made_from_masks_are_not_imported(toy_fss: Path, tmp_path: Path) -> None:
    """They would lose the mark that they are not HSNet's."""
    made = tmp_path / "made"
    path = generate_lists(Fss(toy_fss), made)[0]
    before = path.read_bytes()
    with pytest.raises(
        UserError, match=r"trn\.txt: was made from masks by prepare\.py splits; name the data/splits of "
    ):
        import_lists(made, made)
    assert path.read_bytes() == before


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError) as caught:
            import_lists(source, tmp_path / "out")
        expected = "holds none of pascal, coco and fss; name the data/splits of an HSNet checkout"
        assert str(caught.value) == f"{source}: {expected}"


@pytest.mark.skipif(not SPLITS.is_dir(), reason="needs HSNet's own lists")
def test_imported_lists_give_hsnets_own_episodes(tmp_path: Path) -> None:
    """Those of the lists themselves, which are checked against HSNet's (test_hsnet.py)."""
    import_lists(SPLITS, tmp_path)
    for name in (each for each in GOLDEN if each.endswith("1")):  # of one shot: the lists are the same of five
        dataset, *fold, shot = name.split("_")
        arguments = (int(fold[0][-1]) if fold else None, int(shot[-1]))
        assert DATASETS[dataset].plan_hsnet(tmp_path, *arguments) == DATASETS[dataset].plan_hsnet(SPLITS, *arguments)


# Made from masks


def test_generated_lists_of_pascal_by_hand(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    masks = root / "SegmentationClassAug"
    save_labels(masks / "d.png", (1, 2048), (20, 3000))
    save_labels(masks / "a.png", (1, 5000), (255, 3000))
    save_labels(masks / "c.png", (1, 2047), (6, 2048))  # one pixel too few of class 1
    save_labels(masks / "b.png", (5, 2048), (11, 2048), (1, 2048))
    save_labels(masks / "other.png", (2, 8000))  # not in the list
    write(root / "ImageSets" / "train.txt", "other\n")
    write(root / "ImageSets" / "val.txt", "d\na\nc\nb\n")
    out = tmp_path / "out"
    assert len(generate_lists(Pascal(root), out, workers=0)) == 4
    note = "# made from masks by prepare.py splits\n"
    assert contents(out / "pascal" / "val") == {
        "fold0.txt": f"{note}a__01\nb__01\nb__05\nd__01\n",
        "fold1.txt": f"{note}c__06\n",
        "fold2.txt": f"{note}b__11\n",
        "fold3.txt": f"{note}d__20\n",
    }
    assert read_pairs(out / "pascal" / "val" / "fold0.txt") == [("a", 1), ("b", 1), ("b", 5), ("d", 1)]
    assert is_generated(out / "pascal" / "val" / "fold3.txt")


def test_a_pascal_fold_without_a_class(tmp_path: Path) -> None:
    root = tmp_path / "VOC2012"
    (root / "JPEGImages").mkdir(parents=True)
    save_labels(root / "SegmentationClassAug" / "a.png", (1, 5000), (6, 2047))
    write(root / "ImageSets" / "val.txt", "a\n")
    with pytest.raises(UserError, match=r"SegmentationClassAug: no mask holds 2048 pixels of a class of fold 1$"):
        generate_lists(Pascal(root), tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_generated_lists_of_coco_by_hand(tmp_path: Path) -> None:
    root = tmp_path / "COCO2014"
    (root / "val2014").mkdir(parents=True)
    masks = root / "annotations" / "val2014"
    save_labels(masks / "COCO_val2014_000000000002.png", (1, 2048), (80, 2048))
    save_labels(masks / "COCO_val2014_000000000001.png", (5, 2048), (1, 2047))
    save_labels(masks / "COCO_val2014_000000000003.png", (1, 2048), (2, 3000))
    for path in masks.iterdir():
        write(root / "val2014" / f"{path.stem}.jpg", "")
    out = tmp_path / "out"
    generate_lists(Coco(root), out, workers=0)
    first, second, third = (f"COCO_val2014_{number:012d}" for number in (1, 2, 3))
    expected = [{1: [second, third], 5: [first]}, {2: [third]}, {}, {80: [second]}]
    assert [read_class_lists(Coco.hsnet_list(out, fold)) for fold in range(4)] == expected
    assert all(is_generated(Coco.hsnet_list(out, fold)) for fold in range(4))
    assert contents(out / "coco" / "val").keys() == {f"fold{fold}.json" for fold in range(4)}


def test_a_generated_list_of_coco_may_lack_classes(tmp_path: Path) -> None:
    """HSNet's own does not; episodes are drawn of the classes that it holds."""

    def lists(source: str, content: dict[int, Any]) -> None:
        write(tmp_path / "coco" / "val" / "fold0.json", json.dumps({"source": source, "classes": content}))

    lists(GENERATED, {0: ["a", "b"], 8: ["c", "d"]})
    plan = Coco.plan_hsnet(tmp_path, 0, 1)
    assert {episode.cls for episode in plan} == {1, 9}
    lists("HSNet", {0: ["a", "b"], 8: ["c", "d"]})
    with pytest.raises(UserError, match=r"fold0\.json: lists 0 images of class 5, an episode needs 2"):
        Coco.plan_hsnet(tmp_path, 0, 1)


def test_generated_lists_of_fss(toy_fss: Path, tmp_path: Path) -> None:
    generate_lists(Fss(toy_fss), tmp_path / "out")
    listed = {file: Fss(toy_fss).read_class_list(split) for split, file in CLASS_LISTS.items()}
    assert contents(tmp_path / "out") == {
        f"fss/{file}": "\n".join((f"# {GENERATED}", *names, "")) for file, names in listed.items()
    }
    assert is_generated(Fss.hsnet_list(tmp_path / "out", None))
    assert len(Fss.plan_hsnet(tmp_path / "out", None, 5)) == 50


def test_generated_lists_of_a_toy_dataset(toy_coco: Path, tmp_path: Path) -> None:
    """Every class of a fold that the dataset holds, and none of another fold."""
    generate_lists(Coco(toy_coco), tmp_path, workers=0)
    names = Coco(toy_coco).open_folders().class_names
    for fold in range(4):
        novel = [cls for cls in Coco.novel_classes(fold, "interleaved") if cls in names]
        assert sorted(read_class_lists(Coco.hsnet_list(tmp_path, fold))) == novel
        assert {episode.cls for episode in Coco.plan_hsnet(tmp_path, fold, 1)} == set(novel)


# FSS-1000's three lists from one


def test_derived_fss_lists_of_the_published_size() -> None:
    everything = [f"class {number:04d}" for number in range(1000)]
    test = everything[7:967:4]
    assert len(test) == 240
    lists = derive_fss_lists(test, everything)
    assert {split: len(names) for split, names in lists.items()} == {"train": 520, "val": 240, "test": 240}
    assert sorted(name for names in lists.values() for name in names) == everything
    assert lists["test"] == sorted(test)
    assert lists["train"] == sorted(lists["train"])
    assert derive_fss_lists(test[::-1], everything[::-1]) == lists
    others = sorted({*lists["train"], *lists["val"]})
    chosen = [others.index(name) for name in lists["val"]]  # spread over all of them
    assert {later - earlier for earlier, later in pairwise(chosen)} == {3, 4}


@pytest.mark.parametrize(
    "text",
    [
        "bus\napple\nzebra\n",
        "# a note\n\nbus,apple\nzebra",
        "bus,apple,zebra",
        "['bus', 'apple', 'zebra']",
        '"bus", "apple",\n"zebra"\n',
    ],
)
def test_the_official_list(tmp_path: Path, text: str) -> None:
    assert read_official_list(write(tmp_path / "list.txt", text)) == ["bus", "apple", "zebra"]


def test_a_test_list_of_nonsense_replaces_nothing(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
    lists = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}
    write_fss_lists(lists, tmp_path)
    assert {split: Fss(tmp_path).read_class_list(split) for split in lists} == lists
    before = {path.name: path.read_bytes() for path in (tmp_path / "splits").iterdir()}
    nonsense = derive_fss_lists(["Lorem ipsum\tx", "dolor"], list("abcdefgh"))
    with pytest.raises(UserError, match=r"2 of the 2 listed classes are not there, 'Lorem ipsum") as raised:
        write_fss_lists(nonsense, tmp_path)
    assert str(raised.value).isprintable()
    assert {path.name: path.read_bytes() for path in (tmp_path / "splits").iterdir()} == before
