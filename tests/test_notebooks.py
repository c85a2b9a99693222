"""The notebooks run from the first cell to the last on the pipeline's outputs, and are stored without outputs."""

import asyncio
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.conftest import REPO

NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))


def run(path: Path) -> str:
    """Run a notebook in its folder; return what its cells printed."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    asyncio.run(client.async_execute())
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, trained, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "artifacts").symlink_to(trained / "artifacts")
    assert run(Path(shutil.copy(path, tmp_path / "notebooks")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_a_failing_cell_fails_the_test(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('ran')\n1 / 0")])
    nbformat.write(notebook, tmp_path / "bad.ipynb")
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        run(tmp_path / "bad.ipynb")
