"""What networks take, for images as for sequences."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from leyden.models.build import Model
from leyden.models.image_model import ImageModel


def inputs_of(module: Model, batch: Any) -> tuple[Tensor, ...]:
    """Give what a model's network takes of images uint8 (N, H, W, C), or of padded sequences."""
    with torch.no_grad():
        if isinstance(module, ImageModel):
            return (module.preprocess(torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2)).contiguous(),)
        values, lengths = map(torch.from_numpy, batch)
        return module.preprocess(values, lengths), lengths
