"""What a kind of input must provide to be explained; images and sequences each implement it once."""

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

    def attribute(self, method: str, batch: Batch, randomised: bool = False) -> Tensor:
        """Attribute the logits of the targets, of the model or of its copy with random weights.

        Returns:
            float32 maps.

        Raises:
            NotApplicableError: if the method's maps would not be valid for this model.
        """

    def deletion_insertion_auc(self, batch: Batch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Delete and insert parts in the order of maps, the highest values first, and follow each target's probability.

        Returns:
            Areas under the two curves, (N,) in [0, 1].

        Source: Petsiuk et al., "RISE", 2018, section 4.
        """

    def similarity(self, batch: Batch, maps: Tensor, other_maps: Tensor) -> float:
        """Return the mean absolute rank correlation of two sets of maps, in [0, 1]."""

    def extra_metrics(self, method: str, batch: Batch, maps: Tensor) -> dict[str, float]:
        """Compute the metrics that only this kind of input has."""

    def describe_layer(self, method: str) -> str:
        """Return which layer a method reads, as a suffix to its verdict's reason; empty where that was no choice."""

    def arrays(self, batch: Batch) -> dict[str, np.ndarray]:
        """Return the examples as they are stored beside their maps."""

    def draw(self, path: Path, batch: Batch, row: int) -> None:
        """Draw an example of the batch as a PNG."""

    def draw_map(self, path: Path, batch: Batch, row: int, values: np.ndarray, method: str) -> None:
        """Draw an example of the batch with its map by some method as a PNG."""
