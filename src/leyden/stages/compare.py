"""Compare two models on the same test examples: `leyden compare OLD NEW`."""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leyden.artifacts import SCORE_PREFIX
from leyden.data.packed import read_examples, read_paths, read_report
from leyden.errors import UserError
from leyden.files import write_json
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.files.tables import read_table
from leyden.ranges import check_range
from leyden.runtimes.compatibility import check_inputs, list_labels
from leyden.runtimes.load import load, predict_logits
from leyden.statistics.mcnemar import compare_paired


class SavedPredictions(NamedTuple):
    """The labels of a predictions.csv, and its probabilities (N, K) of them for each test example."""

    labels: list[str]
    probabilities: Tensor


def compare(
    old: Path,
    new: Path,
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("comparison.json"),
    batch_size: int = 256,
    confidence_level: float = 0.95,
    trust: bool = False,
) -> None:
    """Compare the accuracies of two models on the same test split.

    Each model may predict any of its labels; examples of a label that one of them does not have are left out and
    counted. On the old model's data, the change shows what a new model with other labels has forgotten.

    Args:
        old: A checkpoint, an exported file, or a predictions.csv that `leyden evaluate` wrote for this test split.
        new: The same; its labels may differ.
        data: Output folder of `leyden prepare`.
        out: JSON file for both accuracies, their change with its interval and p-value, and the numbers of examples lost
            and gained.
        batch_size: Number of examples per batch.
        confidence_level: Confidence level of the interval, in (0, 1).
        trust: Load files even if they run code (TorchScript, AOTInductor's library, networks that are not from leyden,
            torchvision or timm); files that this project has published do not need it.
    """
    check_no_overlap(out, [old, new, data])
    check_file(out, start=b'{\n  "accuracy_old": ')
    check_range("compare", "[1, inf)", batch_size=batch_size)
    check_range("compare", "(0, 1)", confidence_level=confidence_level)
    examples, labels = read_examples(data, "test")
    report = read_report(data)
    targets, data_labels = torch.from_numpy(labels), report["labels"]
    models: list[Any] = [
        read_predictions(path, read_paths(data, "test")) if path.suffix == ".csv" else load(path, trust=trust)
        for path in (old, new)
    ]
    shared = [label for label in data_labels if all(label in model.labels for model in models)]
    if not shared:
        raise UserError(
            f"expected models that share a label of {data} ({list_labels(data_labels)}); "
            f"{old} has {list_labels(models[0].labels)}; {new} has {list_labels(models[1].labels)}; "
            "name other models or data"
        )
    for path, model in zip((old, new), models, strict=True):
        if not isinstance(model, SavedPredictions):
            check_inputs(model, report, path, data)
    is_shared = torch.tensor([label in shared for label in data_labels])[targets]
    if not is_shared.any():
        raise UserError(
            f"expected test examples of a label that both models have ({list_labels(shared)}); {data} has none; "
            "name other models or data"
        )
    scores = (
        model.probabilities if isinstance(model, SavedPredictions) else predict_logits(model, examples, batch_size)
        for model in models
    )
    old_correct, new_correct = (
        find_correct(model.labels, score, targets, data_labels)[is_shared].numpy()
        for model, score in zip(models, scores, strict=True)
    )
    comparison = compare_paired(old_correct, new_correct, confidence_level)
    comparison |= {"labels": shared, "examples_left_out": int((~is_shared).sum())}
    write_json(out, comparison)
    print(summarise(comparison), file=sys.stderr if is_stream(out) else sys.stdout)


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
    if missing := [name for name in test_paths if name not in rows]:
        raise UserError(
            f"expected a prediction of every test example in {path}; it lacks {len(missing)}, first {missing[0]}; "
            "evaluate that model on this data"
        )
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


def find_correct(labels: list[str], scores: Tensor, targets: Tensor, data_labels: list[str]) -> Tensor:
    """Find which examples have the highest of their scores (N, K) at the true label: bool (N,).

    The scores are of the model's `labels`; `targets` (N,) are indices in `data_labels`.
    """
    indices = torch.tensor([labels.index(label) if label in labels else -1 for label in data_labels])
    return scores.argmax(dim=1) == indices[targets]


def summarise(comparison: dict[str, Any]) -> str:
    p_value = comparison["accuracy_change_p_value"]
    differs = "more" if p_value < 1 - comparison["confidence_level"] else "no more"
    return (
        f"compare: accuracy {comparison['accuracy_old']:.4f} old, {comparison['accuracy_new']:.4f} new: "
        f"change {comparison['accuracy_change']:+.4f} "
        f"[{comparison['accuracy_change_low']:+.4f}, {comparison['accuracy_change_high']:+.4f}], "
        f"{differs} than noise (McNemar p {p_value:.2g}), "
        f"on {comparison['examples']:,} test examples of {len(comparison['labels'])} shared labels "
        f"({comparison['lost']} lost, {comparison['gained']} gained, {comparison['examples_left_out']} left out)"
    )
