"""Checks that a model and prepared data belong together, before anything is computed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leyden.errors import UserError

MAX_LISTED = 5
DEFAULT_TASK = {"name": "classification"}  # of descriptions without a task


def description_of(predictor: Any, model: Path) -> dict[str, Any]:
    """Return the description of a loaded model: labels, task, input.

    Raises:
        UserError: if it has none, as a LightningModule that is not leyden's.
    """
    description = getattr(predictor, "spec", None) or getattr(predictor, "description", None)
    if not isinstance(description, dict):
        raise UserError(
            f"expected a model that describes its labels and input; {model} holds {type(predictor).__name__}, which "
            "does not; score it by `leyden evaluate`, or train it as a network of leyden.SupervisedModule"
        )
    return description


def check_task(predictor: Any, report: dict[str, Any], model: Path, data: Path) -> None:
    """Check that a model is for the task of prepared data.

    Raises:
        UserError: if it is not.
    """
    expected, got = (
        (each.get("task") or DEFAULT_TASK).get("name") for each in (report, description_of(predictor, model))
    )
    if expected != got:
        raise UserError(
            f"expected a model for {expected}, as {data} is prepared for; {model} is for {got}; train it on this "
            "data, or name other data"
        )


def check_fits(predictor: Any, report: dict[str, Any], model: Path, data: Path, can_resize: bool = True) -> None:
    """Check that a model is for the task and labels of prepared data (its `report`), and accepts its examples.

    Raises:
        UserError: if it does not, or is for another task.
    """
    check_task(predictor, report, model, data)
    check_inputs(predictor, report, model, data, can_resize)
    check_labels(predictor, report["labels"], model)


def check_inputs(predictor: Any, report: dict[str, Any], model: Path, data: Path, can_resize: bool = True) -> None:
    """Check that a model accepts prepared examples, whatever their labels.

    A checkpoint resizes images, an exported file does not; with `can_resize` False, they must have the model's size.

    Raises:
        UserError: if it does not.
    """
    is_fixed = not can_resize or hasattr(predictor, "description")
    expected, got = (describe_input(each, is_fixed) for each in (predictor.input, report["input"]))
    if expected != got:
        raise UserError(
            f"expected {expected}, as {model} was trained on; {data} holds {got}; prepare other data, or choose "
            "another model"
        )


def describe_input(description: dict[str, Any], with_size: bool) -> str:
    if "features" in description:
        return f"sequences of {description['features']} feature(s)"
    height, width = description["image_size"]
    size = f"{height}x{width} pixels and " if with_size else ""
    return f"images of {size}{description['channels']} channel(s)"


def check_labels(predictor: Any, labels: list[str], model: Path) -> None:
    """Check that a model has the same labels as the data, in the same order.

    Raises:
        UserError: if it does not.
    """
    if predictor.labels != labels:
        raise UserError(
            f"expected a model of the labels {list_labels(labels)}; {model} has {list_labels(predictor.labels)}"
            f"{' in another order' if sorted(labels) == sorted(predictor.labels) else ''}; train it on this data"
        )


def list_labels(labels: Sequence[str]) -> str:
    """List some labels on one line; there may be 1,000."""
    return ", ".join(labels[:MAX_LISTED]) + (f" and {len(labels) - MAX_LISTED:,} more" * (len(labels) > MAX_LISTED))
