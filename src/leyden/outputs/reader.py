"""The interface of what a model's outputs mean."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from leyden.statistics.measures import AnyMeasure

if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, str]


class OutputReader(ABC):
    """Reads a model's outputs: decisions, how wrong they are, by what they are scored, and how they are written.

    It is built from the labels (the names of the outputs), the temperature and the facts of the task, which a model
    file holds. It needs numpy only; what explains a model computes with the tensors that it is given.

    Shapes: N examples, K outputs. Outputs are what a model returns for raw examples: float32 (N, K), or (N, K, H, W)
    for a value per pixel. Targets are as they are packed.
    """

    name: ClassVar[str]  # of the task
    noun: ClassVar[str]  # what the labels are: classes, labels, targets
    target_noun: ClassVar[str] = "label"  # what is known of an example: its label, grade, target or mask
    verb: ClassVar[str]  # what a model does with an example, as in "a model that classifies images"
    participle: ClassVar[str] = "predicted"  # what it did with an example, as in "images classified correctly"
    output_name: ClassVar[str] = "logits"  # in exported files
    has_one_label: ClassVar[bool] = False  # outputs are logits of classes (softmax); targets are indices, (N,)
    has_order: ClassVar[bool] = False  # the labels are in an order, of which the headline takes account
    has_label_set: ClassVar[bool] = False  # each example has any number of the labels; targets are 0 or 1, (N, K)
    predicts_numbers: ClassVar[bool] = False  # outputs and targets are numbers in the same units, (N, K)
    is_dense: ClassVar[bool] = False  # outputs and targets have a value for each pixel
    allows_rotation: ClassVar[bool] = False  # a rotated image has the same target
    evidence: ClassVar[tuple[str, str]] = ("for", "against")  # what positive and negative attributions are
    headline: str  # the measure that sums up a model
    chance: float  # the headline of always predicting the same label, if `has_one_label` and it is not the accuracy
    palette: Sequence[tuple[int, int, int]]  # colour of each label, if `is_dense`
    error_noun: str  # what `errors` are, with their unit: "absolute error"
    coverage: ClassVar[float | None] = None  # fraction of true values that predicted intervals should contain

    def __init__(self, labels: Sequence[str], temperature: float = 1.0, **facts: Any) -> None:
        """Store what a model file says about its outputs.

        Raises:
            TypeError: for a fact that the task does not have.
        """
        if facts:
            raise TypeError(f"unknown facts: {', '.join(sorted(facts))}")
        self.labels, self.temperature = list(labels), temperature

    @property
    def label_noun(self) -> str:
        """What one label is: class, label, target."""
        return "class" if self.noun == "classes" else self.noun.removesuffix("s")

    def output_shape(self, image_size: Sequence[int] = ()) -> tuple[int, ...]:
        """Return the shape of one example's outputs, given the height and width of the model's images."""
        return (len(self.labels), *(image_size if self.is_dense else ()))

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of the labels, (N, K); only with `has_one_label` or `has_label_set`."""
        raise NotImplementedError

    @abstractmethod
    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return predictions in the form of targets."""

    @abstractmethod
    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return how wrong each prediction is, float64 (N,): 0 is right, and NaN is unknown, without a true label."""

    @abstractmethod
    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return to what fraction the decisions of two models are the same, float64 (N,) in [0, 1]."""

    def spread(self, outputs: np.ndarray) -> np.ndarray | float:
        """Return the unit of differences between two models' outputs: one number, or float64 (K,).

        By default, it is the standard deviation of the outputs of all examples and labels.
        """
        return float(outputs.std(dtype=np.float64))

    @abstractmethod
    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        """Return what a split is scored by; `headline` names one of them."""

    def unit(self, measure: str) -> str:
        """Return the unit of a measure; empty if it has none."""
        return ""

    @abstractmethod
    def columns(self, limit: int) -> list[str]:
        """Return the columns of a prediction in a table; at most `limit` labels are listed where they are ranked."""

    @abstractmethod
    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        """Return the predictions as rows of `columns`."""

    def to_json(self, row: Row) -> dict[str, Any]:
        """Return a row as JSON holds it: numbers as numbers, sets of labels as lists."""
        return {column: as_number(cell) for column, cell in row.items()}

    @abstractmethod
    def target_rows(self, targets: np.ndarray) -> list[Row]:
        """Return targets as cells, for a table that shows them beside the predictions."""

    def parse_rows(self, rows: Sequence[Row]) -> np.ndarray:
        """Return the outputs that the rows of a table hold, or others that are scored alike.

        Raises:
            ValueError: if the rows do not hold them.
        """
        raise ValueError("the predictions of this task cannot be read from a table")

    def parse_targets(self, rows: Sequence[Row]) -> np.ndarray:
        """Return the targets that rows with the cells of `target_rows` hold.

        Raises:
            ValueError: if they do not hold them.
        """
        raise ValueError("the targets of this task cannot be read from a table")

    @abstractmethod
    def explained_labels(self, outputs: np.ndarray) -> list[list[int]]:
        """Return for each example the labels whose numbers are explained, one or more, the most important first."""

    def reference(self, outputs: "Tensor") -> "Tensor":
        """Return what stays fixed while parts of the inputs are hidden, given the network's outputs for all of them.

        It is the outputs (N, K) or, if they have a value per pixel, the predicted class of each pixel, int64 (N, H, W).
        """
        return outputs.argmax(dim=1) if self.is_dense else outputs

    def explained_outputs(self, outputs: "Tensor", reference: "Tensor") -> "Tensor":
        """Return the network's outputs as a number for each example and label, (N, K), which attributions explain.

        It is the outputs (N, K) or, if they have a value per pixel, the sum of each class's logits over the pixels of
        the reference that are predicted as it: a linear function of the logits.
        """
        return (outputs * class_masks(outputs, reference)).sum(dim=(2, 3)) if self.is_dense else outputs

    def response(self, outputs: "Tensor", reference: "Tensor") -> "Tensor":
        """Return what deletion and insertion curves follow, (N, K) in [0, 1], given the network's outputs.

        It is the probability of each class or, if outputs have a value per pixel, its mean over the pixels of the
        reference that are predicted as it; 0 if there are none.
        """
        probabilities = outputs.softmax(dim=1)
        if not self.is_dense:
            return probabilities
        masks = class_masks(outputs, reference)
        return (probabilities * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1)

    def importance(self, maps: "Tensor") -> "Tensor":
        """Return how much parts of the input matter, by which they are deleted and inserted, given attributions.

        It is the attributions: what is evidence against a label comes last.
        """
        return maps


def class_masks(outputs: "Tensor", classes: "Tensor") -> "Tensor":
    """Return which pixels are of each class, 0 or 1 (N, K, H, W) as outputs, given each pixel's class (N, H, W)."""
    from torch.nn import functional as F

    return F.one_hot(classes, outputs.shape[1]).permute(0, 3, 1, 2)


def as_number(cell: str) -> float | str:
    """Return a cell as a number, if it is one."""
    try:
        return float(cell)
    except ValueError:
        return cell
