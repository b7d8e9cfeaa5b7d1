"""The ids of the authors' files against the README that users of the release know, where it is present."""

from __future__ import annotations

import re

import pytest

from engine.evaluation.protocol import HSNET, PAPER
from tables.authors import ALL
from tables.paper import DRIVE, DRIVE_IMAGENET, PUBLISHED
from tests.files import CHECKOUT
from tests.real_data import REAL_DATA

README = REAL_DATA.parent / "upstream_readme.md"
LINK = re.compile(r"\[([^\]]+)\]\(https://drive\.google\.com/file/d/([^/]+)/view")

needs_readme = pytest.mark.skipif(not README.is_file(), reason=f"needs {README}")


def cells_of_the_readme() -> set[tuple]:
    """(dataset, protocol, method, shot, backbone, fold, value, id) of each cell of its two tables."""
    cells, dataset = set(), ""
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            dataset = {"Pascal VOC": "pascal", "MS COCO": "coco"}.get(line[4:].strip(), "")
        columns = [column.strip() for column in line.strip("|").split("|")]
        if len(columns) != 9 or "shot" not in columns[1]:
            continue
        method = {"Baseline": "baseline", "SSP (Ours)": "ssp"}[columns[0]]
        protocol = {"Ours": PAPER, "HSNet": HSNET}.get(columns[3], PAPER)
        backbone = f"resnet{columns[2].removeprefix('ResNet-')}"
        for fold, column in enumerate(columns[4:8]):
            value, file_id = LINK.search(column).groups()
            cells.add((dataset, protocol, method, int(columns[1][0]), backbone, fold, float(value), file_id))
    return cells


def our_cells() -> set[tuple]:
    cells = set()
    for row in PUBLISHED:
        s = row.setting
        for fold, value in enumerate(row.folds):
            file_id = DRIVE[s.dataset, s.method, s.shot, s.backbone][fold]
            cells.add((s.dataset, row.protocol, s.method, s.shot, s.backbone, fold, value, file_id))
    return cells


@needs_readme
def test_every_cell_has_the_link_of_the_readme() -> None:
    assert our_cells() == cells_of_the_readme()


@needs_readme
def test_the_imagenet_files_are_the_readmes() -> None:
    named = dict(LINK.findall(README.read_text(encoding="utf-8").split("**Dataset:**")[0]))
    assert {"ResNet-50": DRIVE_IMAGENET["resnet50"], "ResNet-101": DRIVE_IMAGENET["resnet101"]} == named


@needs_readme
def test_the_pages_link_to_the_files_of_the_readme() -> None:
    """Every Drive link of the pages is one of it, and so are its links to the data."""
    known = README.read_text(encoding="utf-8")
    pages = [page.read_text(encoding="utf-8") for page in sorted((CHECKOUT / "docs").glob("*.md"))]
    linked = {link for page in pages for link in re.findall(r"https://drive\.google\.com/file/d/[\w-]+/view", page)}
    dataset = next(part for part in known.split("\n\n") if part.startswith("**Dataset:**"))
    given = {link.partition("?")[0] for link in re.findall(r"\]\((https?://[^)]+)\)", dataset)}
    assert len(given) == 2
    assert all(f"]({link}?" in known for link in linked)
    assert all(any(f"]({link})" in page for page in pages) for link in given)


def test_there_are_48_different_files() -> None:
    assert len(our_cells()) == 64
    assert len({cell[-1] for cell in our_cells()}) == len(ALL) == 48
    assert len([each for each in ALL if each.setting.dataset == "pascal"]) == 32
    assert len({each.name for each in ALL}) == 48
    assert not set(DRIVE_IMAGENET.values()) & {each.drive for each in ALL}
