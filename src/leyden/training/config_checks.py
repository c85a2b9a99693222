"""Checks of settings and of the launcher."""

import os
import re
from collections.abc import Collection, Iterable
from typing import Any

from leyden.errors import UserError, did_you_mean
from leyden.ranges import SEEDS, check_range
from leyden.training.devices import runs_on_cpu
from leyden.training.run_folder import RUNS

# Strategies by names that other versions of Lightning know, or that need another launcher.
STRATEGIES = {
    "dp": "DistributedDataParallel replaced DataParallel; use -c configs/trainer/ddp.yaml",
    "ddp2": "DistributedDataParallel replaced it; use -c configs/trainer/ddp.yaml",
    "ddp_sharded": "FSDP2 replaced it; use -c configs/trainer/fsdp.yaml",
}
MAX_CPU_PROCESSES = max(8, os.cpu_count() or 1)


def check_seed(seed: int) -> int:
    """Return the setting seed_everything, checked."""
    check_range("", SEEDS, seed_everything=seed)
    return seed


def check_trainer(trainer: Any) -> None:
    """Raise UserError for settings of the section `trainer` that Lightning accepts, but Leyden cannot train with."""
    check_trainer_ranges(trainer)
    check_strategy(trainer.strategy)
    if runs_on_cpu(trainer.accelerator) and count_processes(trainer.devices) > MAX_CPU_PROCESSES:
        raise UserError(
            f"expected at most {MAX_CPU_PROCESSES} processes on this machine's CPU; got trainer.devices: "
            f"{trainer.devices}; set fewer"
        )
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
    if trainer.default_root_dir:
        raise UserError(
            f"expected no trainer.default_root_dir, since a training writes to {RUNS}/; got "
            f"{trainer.default_root_dir}; remove it"
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


def check_trainer_ranges(trainer: Any) -> None:
    """Raise UserError for numbers that Lightning accepts and cannot train with."""
    check_range("trainer", "[1, 1000000]", accumulate_grad_batches=trainer.accumulate_grad_batches)
    if trainer.max_epochs not in (None, -1):
        check_range("trainer", "[1, inf)", max_epochs=trainer.max_epochs)
    if trainer.max_steps != -1:
        check_range("trainer", "[1, inf)", max_steps=trainer.max_steps)
    for name in ("epochs", "steps"):
        least, most = trainer[f"min_{name}"], trainer[f"max_{name}"]
        if least is not None:
            check_range("trainer", f"[0, {most if (most or 0) > 0 else 'inf'}]", **{f"min_{name}": least})
    for name, interval in (
        ("gradient_clip_val", "[0, inf)"),
        ("limit_train_batches", "[0, inf)"),
        ("limit_val_batches", "[0, inf)"),
        ("limit_test_batches", "[0, inf)"),
        ("val_check_interval", "(0, inf)"),
        ("check_val_every_n_epoch", "[1, inf)"),
        ("log_every_n_steps", "[0, inf)"),
        ("num_sanity_val_steps", "[-1, inf)"),
        ("num_nodes", "[1, 1000000]"),
    ):
        if isinstance(value := trainer[name], int | float):
            check_range("trainer", interval, **{name: value})


def check_strategy(strategy: Any) -> None:
    """Raise UserError for a strategy that is obsolete, or whose processes are no programs of their own.

    Processes that are forked or spawned get copies of the data and the model without their links to the trainer.
    """
    start_method = getattr(getattr(strategy, "init_args", None), "start_method", "popen")
    if advice := STRATEGIES.get(str(strategy)):
        raise UserError(f"expected a strategy such as ddp; got trainer.strategy: {strategy}; {advice}")
    if start_method != "popen" or re.match(r"ddp_(spawn|fork|notebook)", str(strategy)):
        got = strategy if isinstance(strategy, str) else f"start_method {start_method}"
        raise UserError(
            f"expected a strategy whose processes are started by popen; got trainer.strategy: {got}; "
            "use -c configs/trainer/ddp.yaml"
        )


def check_monitors(monitors: Iterable[str], logged: Collection[str]) -> None:
    """Raise UserError if a score by which epochs are compared is not one that is logged."""
    for monitor in monitors:
        if monitor not in logged:
            raise UserError(
                f"expected a score that is logged ({', '.join(sorted(logged)) or 'none is'}); got monitor: {monitor}"
                f"{did_you_mean(monitor, logged)}; set checkpoint.monitor, or the callback's, to one of them"
            )


def count_processes(devices: Any) -> int:
    """Return how many processes the setting `trainer.devices` starts on a CPU; 0 if it is not a number."""
    return int(devices) if str(devices).isdecimal() else 0


def check_torchrun_restarts() -> None:
    """Raise UserError if torchrun may restart processes that could connect to lost ones by addresses in its store.

    Source: https://github.com/pytorch/pytorch/issues/135712
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise UserError(
            f"expected a new store for each restart; got torchrun --max-restarts={restarts} with one for all, which "
            "keeps the addresses of lost processes; set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, with "
            "--standalone or --rdzv-backend=c10d"
        )
