"""Logits of segmentation: each pixel belongs to one class."""

import math
from collections.abc import Sequence

import numpy as np

from leyden.imaging.mask_classes import IGNORED, Colour, MaskClass, from_hex, make_palette
from leyden.outputs.reader import OutputReader, Row
from leyden.statistics.boundaries import boundary_counts, boundary_measures
from leyden.statistics.measures import AnyMeasure, defined_mean
from leyden.statistics.segmentation import iou, pixel_counts, segmentation_measures
from leyden.trust.description import is_list_of

BOUNDARY_TOLERANCE = 0.0075  # of the image's diagonal, as in Csurka et al., 2013; at least a pixel


class SegmentationReader(OutputReader):
    """Reads logits (N, K, H, W); targets are class indices uint8 (N, H, W), 255 where a pixel is of no class."""

    name = "segmentation"
    noun = "classes"
    target_noun = "mask"
    verb = "segments"
    is_dense = True
    headline = "mean_iou"
    error_noun = "1 - IoU, the mean over the image's classes"

    def __init__(
        self,
        labels: Sequence[str],
        temperature: float = 1.0,
        values: Sequence[int | None] | None = None,
        palette: Sequence[str] | None = None,
        ignore_value: int | None = IGNORED,
        pixel_counts: Sequence[int] | None = None,
    ) -> None:
        """Store the facts of the task, which `leyden.tasks.segmentation` describes.

        Raises:
            ValueError: if there is not one colour `#rrggbb` for each class.
        """
        super().__init__(labels, temperature)
        if palette is not None and not is_list_of(str, palette, len(self.labels)):
            raise ValueError(f"a palette that does not fit {len(self.labels)} classes")
        self.values, self.ignore_value = values, ignore_value
        self.palette: list[Colour] = list(map(from_hex, palette or ())) or make_palette(
            [MaskClass(None, label) for label in self.labels]
        )

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1).astype(np.uint8)

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return 1 - IoU, the mean over the classes that an image shows or is predicted to show."""
        return 1 - defined_mean(iou(np.moveaxis(self._count_pixels(self.decide(outputs), targets), 1, 0)))

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the fraction of the pixels that have the same class."""
        return (self.decide(outputs) == self.decide(others)).mean(axis=(1, 2))

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        predictions = self.decide(outputs)
        counts = self._count_pixels(predictions, targets)
        tolerance_px = max(1.0, BOUNDARY_TOLERANCE * math.hypot(*targets.shape[1:]))
        boundaries = [
            boundary_counts(prediction, target, len(self.labels), tolerance_px, IGNORED)
            for prediction, target in zip(predictions, targets, strict=True)
        ]
        return [
            *segmentation_measures(counts[:, 0], counts[:, 1], counts[:, 2], self.labels),
            *boundary_measures(np.reshape(boundaries, (-1, 4, len(self.labels))), self.labels),
        ]

    def _count_pixels(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the pixels of each class that are correct, predicted and actual, (N, 3, K)."""
        counts = [
            pixel_counts(prediction, target, len(self.labels), IGNORED)
            for prediction, target in zip(predictions, targets, strict=True)
        ]
        return np.reshape(counts, (-1, 3, len(self.labels)))

    def columns(self, limit: int) -> list[str]:
        return [f"share_{label}" for label in self.labels]

    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        return self._share_rows(self.decide(outputs), "")

    def target_rows(self, targets: np.ndarray) -> list[Row]:
        return self._share_rows(targets, "true_")

    def _share_rows(self, masks: np.ndarray, prefix: str) -> list[Row]:
        """Return the share of each class in the pixels of masks; ignored pixels are part of the whole."""
        return [
            {f"{prefix}share_{label}": f"{(mask == index).mean():.6f}" for index, label in enumerate(self.labels)}
            for mask in masks
        ]

    def explained_labels(self, outputs: np.ndarray) -> list[list[int]]:
        """Return the class that most pixels have, besides the first, which is the background; the first if all have."""
        classes = np.arange(1, len(self.labels))[:, None, None]
        counts = (self.decide(outputs)[:, None] == classes).sum(axis=(2, 3))
        return [[label] for label in np.where(counts.any(axis=1), counts.argmax(axis=1) + 1, 0).tolist()]


READER = SegmentationReader
