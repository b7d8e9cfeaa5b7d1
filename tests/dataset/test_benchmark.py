"""What all datasets have in common: where they are found, their lists, their classes; and how to add one."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import dataset
from dataset import DATASETS, open_fold
from tests.dataset.layouts import FOLDS, LAYOUTS, failure
from tests.files import CHECKOUT, write

TESTED = {"pascal": "ImageSets/val.txt", "coco": "ImageSets/val.txt", "fss": "splits/test.txt"}
IMAGES = {"pascal": "JPEGImages/yak.jpg", "coco": "val2014/yak.jpg", "fss": "yak/1.jpg"}


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_root_is_the_folder_or_holds_it(name: str, tmp_path: Path, above: bool) -> None:
    root = LAYOUTS[name](tmp_path)
    fold = open_fold(name, tmp_path if above else root, *FOLDS[name])
    assert fold.train.images.name == f"{name} train"
    assert fold.test.images.name == (f"{name} test" if name == "fss" else f"{name} val")
    assert (fold.val is fold.test) == (name != "fss")  # as in the release
    image = fold.test.images.ids[0]
    assert Path(fold.test.images.image_path(image)).is_relative_to(root)
    assert {split.min_pixels for split in fold} == {1 if name == "fss" else 2048}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_root(name: str, tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    way_out = f"the data root must be {DATASETS[name].folder} or the folder that holds it"
    assert failure(name, path) == f"{path}: no such folder; {way_out}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the list is empty"),
        ("\n# nothing\n  \n", "the list is empty"),
        ("a\nb\na\n", "lists a twice"),
        (b"\xff\xfe\x00e", "cannot be read as a list (it is not text in UTF-8; save it so)"),
    ],
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_bad_list(name: str, tmp_path: Path, text: str | bytes, says: str) -> None:
    root = LAYOUTS[name](tmp_path)
    path = write(root / TESTED[name], text)
    assert failure(name, root) == f"{path}: {says}"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_listed_image_that_is_missing(name: str, tmp_path: Path) -> None:
    root = LAYOUTS[name](tmp_path)
    write(root / TESTED[name], "yak\n")
    listed = "fss test" if name == "fss" else f"{name} val"
    way_out = "add it, or take it off the list"
    others = " (and 9 more)" if name == "fss" else ""
    says = f"no such image, but the list of {listed} names it{others}; {way_out}"
    assert failure(name, root) == f"{root / IMAGES[name]}: {says}"


@pytest.mark.parametrize(("name", "count"), [("pascal", 20), ("coco", 80)])
def test_a_dataset_may_name_its_classes_and_leave_some_out(name: str, count: int, tmp_path: Path) -> None:
    root, usual = LAYOUTS[name](tmp_path), DATASETS[name].class_names
    assert open_fold(name, root, *FOLDS[name]).test.images.class_names == usual
    names = ["-" if number % 2 else f"thing {number}" for number in range(1, count + 1)]
    path = write(root / "ImageSets" / "classes.txt", "\n".join(names))
    fold = open_fold(name, root, *FOLDS[name])
    novel = DATASETS[name].novel_classes(*FOLDS[name])
    assert fold.test.classes == [cls for cls in novel if cls % 2 == 0]
    assert fold.train.classes == [cls for cls in usual if cls % 2 == 0 and cls not in novel]
    assert fold.test.names()[:2] == ["thing 2", "thing 4"]
    for content in ("", "a\nb\n", b"\xff\xfe\x00", "\n".join(names[1:]), "\n".join(["twice"] * count)):
        write(path, content)
        assert failure(name, root).startswith(f"{path}: ")


def test_the_modules_import_each_other_in_no_circle() -> None:
    files = {".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path for path in CHECKOUT.glob("dataset/*.py")}
    below = {}
    for module, path in files.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {node.module for node in nodes} | {f"{node.module}.{n.name}" for node in nodes for n in node.names}
        below[module] = names & files.keys() - {module}
    while leaves := [module for module, names in below.items() if not names & below.keys()]:
        for module in leaves:
            del below[module]
    assert below == {}


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/extend.md, "A dataset"."""
    text = (CHECKOUT / "docs" / "extend.md").read_text()
    code = re.search(r'```python\n("""dataset/fruit\.py: .*?)```', text, re.DOTALL)[1]
    module = ModuleType("fruit")
    exec(compile(code, "fruit.py", "exec"), module.__dict__)
    monkeypatch.setitem(dataset.DATASETS, "fruit", module.Fruit)
    for name in "abcd":
        write(tmp_path / "images" / f"{name}.jpg")
        write(tmp_path / "masks" / f"{name}.png")
    write(tmp_path / "ImageSets" / "train.txt", "d\na\n")
    write(tmp_path / "ImageSets" / "val.txt", "b\nc\n")
    fold = open_fold("fruit", tmp_path, 1)
    assert (fold.train.images.ids, fold.test.images.ids) == (("d", "a"), ("b", "c"))
    assert (fold.train.names(), fold.test.names()) == (["apple", "nut"], ["pear", "plum"])
    assert fold.test.provenance.label == ""
