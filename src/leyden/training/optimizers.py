"""Optimizers built with the configured arguments, and what they require of a training."""

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import LBFGS, Optimizer, SparseAdam

from leyden.errors import UserError, one_line
from leyden.ranges import check_range

MAX_LR = 1000  # far above any useful value: 1e9 typed for 1e-9 would otherwise show only as a loss of NaN


def build_optimizer(
    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer], parameters: Iterable[nn.Parameter]
) -> Optimizer:
    """Build an optimizer.

    Raises:
        UserError: if it rejects its arguments, its learning rate is out of range, or it cannot train such parameters.
    """
    parameters = list(parameters)
    try:
        optimizer = make_optimizer(parameters)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"expected arguments that the optimizer accepts; got: {one_line(error, 200)}; "
            "correct model.optimizer in configs/train.yaml"
        ) from error
    for group in optimizer.param_groups:
        check_range("model.optimizer", f"(0, {MAX_LR}]", lr=float(group["lr"]))
    if isinstance(optimizer, SparseAdam):
        raise UserError("expected an optimizer for dense gradients; got SparseAdam; set torch.optim.AdamW, for example")
    if isinstance(optimizer, LBFGS) and not all(parameter.is_contiguous() for parameter in parameters):
        raise UserError(
            "expected contiguous weights for LBFGS; got convolutions in channels_last order; "
            "set model.execution.channels_last: false"
        )
    return optimizer
