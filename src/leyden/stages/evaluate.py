"""Score a model on the test split: every prediction kept, every headline figure with an interval."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_calibration_error, multiclass_confusion_matrix

from leyden.data.packed import read_examples, read_paths, read_report
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.models.intervals import wilson
from leyden.models.load import Predictor, load, predict_logits

NUM_BINS = 10  # of the reliability diagram


def evaluate(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/evaluate"),
    batch_size: int = 256,
    top_k: int = 3,
    num_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> None:
    """Predict the test split; write predictions, scores with intervals, and plots.

    Args:
        model: A checkpoint or an exported file.
        data: Where `leyden prepare` wrote.
        out: Where predictions.csv, metrics.json, per_class.csv, calibration.csv and the plots go.
        batch_size: Examples at a time.
        top_k: A prediction also counts as right in `top_k_accuracy` if the label is among this many best classes.
        num_resamples: Bootstrap resamples behind each interval.
        confidence_level: Share of resamples inside an interval, in (0, 1).
        seed: Of the bootstrap.
    """
    predictor = load(model)
    examples, truth = read_examples(data, "test")
    check_labels(predictor, read_report(data)["labels"], model)
    logits = predict_logits(predictor, examples, batch_size)
    labels = torch.from_numpy(truth)
    probabilities = logits.softmax(dim=1)
    confusion = multiclass_confusion_matrix(logits, labels, num_classes=len(predictor.labels)).numpy()
    metrics = score(logits, labels, top_k)
    intervals = intervals_of(confusion, num_resamples, confidence_level, seed)
    for name, (low, high) in intervals.items():
        metrics[f"{name}_low"], metrics[f"{name}_high"] = low, high
    metrics |= {"examples": len(labels), "errors": int((logits.argmax(1) != labels).sum()), "confidence_level": confidence_level}
    per_class = class_table(confusion, predictor.labels)
    bins = reliability(probabilities, labels)

    with replaced_folder(out) as folder:
        write_predictions(folder / "predictions.csv", read_paths(data, "test"), labels, probabilities, predictor.labels)
        write_rows(folder / "per_class.csv", per_class)
        write_rows(folder / "calibration.csv", bins)
        write_json(folder / "metrics.json", metrics)
        plot_confusion(folder / "confusion.png", confusion, predictor.labels)
        plot_reliability(folder / "calibration.png", bins)
    print(
        f"evaluate: accuracy {metrics['accuracy']:.4f} [{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}] "
        f"on {len(labels):,} test examples ({metrics['errors']} errors), calibration error {metrics['calibration_error']:.4f}"
    )


def check_labels(predictor: Predictor, labels: list[str], model: Path) -> None:
    if predictor.labels != labels:
        raise UserError(f"expected a model of the labels {', '.join(labels)}; {model} knows {', '.join(predictor.labels)}; train it on this data")


def score(logits: Tensor, labels: Tensor, top_k: int) -> dict[str, float]:
    """Compute the headline figures of logits (N, K) against labels (N,)."""
    num_classes = logits.shape[1]
    confusion = multiclass_confusion_matrix(logits, labels, num_classes=num_classes).numpy()
    figures = {name: float(value[0]) for name, value in confusion_scores(confusion[None]).items()}
    figures[f"top_{top_k}_accuracy"] = float(multiclass_accuracy(logits, labels, num_classes, average="micro", top_k=min(top_k, num_classes)))
    figures["auroc"] = float(multiclass_auroc(logits, labels, num_classes))
    figures["log_loss"] = float(F.cross_entropy(logits, labels))
    figures["calibration_error"] = float(multiclass_calibration_error(logits, labels, num_classes, n_bins=NUM_BINS))
    return figures


def confusion_scores(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Compute accuracy, balanced accuracy and macro F1 of confusion matrices (R, K, K), rows actual, columns predicted.

    A class without an example does not enter the balanced accuracy; one neither present nor predicted does not enter the F1.
    """
    right = np.diagonal(confusions, axis1=1, axis2=2).astype(float)
    actual, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    recall = np.divide(right, actual, out=np.full_like(right, np.nan), where=actual > 0)
    f1 = np.divide(2 * right, actual + predicted, out=np.full_like(right, np.nan), where=actual + predicted > 0)
    return {
        "accuracy": right.sum(axis=1) / confusions.sum(axis=(1, 2)),
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
    }


def intervals_of(confusion: np.ndarray, num_resamples: int, confidence_level: float, seed: int) -> dict[str, tuple[float, float]]:
    """Give intervals of the scores of a confusion matrix (K, K): Wilson's for accuracy, bootstrap percentiles for the others.

    Drawing N examples with replacement is drawing the matrix's cells from a multinomial: no example needs to be touched.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    if not 0 < confidence_level < 1:
        raise UserError(f"evaluate.confidence_level must lie in (0, 1); got {confidence_level}; set it in configs/evaluate.yaml")
    total = int(confusion.sum())
    draws = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=num_resamples)
    tail = (1 - confidence_level) / 2
    scores = confusion_scores(draws.reshape(num_resamples, *confusion.shape))
    intervals = {name: (float(np.quantile(value, tail)), float(np.quantile(value, 1 - tail))) for name, value in scores.items()}
    right = int(np.trace(confusion))
    # Resampling cannot draw an error that was never seen: a perfect score has no bootstrap interval.
    return (intervals if right < total else {}) | {"accuracy": wilson(right, total, confidence_level)}


def class_table(confusion: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and count of each class; a figure without any example to stand on is blank."""
    rows = []
    for index, label in enumerate(labels):
        right, actual, predicted = (int(n) for n in (confusion[index, index], confusion[index].sum(), confusion[:, index].sum()))
        ratios = {"precision": (right, predicted), "recall": (right, actual), "f1": (2 * right, actual + predicted)}
        rows.append({"label": label, "count": actual} | {name: top / bottom if bottom else "" for name, (top, bottom) in ratios.items()})
    return rows


def reliability(probabilities: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Bin predictions by confidence: mean confidence and accuracy of each bin that holds any."""
    confidence, prediction = probabilities.max(dim=1)
    right = (prediction == labels).float()
    bins = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    rows = []
    for number in bins.unique().tolist():
        inside = bins == number
        rows.append({"confidence": float(confidence[inside].mean()), "accuracy": float(right[inside].mean()), "count": int(inside.sum())})
    return rows


def write_predictions(path: Path, paths: list[str], labels: Tensor, probabilities: Tensor, names: list[str]) -> None:
    confidence, prediction = probabilities.max(dim=1)
    rows = zip(paths, labels.tolist(), prediction.tolist(), confidence.tolist(), probabilities.tolist(), strict=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "prediction", "confidence", *(f"score:{name}" for name in names)])
        for image, label, predicted, sure, scores in rows:
            writer.writerow([image, names[label], names[predicted], f"{sure:.6f}", *(f"{value:.6f}" for value in scores)])


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot_confusion(path: Path, confusion: np.ndarray, labels: list[str]) -> None:
    from matplotlib.figure import Figure

    side = min(16.0, 2.5 + 0.45 * len(labels))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="actual", xticks=range(len(labels)), yticks=range(len(labels)), yticklabels=labels)
    axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black")
    figure.savefig(path, dpi=110)


def plot_reliability(path: Path, bins: list[dict[str, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="perfectly calibrated")
    axes.plot([row["confidence"] for row in bins], [row["accuracy"] for row in bins], marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend()
    figure.savefig(path, dpi=110)
