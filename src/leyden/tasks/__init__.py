"""What a model predicts: one module for each task, with all that depends on the kind of target.

Tasks import torch only in the methods that compute with tensors: `leyden prepare` runs without it.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from leyden.errors import UserError
from leyden.tasks.task import Task

CLASSIFICATION = {"name": "classification"}  # the task of descriptions that name none
TASKS = ("classification", "multilabel", "regression", "segmentation", "ordinal")


def task_class(name: str) -> type[Task]:
    """Return the class of a task.

    Raises:
        UserError: if there is no such task.
    """
    if name not in TASKS:
        raise UserError(f"expected a task ({', '.join(TASKS)}); got {name!r}; choose one of these")
    return importlib.import_module(f"{__name__}.{name}").TASK


def load_task(description: Mapping[str, Any]) -> Task:
    """Build the task that prepared data or a model file describes, by `labels` and `task`.

    Raises:
        UserError: if there is no such task, or what is written about it is invalid.
    """
    facts = dict(description.get("task") or CLASSIFICATION)
    cls = task_class(str(facts.pop("name", "")))
    try:
        return cls(list(description["labels"]), **facts)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"expected a valid description of the task {cls.name}; got {error}; run `leyden prepare` again, or create "
            "the model file again"
        ) from error
