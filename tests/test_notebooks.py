"""The notebooks run from the first cell to the last on the pipeline's outputs, and are stored without outputs."""

import asyncio
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.conftest import REPO
from tests.stages.test_explain_tasks import make_project

NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
FOR_ANY_TASK = ("1_explore_the_data", "2_attribution_with_captum")


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


def place(notebook: str, task: str, suffix: str, folder: Path) -> Path:
    """Copy a notebook beside the artifacts of a tiny data set and of an untrained model."""
    project, _ = make_project(folder / "artifacts", task, suffix)
    (project / "train").mkdir()
    (project / "model.ckpt").rename(project / "train/model.ckpt")
    (folder / "notebooks").mkdir()
    return Path(shutil.copy(REPO / "notebooks" / f"{notebook}.ipynb", folder / "notebooks"))


@pytest.mark.parametrize("notebook", FOR_ANY_TASK)
@pytest.mark.parametrize("task", ["multilabel", "regression", "segmentation", "ordinal"])
def test_notebook_runs_for_images_of_any_task(notebook, task, tmp_path):
    assert run(place(notebook, task, ".png", tmp_path))


@pytest.mark.parametrize("notebook", FOR_ANY_TASK)
def test_notebook_says_that_it_is_for_images(notebook, tmp_path):
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="this notebook is for"):
        run(place(notebook, "classification", ".npy", tmp_path))


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
