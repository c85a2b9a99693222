"""The interface for explaining a model of one kind of input, implemented for images and for sequences."""

from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from leyden.stages.explain.batch import Batch


class Explainer(Protocol):
    """Attribute a model's predictions to parts of its inputs, evaluate the maps, and draw them.

    Maps have a value per pixel (N, H, W), or per time step (N, T).
    """

    @property
    def seed(self) -> int:
        """Seed of random maps, and of methods and metrics that draw random numbers."""

    def map_shape(self, batch: Batch) -> tuple[int, ...]:
        """Return the shape of a batch's maps."""

    def attribute(self, method: str, batch: Batch) -> Tensor:
        """Attribute the explained outputs of the targets: float32 maps.

        Raises:
            NotApplicableError: if the method's maps would not be valid for this model.
        """

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return `faithfulness.deletion_insertion_auc` in the order of maps, the highest values first."""

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        """Return the mean absolute rank correlation of two sets of maps, in [0, 1]."""

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        """Compute the metrics that only this kind of input has."""

    def describe_layer(self, method: str) -> str:
        """Return which layer a method reads, as a suffix to its verdict's reason; empty if it does not choose one."""

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        """Return the examples as they are stored beside their maps."""

    def draw(self, path: Path, batch: Batch, row: int, values: np.ndarray | None = None, method: str = "") -> None:
        """Draw an example of the batch as a PNG, with its map by a method if `values` are given."""
