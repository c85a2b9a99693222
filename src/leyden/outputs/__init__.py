"""What a model's outputs mean: one module for each task, in numpy; needs neither torch nor the training's code."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.outputs.reader import OutputReader

DEFAULT = "classification"  # of descriptions without a task


def load_reader(description: Mapping[str, Any]) -> OutputReader:
    """Build the reader of the outputs of the model, or the targets of the data, that a description is about.

    Raises:
        UserError: if there is none for its task, or what is written about the task is invalid.
    """
    facts = dict(description.get("task") or {"name": DEFAULT})
    name = str(facts.pop("name", ""))
    is_module = name.isidentifier() and Path(__file__).with_name(f"{name}.py").is_file()
    reader = getattr(importlib.import_module(f"{__name__}.{name}"), "READER", None) if is_module else None
    if reader is None:
        raise UserError(f"expected a known task; got {name!r}; use the version of leyden that made this file")
    try:
        return reader(list(description["labels"]), float(description.get("temperature", 1.0)), **facts)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"expected a valid description of the task {name}; got {error}; run `leyden prepare` again, or create the "
            "model file again"
        ) from error
