"""A model with a value for each pixel: the darkest and the brightest pixels are its two classes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from leyden.outputs.reader import OutputReader, Row
from leyden.statistics.measures import AnyMeasure, mean_measure

SIZE = (6, 8)


class PixelReader(OutputReader):
    """Reads logits (N, 2, H, W) of dark and bright pixels."""

    name = "pixels"
    noun = "classes"
    verb = "segments"
    is_dense = True
    headline = "pixel_accuracy"
    error_noun = "wrong pixels"
    palette: Sequence[tuple[int, int, int]] = [(0, 0, 0), (255, 160, 0)]

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.argmax(axis=1).astype(np.uint8)

    def errors(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return (self.decide(outputs) != targets).mean(axis=(1, 2))

    def agreement(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        return (self.decide(outputs) == self.decide(others)).mean(axis=(1, 2))

    def measures(self, outputs: np.ndarray, targets: np.ndarray) -> list[AnyMeasure]:
        return [mean_measure("pixel_accuracy", 1 - self.errors(outputs, targets), True, (0, 1))]

    def columns(self, limit: int) -> list[str]:
        return ["share_dark", "share_bright"]

    def rows(self, outputs: np.ndarray, limit: int) -> list[Row]:
        bright = self.decide(outputs).mean(axis=(1, 2))
        return [{"share_dark": f"{1 - share:.6f}", "share_bright": f"{share:.6f}"} for share in bright]

    def target_rows(self, targets: np.ndarray) -> list[Row]:
        return [{} for _ in targets]

    def explained_labels(self, outputs: np.ndarray) -> np.ndarray:
        return np.zeros(len(outputs), np.int64)

    def response(self, explained: Tensor) -> Tensor:
        return explained


class PixelModel:
    """Maps grey images of 6x8 pixels to logits; a black image has NaN."""

    labels, channels, image_size = ("dark", "bright"), 1, SIZE

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []
        self.input = {"channels": 1, "image_size": list(SIZE)}
        self.spec = {"input": self.input, "labels": ["dark", "bright"]}

    def __call__(self, images: Tensor) -> Tensor:
        self.batch_sizes.append(len(images))
        pixels = images.float() - 127.5
        pixels[images.flatten(1).amax(1) == 0] = torch.nan
        return torch.cat([-pixels, pixels], dim=1)
