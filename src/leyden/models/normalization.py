"""How the images were normalised on which a network was pretrained."""

from collections.abc import Sequence
from typing import NamedTuple


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, for pixels in [0, 1], with which a network was pretrained."""

    mean: Sequence[float]
    std: Sequence[float]

    def of_channels(self, count: int) -> "Normalization | None":
        """Return the mean and standard deviation for images with this many channels; None if they are unknown.

        A grey image is an RGB image with three equal channels: it has the averages of their statistics.
        """
        if count == len(self.mean):
            return self
        if count == 1:
            return Normalization(*([sum(values) / len(values)] for values in self))
        return None


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # as in torchvision.transforms._presets
