"""The epoch whose weights are published: why it was chosen, and warnings where the choice is doubtful."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

ACCURACY = "val/accuracy"
Row = Mapping[str, str]  # of curves.csv


class KeptEpoch(NamedTuple):
    """The reason for the choice, and warnings, as sentences without a full stop; epochs are counted from 1."""

    reason: str
    warnings: list[str]


def describe_kept_epoch(
    rows: Sequence[Row], kept: Row, monitor: str | None, mode: str, num_warmup_steps: float, val_counts: Sequence[int]
) -> KeptEpoch:
    """Describe the choice of an epoch.

    Args:
        rows: All epochs' scores.
        kept: The row of the epoch that is published.
        monitor: The score that decided, in the direction `mode` (min or max); none keeps the last epoch.
        num_warmup_steps: Optimizer steps in which the learning rate rose.
        val_counts: Validation examples of each class; empty if unknown.
    """
    name = epoch_name(kept)
    reason = f"{name} of {len(rows)} is the last"
    if monitor:
        reason = f"{name} of {len(rows)} has the {'lowest' if mode == 'min' else 'highest'} {monitor}"
        reason += f" ({float(kept[monitor]):.4f})" if kept.get(monitor) else ""
    warnings = []
    if int(kept["step"]) <= num_warmup_steps:
        warnings.append(
            f"{name}, whose weights are kept, ends within the warm-up of the learning rate (step {kept['step']} of "
            f"{num_warmup_steps:.0f}): the network has hardly been trained; "
            "try another checkpoint.monitor, more epochs or a smaller batch size"
        )
    if kept.get(ACCURACY) and sum(val_counts):
        warnings += doubt_accuracy(rows, kept, monitor or "", val_counts)
    return KeptEpoch(reason, warnings)


def doubt_accuracy(rows: Sequence[Row], kept: Row, monitor: str, val_counts: Sequence[int]) -> list[str]:
    """Warn if the kept epoch guesses no better than a constant, or clearly worse than another epoch."""
    name, accuracy, num_examples = epoch_name(kept), float(kept[ACCURACY]), sum(val_counts)
    majority = max(val_counts) / num_examples
    warnings = []
    if accuracy_low(accuracy, num_examples) <= majority:
        warnings.append(
            f"{ACCURACY} {accuracy:.4f} of {name}, whose weights are kept, is not clearly better than always "
            f"predicting the most frequent label ({majority:.4f} of {num_examples:,} validation examples); "
            "try pretrained weights, more epochs or more examples"
        )
    best = max((row for row in rows if row.get(ACCURACY)), key=lambda row: float(row[ACCURACY]))
    if "loss" in monitor and accuracy_low(float(best[ACCURACY]), num_examples) > accuracy:
        warnings.append(
            f"{epoch_name(best)} has a {ACCURACY} of {float(best[ACCURACY]):.4f}, {name}, whose weights are kept, of "
            f"{accuracy:.4f}: {monitor} chose it; set checkpoint.monitor: {ACCURACY} to keep the other"
        )
    return warnings


def epoch_name(row: Row) -> str:
    return f"epoch {int(row['epoch']) + 1}"


def accuracy_low(accuracy: float, num_examples: int) -> float:
    """Return the lower end of the accuracy's interval at about 95%.

    Source: Agresti and Coull, "Approximate is better than exact for interval estimation of binomial proportions", 1998:
    two successes and two failures are added, so that 2 of 2 correct are not certain.
    """
    accuracy, num_examples = (accuracy * num_examples + 2) / (num_examples + 4), num_examples + 4
    return accuracy - 2 * sqrt(accuracy * (1 - accuracy) / num_examples)
