"""Multi-label classification: each example has any number of the labels, or none."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from leyden.errors import UserError
from leyden.tasks.targets import LossOptions, TargetFile, TargetSource, TargetSummary
from leyden.tasks.task import NETWORKS, Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchmetrics import Metric, MetricCollection

MIN_EXAMPLES = 20  # of a label, below which little can be learned or measured
MAX_NAMED = 5  # labels or pairs in a warning


class Multilabel(Task):
    """Predicts which labels an example has: logits (B, K), binary cross-entropy. Targets are 0 or 1, uint8 (N, K).

    Each label has its own temperature, and its own threshold of the calibrated probability, both found on the
    validation split.
    """

    name = "multilabel"
    noun = "labels"
    columns = ("labels",)
    networks = NETWORKS
    can_be_empty = True
    can_mix = True

    def __init__(
        self,
        labels: Sequence[str],
        temperatures: Sequence[float] | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        """Store what is known about the labels.

        Args:
            labels: Name of each label.
            temperatures: What each label's logit is divided by for a calibrated probability.
            thresholds: The probability from which on each label is predicted, in (0, 1).
        """
        super().__init__(labels)
        self.temperatures, self.thresholds = temperatures, thresholds

    @classmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Multilabel":
        labels = sorted({label for text in texts for label in parse(text)})
        if not labels:
            raise UserError("expected labels, separated by ;, in the column labels; got none; fill it in")
        return cls(labels)

    def inspect(self, text: str, file: TargetFile) -> TargetSummary:
        return TargetSummary(labels := parse(text), ";".join(labels))

    def strata(self, texts: Sequence[str]) -> list[str]:
        """Return the rarest label of each example, empty without any."""
        counts = count_labels(texts)
        return [min(parse(text), key=lambda label: (counts[label], label), default="") for text in texts]

    def find_issues(self, texts: Sequence[str]) -> list[str]:
        counts, num_unlabelled = count_labels(texts), sum(not parse(text) for text in texts)
        rows_of, by_look, by_rows = defaultdict(list), defaultdict(list), defaultdict(list)
        for row, text in enumerate(texts):
            for label in parse(text):
                rows_of[label].append(row)
        for label in self.labels:
            look = "".join(filter(str.isprintable, label.casefold()))
            by_look[re.sub(r"[\s_-]", "", look)].append(label)
            by_rows[tuple(rows_of[label])].append(label)
        issues = {
            "labels whose names look alike": [
                " and ".join(map(repr, names)) for names in by_look.values() if len(names) > 1
            ],
            f"labels with fewer than {MIN_EXAMPLES} examples": [
                f"{label} ({counts[label]})" for label in self.labels if counts[label] < MIN_EXAMPLES
            ],
            "labels that always occur together": [
                " and ".join(names) for rows, names in by_rows.items() if len(names) > 1 and rows
            ],
            "labels that every example has": [label for label in self.labels if counts[label] == len(texts)],
            "examples without any label": [f"{num_unlabelled} of {len(texts)}"] * bool(num_unlabelled),
        }
        return [f"{issue}: {shorten(found)}" for issue, found in issues.items() if found]

    def encode(self, text: str, file: TargetFile) -> np.ndarray:
        found = set(parse(text))
        return np.array([label in found for label in self.labels], np.uint8)

    @property
    def dtype(self) -> str:
        return "uint8"

    def rows_with(self, targets: np.ndarray, index: int) -> np.ndarray:
        return np.flatnonzero(targets[:, index])

    def facts(self) -> dict[str, Any]:
        facts = {"temperatures": self.temperatures, "thresholds": self.thresholds}
        return {name: list(values) for name, values in facts.items() if values}

    def make_loss(self, options: LossOptions) -> "nn.Module":
        """Return the loss; class weights apply to the examples that have a label, not to those that lack it."""
        from leyden.tasks.binary_cross_entropy import BinaryCrossEntropy
        from leyden.tasks.cross_entropy import weigh_classes

        weights = weigh_classes(options.class_weights, self.labels, options.class_counts)
        return BinaryCrossEntropy(weights, options.label_smoothing or 0.0)

    def make_scores(self, prefix: str) -> "MetricCollection":
        """Return the loss, and macro F1 at a probability of 0.5."""
        import torch
        from torchmetrics import Metric, MetricCollection
        from torchmetrics.classification import BinaryF1Score, MultilabelF1Score
        from torchmetrics.wrappers import LambdaInputTransformer

        from leyden.tasks.binary_cross_entropy import BinaryCrossEntropy
        from leyden.tasks.mean_score import MeanScore

        count = len(self.labels)
        f1 = MultilabelF1Score(count, average="macro") if count > 1 else BinaryF1Score()
        scores: dict[str, Metric | MetricCollection] = {
            "loss": MeanScore(BinaryCrossEntropy(None, 0.0)),
            # Left to itself, torchmetrics takes a batch of logits that lie between 0 and 1 for probabilities.
            "f1": LambdaInputTransformer(f1, torch.sigmoid),
        }
        return MetricCollection(scores, compute_groups=False, prefix=prefix)

    def make_calibration(self) -> "Metric":
        from leyden.tasks.label_calibration import LabelCalibration

        return LabelCalibration()

    def describe_calibration(self, values: "Tensor") -> dict[str, Any]:
        temperatures, thresholds = values.reshape(2, -1).tolist()
        return {"task": Multilabel(self.labels, temperatures, thresholds).describe()}

    def distance(self, outputs: "Tensor", others: "Tensor", temperature: float) -> "Tensor":
        """Return the mean divergence of the labels' own distributions, over having a label and lacking it."""
        from torch import stack, zeros_like

        student, teacher = (stack([logits, zeros_like(logits)], dim=1) for logits in (outputs, others))
        return super().distance(student, teacher, temperature)


def parse(text: str) -> list[str]:
    """Return the different labels in a text that separates them by `;`, in alphabetical order."""
    return sorted({name.strip() for name in text.split(";")} - {""})


def count_labels(texts: Sequence[str]) -> Counter[str]:
    return Counter(label for text in texts for label in parse(text))


def shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


TASK = Multilabel
