"""Imports run down: util, model and dataset, the engine that joins them, and beside it the applications, leaves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.files import CHECKOUT

ALLOWED = {
    "util": {"util"},
    "model": {"model"},
    "dataset": {"dataset", "util"},
    "engine": {"engine", "dataset", "model", "util"},
    # "tables": until engine.checkpoint knows the authors' files by itself (prediction/load.py)
    "prediction": {"prediction", "engine", "dataset", "model", "util", "tables"},
    "page": {"page", "prediction", "engine", "dataset", "model", "util"},
    "tables": {"tables", "engine", "dataset", "model", "util"},
}
SCRIPTS = {path.stem for path in CHECKOUT.glob("*.py")}
FILES = [path for folder in ALLOWED for path in sorted((CHECKOUT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The first names of all modules that a file imports, at its top or later."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_nothing_imports_upward(path: Path) -> None:
    room = path.relative_to(CHECKOUT).parts[0]
    ours = imported(path) & ({*ALLOWED, *SCRIPTS, "benchmarks", "tests"})
    assert ours <= ALLOWED[room]


def test_only_scripts_know_flags_and_only_datasets_themselves() -> None:
    below = [path for path in FILES if path.name != "options.py"]
    assert [path for path in below if "argparse" in imported(path)] == []
    outside = [path for path in (*FILES, *CHECKOUT.glob("*.py")) if "dataset" not in path.relative_to(CHECKOUT).parts]
    assert len(outside) > 40
    tests = ('== "pascal"', '== "coco"', '== "fss"', 'dataset == "', 'dataset != "')
    assert [path for path in outside if any(test in path.read_text(encoding="utf-8") for test in tests)] == []


def test_model_knows_no_error_of_ours() -> None:
    assert [path for path in FILES if path.parent.name == "model" and "UserError" in path.read_text()] == []
