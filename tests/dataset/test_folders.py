"""Where a folder is found, and which is meant where there are several."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset.folders import describe_folder, find_folder, holds_files
from tests.files import write
from util.errors import UserError

FOUND: dict[str, tuple[tuple[str, ...], str | None]] = {  # the files that are there, and the folder that holds a.jpg
    "the top itself": (("a.jpg", "b/a.jpg"), "."),
    "one level deeper": (("b/a.jpg",), "b"),
    "three levels deeper": (("x/y/z/a.jpg",), "x/y/z"),
    "four levels deeper": (("x/y/z/w/a.jpg",), None),
    "beside what macOS adds": (("b/a.jpg", "__MACOSX/a.jpg", ".hidden/a.jpg"), "b"),
    "several, one of that name": (("b/a.jpg", "usual/a.jpg"), "usual"),
    "one alone, of another name": (("b/a.jpg", "usual/other.jpg"), "b"),
    "the name only below another": (("b/a.jpg", "c/usual/a.jpg"), "b"),
    "none": (("b/c.jpg",), None),
}


@pytest.mark.parametrize("name", FOUND)
def test_find_folder(name: str, tmp_path: Path) -> None:
    files, expected = FOUND[name]
    for file in files:
        write(tmp_path / file)
    found = find_folder(tmp_path, lambda folder: (folder / "a.jpg").is_file(), "usual")
    assert found == (None if expected is None else tmp_path / expected)


def test_several_folders(tmp_path: Path) -> None:
    for folder in ("b", "c", "d/usual"):
        write(tmp_path / folder / "a.jpg")
    says = f"{tmp_path}: 2 folders could be meant: b, c; leave one of them, or name it"
    with pytest.raises(UserError) as caught:
        find_folder(tmp_path, lambda folder: holds_files(folder, (".jpg",)), "usual")
    assert str(caught.value) == says


def test_what_a_folder_holds(tmp_path: Path) -> None:
    assert describe_folder(tmp_path) == "it is empty"
    for name in "gfedcba":
        write(tmp_path / name / "x")
    assert describe_folder(tmp_path) == "it holds a/, b/, c/, d/, e/, f/ and 1 more"
    assert find_folder(tmp_path / "nowhere", lambda folder: True) is None
