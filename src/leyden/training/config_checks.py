"""Checks of settings and of the launcher."""

import os
from typing import Any

from leyden.errors import UserError
from leyden.training.devices import runs_on_cpu


def check_range(low: float, high: float, **values: float) -> None:
    """Check that settings, passed by name, lie in [low, high); raise UserError otherwise."""
    for name, value in values.items():
        if not low <= value < high:
            raise UserError(f"{name} must lie in [{low}, {high}); got {value}; set it in the model's init_args")


def check_trainer(trainer: Any) -> None:
    """Raise UserError for settings of the section `trainer` that Lightning accepts, but Leyden cannot train with."""
    if trainer.precision == "16-true":
        raise UserError(
            "expected a precision that can be trained in; got 16-true, in which small gradients underflow to 0; "
            "set 16-mixed, which scales them"
        )
    if trainer.overfit_batches:
        raise UserError(
            f"expected overfit_batches: 0, because it replaces the data's sampler; got {trainer.overfit_batches}; "
            "use trainer.limit_train_batches, or `leyden doctor`"
        )
    if trainer.max_epochs == -1 and trainer.max_steps == -1:
        raise UserError(
            "expected a number of epochs or steps, over which the learning rate is scheduled; got max_epochs: -1; "
            "set trainer.max_epochs or max_steps"
        )
    if trainer.sync_batchnorm and runs_on_cpu(trainer.accelerator):
        raise UserError(
            "expected GPUs for sync_batchnorm, which torch does not implement on CPUs; got a CPU; "
            "set trainer.sync_batchnorm: false"
        )


def check_torchrun_restarts() -> None:
    """Raise UserError if torchrun may restart processes that could connect to lost ones by addresses in its store.

    Source: https://github.com/pytorch/pytorch/issues/135712
    """
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if restarts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UserError(
            f"expected a new store for each restart; got torchrun --max-restarts={restarts} with one for all, which "
            "keeps the addresses of lost processes; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, with "
            "--standalone or --rdzv-backend=c10d"
        )
