"""Reads the predictions of test examples from a predictions.csv of `leyden evaluate`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leyden.artifacts import SCORE_PREFIX
from leyden.errors import UserError, one_line
from leyden.files.tables import read_table
from leyden.outputs.reader import OutputReader, Row


class SavedPredictions(NamedTuple):
    """The labels of a predictions.csv, and its probabilities (N, K) of them for each test example."""

    labels: list[str]
    probabilities: Tensor


def read_predictions(path: Path, test_paths: list[str]) -> SavedPredictions:
    """Read the predictions of the test examples from a predictions.csv, whose rows may be in any order.

    Raises:
        UserError: if it does not exist, is not a predictions.csv, lacks a test example, or holds other numbers than
            probabilities.
    """
    rows = {row.get("path", ""): row for row in read_table(path, "evaluate")}
    columns = [column for column in next(iter(rows.values()), {}) if column and column.startswith(SCORE_PREFIX)]
    if not columns:
        raise UserError(
            f"expected a predictions.csv of `leyden evaluate`; {path} has no rows with columns {SCORE_PREFIX}LABEL; "
            "evaluate that model again"
        )
    check_paths(path, rows, test_paths)
    probabilities = torch.tensor([[to_number(rows[name][column]) for column in columns] for name in test_paths])
    # Blanks are the probabilities of unlikely classes, as many in each row.
    num_filled = torch.tensor([sum(bool(rows[name][column]) for column in columns) for name in test_paths])
    is_valid = probabilities.isfinite().all(dim=1) & (probabilities >= 0).all(dim=1) & (num_filled == num_filled.max())
    if invalid := [name for name, valid in zip(test_paths, is_valid.tolist(), strict=True) if not valid]:
        raise UserError(
            f"expected probabilities in {path}; got other scores for {len(invalid)} examples, first {invalid[0]}; "
            "evaluate that model again"
        )
    return SavedPredictions([column.removeprefix(SCORE_PREFIX) for column in columns], probabilities)


def to_number(text: str) -> float:
    """Convert a cell of a table; 0 if it is blank, as that of an unlikely class, and NaN if it is not a number."""
    try:
        return float(text or 0)
    except ValueError:
        return math.nan


def check_paths(path: Path, rows: Mapping[str, Row], test_paths: Sequence[str]) -> None:
    if missing := [name for name in test_paths if name not in rows]:
        raise UserError(
            f"expected a prediction of every test example in {path}; it lacks {len(missing)}, first {missing[0]}; "
            "evaluate that model on this data"
        )


def read_outputs(path: Path, reader: OutputReader, test_paths: Sequence[str], targets: np.ndarray) -> np.ndarray:
    """Read the outputs for the test examples from a predictions.csv, whose rows may be in any order.

    Raises:
        UserError: if it does not exist, lacks a test example, has other targets, or does not hold the outputs.
    """
    rows_by_path = {row.get("path", ""): row for row in read_table(path, "evaluate", ["path"])}
    check_paths(path, rows_by_path, test_paths)
    rows = [rows_by_path[name] for name in test_paths]
    try:
        outputs = reader.parse_rows(rows)
    except ValueError as error:
        raise UserError(
            f"expected predictions for {reader.name} in {path}; {one_line(error)}; name the model file, or evaluate "
            "that model again"
        ) from error
    for name, row, true in zip(test_paths, rows, reader.target_rows(targets), strict=True):
        if row != row | true:
            raise UserError(
                f"expected the targets of the prepared data in {path}; it has others for {name}; evaluate that model "
                "on this data"
            )
    return outputs
