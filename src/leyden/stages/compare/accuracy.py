"""Compares models that predict one label for each example, by their accuracies."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.data.packed import read_examples, read_paths, read_report
from leyden.errors import UserError
from leyden.runtimes.compatibility import list_labels
from leyden.runtimes.load import predict_logits
from leyden.stages.compare.groups import read_test_groups
from leyden.stages.compare.predictions import SavedPredictions, read_predictions
from leyden.statistics.accuracy_change import compare_paired


def compare_accuracies(
    paths: tuple[Path, Path],
    models: tuple[Any, Any],
    data: Path,
    batch_size: int,
    confidence_level: float,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare the old and the new model, each None for a predictions.csv, on the labels that both have.

    Raises:
        UserError: if they share none, no test example has such a label, or all such examples are of one group.
    """
    examples, labels = read_examples(data, "test")
    targets, data_labels = torch.from_numpy(labels), read_report(data)["labels"]
    old, new = paths
    predictors: list[Any] = [
        read_predictions(path, read_paths(data, "test")) if model is None else model
        for path, model in zip(paths, models, strict=True)
    ]
    shared = [label for label in data_labels if all(label in model.labels for model in predictors)]
    if not shared:
        raise UserError(
            f"expected models that share a label of {data} ({list_labels(data_labels)}); "
            f"{old} has {list_labels(predictors[0].labels)}; {new} has {list_labels(predictors[1].labels)}; "
            "name other models or data"
        )
    is_shared = torch.tensor([label in shared for label in data_labels])[targets]
    if not is_shared.any():
        raise UserError(
            f"expected test examples of a label that both models have ({list_labels(shared)}); {data} has none; "
            "name other models or data"
        )
    scores = (
        model.probabilities if isinstance(model, SavedPredictions) else predict_logits(model, examples, batch_size)
        for model in predictors
    )
    old_correct, new_correct = (
        find_correct(model.labels, score, targets, data_labels)[is_shared].numpy()
        for model, score in zip(predictors, scores, strict=True)
    )
    groups = read_test_groups(data, is_shared.numpy())
    comparison = compare_paired(old_correct, new_correct, confidence_level, groups, num_resamples, seed)
    left_out = int((~is_shared).sum())
    return comparison | {"higher_is_better": True, "labels": shared, "examples_left_out": left_out}


def find_correct(labels: list[str], scores: Tensor, targets: Tensor, data_labels: list[str]) -> Tensor:
    """Find which examples have the highest of their scores (N, K) at the true label: bool (N,).

    The scores are of the model's `labels`; `targets` (N,) are indices in `data_labels`.
    """
    indices = torch.tensor([labels.index(label) if label in labels else -1 for label in data_labels])
    return scores.argmax(dim=1) == indices[targets]
