"""Workarounds for oneDNN's wrong gradients of strided convolutions, on CPUs."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

VECTOR_LENGTH = 16  # float32 values in the longest SIMD register of a CPU (AVX-512)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def apply_onednn_workarounds(network: nn.Module) -> None:
    """Change how strided convolutions are computed where oneDNN computes wrong gradients of their weights, in place.

    1 x 1 convolutions with fewer input channels than a SIMD register holds: in NHWC order the gradient differs from
    run to run, and oneDNN writes out of bounds (torch 2.13, AVX2, fewer than 8 channels). They stay in NCHW order.

    Inputs shorter than the stride, in bfloat16 (torch 2.13, AVX-512): the gradients of the weights beyond the input's
    end are uninitialised memory, often NaN. They are computed in float32, at little cost for so small an input.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035 (the first)
    """
    for module in network.modules():
        if not (isinstance(module, Convolution) and max(module.stride) > 1):
            continue
        module.forward = partial(forward_strided, module)  # type: ignore[method-assign]
        is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        if is_pointwise and module.in_channels < VECTOR_LENGTH:
            module.weight.data = module.weight.data.clone(memory_format=torch.contiguous_format)
            module.register_forward_pre_hook(convert_to_nchw)


def convert_to_nchw(convolution: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous() for value in inputs)


def forward_strided(convolution: Convolution, inputs: Tensor) -> Tensor:
    """Convolve; in float32 on a CPU, if the inputs (B, C, *sides) have a side that is shorter than the stride."""
    sides = inputs.shape[2:]
    if inputs.device.type != "cpu" or all(side >= step for side, step in zip(sides, convolution.stride, strict=True)):
        return type(convolution).forward(convolution, inputs)  # type: ignore[arg-type]
    weight, bias = (None if value is None else value.float() for value in (convolution.weight, convolution.bias))
    with torch.autocast("cpu", enabled=False):
        outputs = convolution._conv_forward(inputs.float(), weight, bias)  # type: ignore[arg-type]
    return outputs.to(inputs.dtype)
