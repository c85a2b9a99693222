"""Stages ask the task and the reader of outputs; none names a task, so that a new one needs no edit of a stage."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.tasks import TASKS
from tests.test_layers import PACKAGE

EXEMPT = "sample"  # it writes one set of data for each task
SOURCES = [path for path in sorted((PACKAGE / "stages").rglob("*.py")) if EXEMPT not in path.parts]


def names_of_tasks(code: str) -> list[str]:
    """Return the lines in which code names a task, as a text, a name or an import of ours, or compares a task's name.

    Docstrings and longer texts, such as messages, may name tasks.
    """
    tree = ast.parse(code)
    return [f"line {node.lineno}: {found}" for node in ast.walk(tree) for found in find_names(node) if found]


def find_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if text in TASKS:
            yield repr(text)
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)) if (
            name.lower() in TASKS
        ):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name.lower() in TASKS:
            yield name
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases if names_module(alias.name))
        case ast.ImportFrom(module=str(module), names=aliases):
            yield from (alias.name for alias in aliases if names_module(f"{module}.{alias.name}"))
        case ast.Compare():
            yield from (ast.unparse(side) for side in (node.left, *node.comparators) if is_task_name(side))
        case ast.Match(subject=subject) | ast.Subscript(slice=subject) if is_task_name(subject):
            yield ast.unparse(subject)


def names_module(name: str) -> bool:
    """Check whether a module or a class of ours is that of one task; torchmetrics has a module of the same name."""
    return name.startswith("leyden.") and any(part.lower().removesuffix("reader") in TASKS for part in name.split("."))


def is_task_name(node: ast.AST) -> bool:
    """Check whether an expression is the name of a task, such as `task.name` or `description["task"]["name"]`."""
    owner = ""
    match node:
        case ast.Attribute(value=value, attr="name") | ast.Subscript(value=value, slice=ast.Constant(value="name")):
            owner = ast.unparse(value).lower()
    return owner.endswith(("task", "reader", "['task']"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_stage_names_a_task(path: Path):
    assert names_of_tasks(path.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "if task.name == 'regression': pass",
        "if metrics['task'] in ('ordinal', 'x'): pass",
        "if self.reader.name != name: pass",
        "if NAME == description['task']['name']: pass",
        "match task.name:\n    case name: pass",
        "WORDS[reader.name]",
        "WORDS = {'segmentation': 1}",
        "from leyden.tasks.multilabel import parse",
        "from leyden.outputs.regression import RegressionReader",
        "from leyden.tasks import classification",
        "import leyden.tasks.ordinal",
        "def regression(): pass",
        "isinstance(task, Classification)",
        "tasks.segmentation.TASK",
    ],
)
def test_each_way_to_name_a_task_is_found(code):
    assert names_of_tasks(code) != []


@pytest.mark.parametrize(
    "code",
    [
        '"""Of regression and classification."""',
        "from torchmetrics.functional.classification import multiclass_confusion_matrix",
        "raise UserError('expected classification; got another task')",
        "if reader.is_dense: write(reader.name)",
        "if path.name == 'masks': pass",
        "if measure.name == reader.headline: pass",
    ],
)
def test_what_names_no_task_is_allowed(code):
    assert names_of_tasks(code) == []
