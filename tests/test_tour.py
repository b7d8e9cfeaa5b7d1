"""The notebook docs/tour.ipynb: its cells as they are kept, and all of them run from another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.package import find_package
from tests.files import CHECKOUT
from util.errors import UserError

TOUR = CHECKOUT / "docs" / "tour.ipynb"
HERE = 'SSP = ".."\n'


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_what_is_kept() -> None:
    """Cells that were run in their order, without an error or a place on the disk of whoever ran them."""
    cells = code_cells(TOUR)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {output["output_type"] for cell in cells for output in cell["outputs"]} == {"stream", "display_data"}
    assert sum(HERE in "".join(cell["source"]) for cell in cells) == 1
    for cell in cells:
        compile("".join(cell["source"]), "cell", "exec")
        printed = "".join(text for output in cell["outputs"] for text in output.get("text", ()))
        assert "/" not in printed
    assert TOUR.stat().st_size < 400_000


@pytest.mark.slow
def test_it_runs_from_any_folder(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    try:
        find_package()
    except UserError as error:
        pytest.skip(str(error))
    notebook = nbformat.reads(TOUR.read_text().replace(json.dumps(HERE), json.dumps(f"SSP = {str(CHECKOUT)!r}\n")), 4)
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "nothing was trained" in text
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 7
    assert text.rstrip().count("\n") >= 5  # a line for each variation
    assert list(tmp_path.iterdir()) == []
