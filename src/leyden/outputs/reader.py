"""The interface of what a model's outputs mean."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from leyden.statistics.measures import Measure


class OutputReader(ABC):
    """Reads a model's outputs: decisions, how wrong they are, by what they are scored, and how they are written.

    It is built from the labels (the names of the outputs) and the facts of the task that a model file holds.

    Shapes: N examples, K outputs. Outputs are what a model returns for raw examples: float32 (N, K), or (N, K, H, W)
    for a value per pixel. Targets are as they are packed.
    """

    name: ClassVar[str]  # of the task
    noun: ClassVar[str]  # what the labels are: classes, labels, targets
    verb: ClassVar[str]  # what a model does, as in "classifies images"
    output_name: ClassVar[str] = "logits"  # in exported files
    has_one_label: ClassVar[bool] = False  # each example has exactly one of the labels; targets are indices, (N,)
    is_dense: ClassVar[bool] = False  # outputs and targets have a value for each pixel
    headline: ClassVar[str]  # the measure that sums up a model

    def __init__(self, labels: Sequence[str], **facts: Any) -> None:
        self.labels = list(labels)

    @abstractmethod
    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return predictions in the form of targets."""

    @abstractmethod
    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return how wrong each prediction is, float64 (N,): 0 is right."""

    @abstractmethod
    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return to what fraction the decisions of two models are the same, float64 (N,) in [0, 1]."""

    @abstractmethod
    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[Measure]:
        """Return what a split is scored by; `headline` names one of them."""

    @abstractmethod
    def explained_scalars(self, outputs: Any, decisions: np.ndarray) -> Any:
        """Return the number (N,) that explanations attribute to the input, given outputs as a tensor."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """The columns of a prediction in a table."""

    @abstractmethod
    def rows(self, outputs: np.ndarray) -> list[dict[str, str]]:
        """Return the predictions as rows of `columns`."""

    @abstractmethod
    def target_rows(self, targets: np.ndarray) -> list[dict[str, str]]:
        """Return targets as cells, for a table that shows them beside the predictions."""
