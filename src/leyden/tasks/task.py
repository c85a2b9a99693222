"""The interface of a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from leyden.errors import UserError
from leyden.tasks.targets import LossOptions, TargetFile, TargetSource, TargetSummary

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torchmetrics import Metric, MetricCollection

# The networks of tasks with a vector of outputs for each example.
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "images": {"class_path": "leyden.models.ResNet", "init_args": {"width": 32, "depths": [1, 1, 1]}},
    "sequences": {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 128}},
}


class Task(ABC):
    """What a model learns: how targets are read, packed and split, what the network must return, and the loss.

    A task is built from its labels (the names of the model's outputs) and from facts, plain values which
    `leyden prepare` and `leyden fit` find and which every model file holds. Stages ask the task; none asks which task
    it is. What outputs mean after the training is in `leyden.outputs`: an edit there retrains nothing.

    Shapes: N or B examples, K outputs. Outputs are what a model returns for raw examples: (B, K), or (B, K, H, W) for a
    value per pixel. Targets are as they are packed.
    """

    name: ClassVar[str]
    noun: ClassVar[str]  # what the labels are: classes, labels, targets
    columns: ClassVar[tuple[str, ...]]  # of a manifest that hold the target; `target_*` stands for several
    folders: ClassVar[tuple[str, str] | None] = None  # of images and of targets with the same file stems
    label_files: ClassVar[tuple[str, ...]] = ()  # of the data folder, which describe the labels
    has_class_folders: ClassVar[bool] = False  # folders may stand for the targets
    can_be_empty: ClassVar[bool] = False  # a target may be an empty text
    has_one_label: ClassVar[bool] = False  # each example has exactly one of the labels, as its index: int64 (N,)
    is_dense: ClassVar[bool] = False  # a target has a value for each pixel
    palette: Sequence[str] | None = None  # the colour in which each label is drawn, `#rrggbb`, if `is_dense`
    can_mix: ClassVar[bool] = False  # a mixture of two targets is a target
    networks: ClassVar[Mapping[str, Mapping[str, Any]]]  # the default network for images and for sequences
    monitor: ClassVar[str] = "val/loss"  # by which epochs are compared
    mode: ClassVar[str] = "min"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)

    # Preparation, in numpy

    @classmethod
    @abstractmethod
    def from_texts(cls, texts: Sequence[str], source: TargetSource) -> "Task":
        """Find the labels in all targets of a data set, which are texts: several cells are joined by `;`.

        Raises:
            UserError: if a target is not valid, or the targets leave nothing to learn.
        """

    def inspect(self, text: str, file: TargetFile) -> TargetSummary:
        """Return what is known of a target before it is packed.

        Raises:
            UnusableTargetError: if the target does not fit its image.
        """
        return TargetSummary(self.labels, text)

    def strata(self, texts: Sequence[str]) -> list[str]:
        """Return the stratum of each example: every split gets about its share of each."""
        return [""] * len(texts)

    def find_issues(self, texts: Sequence[str]) -> list[str]:
        """Return warnings about the targets, as clauses."""
        return []

    def find_leaks(self, texts: Sequence[str], clues: Mapping[str, np.ndarray]) -> list[str]:
        """Return warnings about clues, such as the images' heights (N,), from which targets could be told."""
        return []

    @abstractmethod
    def encode(self, text: str, file: TargetFile) -> np.ndarray:
        """Return a target as it is packed."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The type of packed targets."""

    def target_shape(self, stored_size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of one packed target."""
        return (len(self.labels),)

    @abstractmethod
    def rows_with(self, targets: np.ndarray, index: int) -> np.ndarray:
        """Return the rows of some examples that show a label, given packed targets and the label's index."""

    def fitted(self, targets: np.ndarray) -> "Task":
        """Return the task with what it learns from the training targets."""
        return self

    def facts(self) -> dict[str, Any]:
        """Return the constructor's arguments besides the labels, as plain values."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return the entry `task` of a description."""
        return {"name": self.name, **self.facts()}

    # Training, in torch

    def make_output(self) -> "nn.Module":
        """Return the module that turns the network's outputs into the model's."""
        from torch import nn

        return nn.Identity()

    @abstractmethod
    def make_loss(self, options: LossOptions) -> "nn.Module":
        """Return a module that maps the model's outputs and targets to the mean loss, float32 ().

        Raises:
            UserError: for options that the task does not have.
        """

    @property
    def shape_legend(self) -> str:
        """The shape of outputs in words."""
        return "(batch size, number of labels" + (", height, width)" if self.is_dense else ")")

    def output_shape(self, targets: "Tensor") -> tuple[int, ...]:
        """Return the shape that the network's outputs must have for a batch of targets."""
        return (len(targets), len(self.labels), *(targets.shape[1:] if self.is_dense else ()))

    @classmethod
    def default_network(cls, for_sequences: bool) -> dict[str, Any]:
        """Return `class_path` and `init_args` of the network that is trained if none is chosen.

        Raises:
            UserError: if the task is not for this kind of input.
        """
        kind = "sequences" if for_sequences else "images"
        if kind not in cls.networks:
            raise UserError(f"expected {', '.join(cls.networks)} for {cls.name}; got {kind}; choose another task")
        return dict(cls.networks[kind])

    @abstractmethod
    def make_scores(self, prefix: str) -> "MetricCollection":
        """Return the metrics that are logged during training; each is updated with outputs and targets."""

    def make_calibration(self) -> "Metric | None":
        """Return a metric, updated with the outputs and targets of validation, from which decisions are calibrated."""
        return None

    def describe_calibration(self, values: "Tensor") -> dict[str, Any]:
        """Return the entries of the model's description that follow from what the calibration has computed."""
        return {}

    def sampling_weights(self, targets: np.ndarray) -> np.ndarray:
        """Return weights (N,) by which training examples are drawn if `data.sampler` is balanced.

        Raises:
            UserError: if the targets have no kinds that could be balanced.
        """
        raise UserError(
            f"expected data.sampler: uniform for {self.name}, whose targets have no classes to balance; got balanced"
        )

    def distance(self, outputs: "Tensor", others: "Tensor", temperature: float) -> "Tensor":
        """Return how far a student's outputs are from its teacher's, of the same shape, for distillation: float32 ().

        It is T^2 KL(others || outputs) of the distributions over the labels (in each pixel), softened by the
        temperature T; at 0, outputs are equal.

        Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.
        """
        from torch.nn import functional as F

        log_q, log_p = ((each.float() / temperature).log_softmax(dim=1) for each in (outputs, others))
        divergence = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
        return temperature**2 * divergence / log_q[:, 0].numel()

    def soft_targets(self, targets: "Tensor") -> "Tensor":
        """Return targets as float32 (B, K) that can be mixed; only if `can_mix`."""
        return targets.float()
