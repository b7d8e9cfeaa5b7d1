"""One input as people have it, and what a program must make of it.

Each test_*.py here holds a table CASES; ``python -m tests.as_found`` prints all of them for two checkouts.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.real_data import REAL_DATA
from util.launch import command


class Inputs(NamedTuple):
    """What cases are made from; none of it may be changed but the folder."""

    folder: Path  # an empty one, for the case's own files
    checkpoint: Path  # random weights
    toy: Path  # datasets of the toy
    toy_coco: Path
    toy_fss: Path

    def found(self, name: str) -> Path:
        """A file of as_found; the case is skipped where these are absent."""
        path = REAL_DATA / "as_found" / name
        if not path.exists():
            pytest.skip(f"no {path}")
        return path


class Case(NamedTuple):
    """A command on an input."""

    name: str  # the input, as the table says it
    make: Callable[[Inputs], list[str]]  # makes the input; returns the command's words, a script first
    code: int  # its exit code
    says: str  # a regular expression, found in what it prints


def check(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a case in this process."""
    script, *argv = case.make(inputs)
    main = importlib.import_module(script.removesuffix(".py")).main
    capfd.readouterr()
    code = 0
    try:
        command(lambda: main(argv))
    except SystemExit as end:
        code = end.code
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed
    assert code == case.code, printed
    assert re.search(case.says, printed), printed
