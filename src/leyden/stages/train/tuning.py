"""`leyden tune`: Lightning's learning-rate finder and batch-size finder, with fit's arguments."""

import functools
import tempfile

import torch
from lightning.pytorch.tuner import Tuner, lr_finder
from tqdm.auto import tqdm

from leyden.errors import UserError
from leyden.training.cli import LeydenCLI, reads_prepared_data, training_errors

NUM_STEPS = 100
NUM_SKIPPED = 10  # the moving average of the first losses is still noisy
MIN_LR, MAX_LR = 1e-6, 1.0
MAX_EPOCHS = 10_000  # never reached: the finders count steps


def tune(cli: LeydenCLI) -> None:
    """Print a learning rate and a batch size; change no setting, and leave no file."""
    if cli.trainer.world_size > 1:
        raise UserError(
            f"expected one process for the finders; got {cli.trainer.world_size}; "
            "set trainer.devices: 1, and leave configs/trainer/ddp.yaml out"
        )
    if not cli.model.automatic_optimization:
        raise UserError(
            f"expected automatic optimisation with one optimizer, whose learning rate is varied; got "
            f"{type(cli.model).__name__}, which optimises by hand; compare learning rates with `leyden fit`"
        )
    cli.trainer.callbacks.clear()  # type: ignore[attr-defined]  # no checkpoints, no averaged weights
    cli.trainer.loggers = []
    cli.trainer.fit_loop.max_epochs = MAX_EPOCHS
    with tempfile.TemporaryDirectory() as folder:
        # The finders save the weights here, and restore them.
        cli.trainer._default_root_dir = folder  # type: ignore[attr-defined]
        learning_rate = find_learning_rate(cli)
        has_device_memory = cli.trainer.strategy.root_device.type != "cpu"
        is_known = reads_prepared_data(cli.datamodule)
        batch_size = find_batch_size(cli) if has_device_memory and is_known else None
    print(
        f"tune: of {NUM_STEPS} learning rates from {MIN_LR:g} to {MAX_LR:g}, the loss falls fastest at this one:\n"
        f"{find_option(cli)}={learning_rate:.2g}"
    )
    if has_device_memory and not is_known:
        print(f"tune: no batch size is tried: {type(cli.datamodule).__name__} is not one of leyden's data modules")
    elif batch_size is None:
        print("tune: no batch size is tried on a CPU: the system would kill a process that runs out of memory")
    else:
        print(
            "tune: the largest power of 2 that fits in the device's memory and the training split:\n"
            f"--data.init_args.batch_size={batch_size}"
        )


def find_option(cli: LeydenCLI) -> str:
    """Return the option that sets the learning rate, or where else it is set."""
    args = cli.config.model.get("init_args") or {}
    if "optimizer" in args:
        return "--model.init_args.optimizer.init_args.lr"
    named = next((name for name in ("lr", "learning_rate") if name in args), None)
    return f"--model.init_args.{named}" if named else f"lr of {type(cli.model).__name__}.configure_optimizers"


def find_learning_rate(cli: LeydenCLI) -> float:
    """Increase the learning rate from step to step until the loss diverges; return the one at which it fell fastest.

    Raises:
        UserError: if the losses are not finite.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3.
    """
    lr_finder.tqdm = functools.partial(tqdm, disable=None)  # no bar without a terminal
    find = functools.partial(Tuner(cli.trainer).lr_find, min_lr=MIN_LR, max_lr=MAX_LR, num_training=NUM_STEPS)
    with training_errors(cli):
        finder = find(cli.model, datamodule=cli.datamodule, update_attr=False)
    results = finder.results if finder else {"loss": [], "lr": []}
    losses = torch.tensor(results["loss"])
    if len(losses) < NUM_SKIPPED + 2 or not torch.isfinite(losses).all():
        raise UserError(
            f"expected finite losses at {NUM_STEPS} learning rates; got {int(torch.isfinite(losses).sum())}; "
            "check the data and the network, and set fast_dev_run to false"
        )
    # Rates are evenly spaced on a logarithmic scale. Lightning's own suggestion divides by their difference, which
    # favours the smallest.
    return results["lr"][NUM_SKIPPED + int(torch.gradient(losses[NUM_SKIPPED:])[0].argmin())]


def find_batch_size(cli: LeydenCLI) -> int | None:
    """Double the batch size until memory or the training split is exhausted; return the largest one that fits."""
    return Tuner(cli.trainer).scale_batch_size(
        cli.model,
        datamodule=cli.datamodule,
        mode="power",
        init_val=cli.datamodule._batch_size,
        steps_per_trial=2,
        batch_arg_name="_batch_size",
        max_val=sum(cli.datamodule.class_counts),
    )
