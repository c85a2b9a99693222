"""A workaround for oneDNN's wrong gradients of strided 1 x 1 convolutions with few channels, on CPUs."""

from typing import Any

import torch
from torch import Tensor, nn

VECTOR_LENGTH = 16  # float32 values in the longest SIMD register of a CPU (AVX-512)


def apply_onednn_workaround(network: nn.Module) -> None:
    """Keep strided 1 x 1 convolutions with fewer input channels than a SIMD register holds in NCHW order, in place.

    In NHWC order oneDNN computes a wrong gradient of their weights, a different one each time, and writes out of
    bounds (torch 2.13, AVX2, fewer than 8 channels): trainings are not reproducible, or crash.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and max(module.stride) > 1
            and module.in_channels < VECTOR_LENGTH
        ):
            module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
            module.register_forward_pre_hook(convert_to_nchw)


def convert_to_nchw(convolution: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)
