"""GELU and the linear layer after it as one operator that stores only its input for the backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.library.custom_op("leyden::gelu_linear", mutates_args=())
def gelu_linear(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute gelu(input) @ weight.T + bias; the backward pass recomputes gelu(input) from the stored `input`.

    Torch's own pair of operations stores both, and has the same values and gradients. A training step of a
    PatchTransformer of width 256 and depth 8 adds 844 MB with this operator and 1,066 MB without, in 0.98 times the
    time (`make bench ONLY=checkpointing`).

    Args:
        input: (..., F).
        weight: (K, F).
        bias: (K,).

    Returns:
        (..., K), contiguous.

    Raises:
        ValueError: if the dtypes differ; under autocast, cast weight and bias to that of `input`.
    """
    check_dtypes(input, weight, bias)
    return F.linear(F.gelu(input), weight, bias)


@gelu_linear.register_fake
def infer_output(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    check_dtypes(input, weight, bias)
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


def check_dtypes(input: Tensor, weight: Tensor, bias: Tensor) -> None:
    if not input.dtype == weight.dtype == bias.dtype:
        raise ValueError(
            f"expected input, weight and bias of one dtype; got {input.dtype}, {weight.dtype} and {bias.dtype}; "
            "cast them"
        )


def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    input, weight, _ = inputs
    ctx.save_for_backward(input, weight)


def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Compute the gradients of input, weight and bias, as far as they are needed."""
    input, weight = ctx.saved_tensors
    needs_input, needs_weight, needs_bias = ctx.needs_input_grad
    rows = grad.reshape(-1, grad.shape[-1])
    return (
        torch.ops.aten.gelu_backward(grad @ weight, input) if needs_input else None,
        rows.T @ F.gelu(input).reshape(-1, input.shape[-1]) if needs_weight else None,
        rows.sum(dim=0) if needs_bias else None,
    )


gelu_linear.register_autograd(backward, setup_context=setup_context)
