"""Score a model on the test split: every prediction kept, every headline figure with an interval, and where it fails."""

from pathlib import Path
from typing import Any

import numpy as np
from torchmetrics.functional.classification import multiclass_confusion_matrix

from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.files import replaced_folder, write_json
from leyden.files.outputs import check_output, discard, is_made_by, resolved
from leyden.models.image_model import ImageModel
from leyden.runtimes.load import Predictor, load
from leyden.stages.evaluate.abstention import abstain
from leyden.stages.evaluate.against import compare_with, predict_other, verdict
from leyden.stages.evaluate.gate import check_names, failures
from leyden.stages.evaluate.metrics import intervals_of, score
from leyden.stages.evaluate.mistakes import (
    CONFUSIONS,
    MISTAKES,
    SUSPECTS,
    list_confusions,
    list_mistakes,
    list_suspects,
)
from leyden.stages.evaluate.plots import plot_confusion, plot_reliability, plot_robustness
from leyden.stages.evaluate.predictions import Predictions, check_labels, predict_split, write_predictions
from leyden.stages.evaluate.robustness import ATTACKS, check_kinds, list_accuracies, means
from leyden.stages.evaluate.robustness import COLUMNS as ACCURACIES
from leyden.stages.evaluate.slices import COLUMNS as SLICES
from leyden.stages.evaluate.slices import list_slices
from leyden.stages.evaluate.tables import Row, class_table, reliability, write_rows
from leyden.statistics.bootstrap import check_level


def evaluate(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/evaluate"),
    batch_size: int = 256,
    top_k: int = 3,
    num_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
    abstain_precision: float = 0.99,
    robustness: list[str] = ["noise", "blur", "contrast", "jpeg", "rotation", "fgsm", "pgd"],
    require: dict[str, float] | None = None,
    against: Path | None = None,
    trust: bool = False,
) -> None:
    """Predict the test split; write predictions, scores with intervals, and plots.

    Args:
        model: A checkpoint or an exported file.
        data: Where `leyden prepare` wrote.
        out: Where predictions.csv, metrics.json, the other tables and the plots go.
        batch_size: Examples at a time.
        top_k: A prediction also counts as right in `top_k_accuracy` if the label is among this many best classes.
        num_resamples: Bootstrap resamples behind each interval.
        confidence_level: Share of resamples inside an interval, in (0, 1).
        seed: Of the bootstrap.
        abstain_precision: Share of answers that are to be right, in (0, 1]; less sure ones are withheld, from a confidence on that the
            validation split tells.
        robustness: Corruptions and attacks that the accuracy is measured under, each at three strengths; an empty list leaves it out.
        require: Least values of figures in metrics.json (most, of losses and errors) without which the stage fails; the figures are
            then in a folder beside `out` that ends in -failed.
        against: An earlier model, exported file or predictions.csv; comparison.json tells whether the difference is more than noise.
        trust: Load files even if they run code (TorchScript, AOTInductor's library, networks that are not of leyden, torchvision or
            timm); files that this project has published do not need it.
    """
    inputs = [model, data, *([against] if against else [])]
    check_output(out, "evaluate", inputs)
    beside = out.with_name(f"{out.name}-failed")
    if require or is_made_by(resolved(beside), "evaluate"):  # else it is the user's, and left alone
        check_output(beside, "evaluate", inputs)
    check_level(confidence_level, "evaluate")
    if not 0 < abstain_precision <= 1:
        raise UserError(
            f"evaluate.abstain_precision must lie in (0, 1]; got {abstain_precision}; set it in configs/evaluate.yaml"
        )
    check_kinds(robustness)
    predictor = load(model, trust=trust)
    check_labels(predictor, read_report(data)["labels"], model)
    test = predict_split(predictor, data, "test", batch_size)
    validation = predict_split(predictor, data, "val", batch_size)
    metrics = measure(test, top_k, num_resamples, confidence_level, seed)
    metrics |= {"temperature": getattr(predictor, "temperature", 1.0)} | abstain(
        validation, test, abstain_precision, confidence_level
    )
    accuracies = measure_robustness(predictor, data, robustness, batch_size, confidence_level)
    metrics |= means(accuracies)
    check_names(require or {}, metrics)
    metrics |= {"required": require} if require else {}
    slices = list_slices(test, data, confidence_level)
    suspects = [row for found, split in ((test, "test"), (validation, "val")) for row in list_suspects(found, split)]
    other = predict_other(against, data, test, batch_size, trust) if against else None
    comparison = compare_with(other, test, top_k, num_resamples, confidence_level, seed) if other else None
    failed = failures(require or {}, metrics)
    with replaced_folder(beside if failed else out, "evaluate") as folder:
        write(folder, test, metrics)
        write_errors(folder / "errors", test, slices, suspects)
        write_robustness(folder / "robustness", accuracies, metrics["accuracy"])
        if comparison:
            write_json(folder / "comparison.json", comparison)
    if not failed:
        discard(beside, "evaluate")
    print(summary(metrics, slices, suspects))
    if against and comparison:
        print(verdict(comparison, against))
    if failed:
        raise UserError(
            f"expected {'; '.join(failed)}, on {len(test.labels):,} test examples; "
            f"look at {beside}, and train a better model or lower evaluate.require in configs/evaluate.yaml"
        )


