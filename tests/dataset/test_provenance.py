"""What a dataset's folder holds of the published benchmark, and what it says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataset import DATASETS, Coco, ImageSet, Pascal, Provenance, open_fold
from dataset.prepare.toy import describe_toy
from dataset.provenance import from_dict, read_counts, read_name
from tests.files import write
from tests.real_data import REAL_DATA
from util.errors import UserError

VAL = "images of pascal val"


def test_a_toy_dataset_says_that_it_is_one(toy: Path, toy_fss: Path) -> None:
    fold = open_fold("pascal", toy, 0)
    assert fold.test.provenance == Provenance("toy", VAL, 40, 1449)
    assert fold.train.provenance == Provenance("toy", "images of pascal train", 60, 10582)
    assert fold.test.provenance.label == "toy data"
    assert open_fold("fss", toy_fss).val.provenance == Provenance("toy", "classes of fss val", 5, 240)


def test_labels() -> None:
    assert Provenance("", VAL, 1449, 1449).label == ""
    assert Provenance("", VAL, 1449, 1449).is_published
    assert Provenance("", VAL, 42, 1449).label == f"42 {VAL} in place of 1449"
    assert Provenance("toy", VAL, 1449, 1449).label == "toy data"  # as many images do not make it VOC
    assert not Provenance("toy", VAL, 1449, 1449).is_published


def test_a_list_of_coco_may_leave_empty_images_out(tmp_path: Path) -> None:
    """82,081 of the 82,783 training images show an object; no episode has the others."""
    few = ImageSet("coco train", (), tmp_path, tmp_path, {})
    for count, whole in ((82783, True), (82081, True), (82080, False), (40137, False)):
        found = Coco(tmp_path).measure_provenance("train", few.listed("coco train", [str(n) for n in range(count)]))
        assert (found.is_published, found.count) == (whole, count)


@pytest.mark.parametrize(
    ("text", "name"), [(None, ""), ('{"val": 3}', ""), ('{"name": "x\\ny"}', "other"), ('{"name": 3}', "other")]
)
def test_the_name_of_a_dataset(text: str | None, name: str, tmp_path: Path) -> None:
    if text is not None:
        write(tmp_path / "expected.json", text)
    assert read_name(tmp_path) == name


def test_a_file_of_the_version_before(tmp_path: Path) -> None:
    """It called fss's val "select"."""
    write(tmp_path / "expected.json", '{"name": "toy", "seed": 0, "train": 10, "select": 5, "test": 5}')
    assert read_counts(tmp_path) == describe_toy(seed=0)


def test_a_damaged_file_of_counts_is_named(tmp_path: Path) -> None:
    write(tmp_path / "expected.json", "[1")
    with pytest.raises(UserError, match=r"expected\.json: cannot be read as counts \(.*\); remove it$"):
        read_name(tmp_path)


@pytest.mark.skipif(not (REAL_DATA / "hsnet_splits").is_dir(), reason="needs HSNet's lists")
@pytest.mark.parametrize("dataset", ["pascal", "coco", "fss"])
def test_hsnets_own_lists_are_whole(dataset: str, tmp_path: Path) -> None:
    for fold in DATASETS[dataset].folds:
        found = DATASETS[dataset](tmp_path, REAL_DATA / "hsnet_splits").hsnet_provenance(fold)
        assert found.is_published
        assert found.count > 200


def test_a_shorter_list_is_not_hsnets(tmp_path: Path) -> None:
    write(tmp_path / "pascal" / "val" / "fold2.txt", "a__11\nb__12\n")
    assert Pascal(tmp_path, tmp_path).hsnet_provenance(2).label == "2 entries of fold2.txt in place of 725"


def test_what_is_written_is_read() -> None:
    provenance = Provenance("toy", VAL, 40, 1449)
    assert from_dict(json.loads(json.dumps(provenance._asdict()))) == provenance
    assert from_dict(None) is None


@pytest.mark.parametrize("other", [{"count": "4"}, {"count": -1}, {"count": True}, {"name": None}, {"counted": "a\nb"}])
def test_absurd_records_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^its {next(iter(other))} cannot be "):
        from_dict({**Provenance("", VAL, 40, 1449)._asdict(), **other})
    with pytest.raises(ValueError, match=r"^it has no fields$"):
        from_dict([1])
