"""A guard for strided 1 x 1 convolutions of few channels, whose gradient on CPUs is wrong."""

from typing import Any

import torch
from torch import Tensor, nn

VECTOR_LENGTH = 16  # float32 values in the longest vector of a CPU


def apply_onednn_workaround(network: nn.Module) -> None:
    """Keep strided 1 x 1 convolutions of fewer input channels than a vector has in NCHW order.

    In NHWC order oneDNN computes a wrong gradient of their weights, another one each time, and writes into other memory (torch 2.13,
    AVX2, fewer than 8 channels): trainings cannot be repeated, or crash.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035
    """
    for part in network.modules():
        if (
            isinstance(part, nn.Conv2d)
            and part.kernel_size == (1, 1)
            and max(part.stride) > 1
            and part.in_channels < VECTOR_LENGTH
        ):
            part.weight.data = part.weight.data.clone(memory_format=torch.contiguous_format)
            part.register_forward_pre_hook(use_nchw)


def use_nchw(convolution: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)