def measure(test: Predictions, top_k: int, num_resamples: int, confidence_level: float, seed: int) -> dict[str, Any]:
    """Compute the headline figures with their intervals, and what they stand on."""
    metrics: dict[str, Any] = score(test, top_k)
    metrics |= intervals_of(test, metrics, top_k, num_resamples, confidence_level, seed)
    return metrics | {
        "examples": len(test.labels),
        "errors": int((~test.is_right).sum()),
        "confidence_level": confidence_level,
    }


def write(folder: Path, test: Predictions, metrics: dict[str, Any]) -> None:
    """Write predictions, tables and plots."""
    level = metrics["confidence_level"]
    confusion = confusion_of(test)
    bins = reliability(test.confidence, test.is_right)
    write_predictions(folder / "predictions.csv", test)
    write_rows(folder / "per_class.csv", class_table(confusion, test.names, level))
    write_rows(folder / "calibration.csv", bins)
    write_json(folder / "metrics.json", metrics)
    plot_confusion(folder / "confusion.png", confusion, test.names)
    plot_reliability(folder / "calibration.png", bins)


def summary(metrics: dict[str, Any], slices: list[Row], suspects: list[Row]) -> str:
    weak = [
        f"{row['by']} {row['slice']} ({row['accuracy']:.1%} of {row['count']})" for row in slices if row["falls_short"]
    ]
    told = (
        f"falls short on {', '.join(weak[:5])}"
        if weak
        else f"no slice of {len(slices)} falls short of the others by more than noise"
    )
    return (
        f"evaluate: accuracy {metrics['accuracy']:.4f} [{metrics['accuracy_low']:.4f}, {metrics['accuracy_high']:.4f}] "
        f"on {metrics['examples']:,} test examples ({metrics['errors']} errors), calibration error {metrics['calibration_error']:.4f}; "
        f"answers {metrics['abstain_coverage']:.1%} of them within abstain_precision\n"
        f"evaluate: {told}; {len(suspects)} labels of test and validation split may be wrong (errors/suspects.csv)"
    )


def measure_robustness(
    predictor: Predictor, data: Path, kinds: list[str], batch_size: int, confidence_level: float
) -> list[Row]:
    """Measure what can be measured of this model, and say what cannot."""
    if not hasattr(predictor, "image_size"):
        return say_left_out(kinds, "are of images")
    if not isinstance(predictor, ImageModel):
        say_left_out(attacks := [kind for kind in kinds if kind in ATTACKS], "need a checkpoint's gradients")
        kinds = [kind for kind in kinds if kind not in attacks]
    return list_accuracies(predictor, data, kinds, batch_size, confidence_level)


def say_left_out(kinds: list[str], reason: str) -> list[Row]:
    if kinds:
        print(f"evaluate: robustness without {', '.join(kinds)}, which {reason}")
    return []


def write_errors(folder: Path, test: Predictions, slices: list[Row], suspects: list[Row]) -> None:
    folder.mkdir()
    write_rows(folder / "mistakes.csv", list_mistakes(test), MISTAKES)
    write_rows(folder / "confusions.csv", list_confusions(confusion_of(test), test.names), CONFUSIONS)
    write_rows(folder / "suspects.csv", suspects, SUSPECTS)
    write_rows(folder / "slices.csv", slices, SLICES)


def write_robustness(folder: Path, accuracies: list[Row], clean: float) -> None:
    folder.mkdir()
    write_rows(folder / "accuracy.csv", accuracies, ACCURACIES)
    if accuracies:
        plot_robustness(folder / "accuracy.png", accuracies, clean)


def confusion_of(found: Predictions) -> np.ndarray:
    """Count pairs of actual (rows) and predicted class: (K, K)."""
    return multiclass_confusion_matrix(found.predicted, found.labels, num_classes=len(found.names)).numpy()
