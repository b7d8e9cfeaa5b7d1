"""The fixture that makes results."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.evaluation.result import EvaluationResult, find_results
from tests.tables.results import MakeResult, write_result


@pytest.fixture
def make_result(tmp_path: Path) -> MakeResult:
    """A maker of results, each later than those before; its arguments are those of write_result without the path."""
    numbers = count(1)

    def make(miou: float, *spread: tuple[float, ...], **fields: Any) -> EvaluationResult:
        number = next(numbers)
        path = write_result(tmp_path / "results" / f"{number}_{miou}.json", miou, *spread, **fields)
        os.utime(path, (1e9 + number, 1e9 + number))
        (result,) = find_results([path])
        return result

    return make
