"""`leyden tune`: Lightning's finders of a learning rate and of a batch size, with fit's arguments."""

import tempfile

import torch
from lightning.pytorch.tuner import Tuner

from leyden.errors import UserError
from leyden.training.cli import LeydenCLI

NUM_STEPS = 100
NUM_SKIPPED = 10  # the mean of the first losses is still rough
RANGE = 1e-6, 1.0
ENDLESS = 10_000  # epochs: the finders count steps


def tune(cli: LeydenCLI) -> None:
    """Print suggestions; change nothing, and leave no file.

    Raises:
        UserError: if there are no losses to judge by.
    """
    cli.trainer.callbacks.clear()  # type: ignore[attr-defined]  # no checkpoints, no averaged weights
    cli.trainer.loggers = []
    cli.trainer.fit_loop.max_epochs = ENDLESS
    with tempfile.TemporaryDirectory() as folder:
        cli.trainer._default_root_dir = folder  # type: ignore[attr-defined]  # where the finders keep the weights that they put back
        rate = find_learning_rate(cli)
        size = find_batch_size(cli) if cli.trainer.strategy.root_device.type != "cpu" else None
    print(f"tune: the loss falls fastest at this learning rate, of {RANGE[0]:g} to {RANGE[1]:g} in {NUM_STEPS} steps:")
    print(f"--model.init_args.optimizer.init_args.lr={rate:.2g}")
    if size is None:
        print("tune: no batch size is tried on a CPU: the system would end a process that asks for too much memory")
    else:
        print(
            f"tune: the largest batch that the device's memory and the training split hold, of powers of 2:\n--data.init_args.batch_size={size}"
        )


def find_learning_rate(cli: LeydenCLI) -> float:
    """Raise the learning rate from step to step until the loss explodes; give the one at which it fell fastest.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3.
    """
    low, high = RANGE
    tuner = Tuner(cli.trainer)
    found = tuner.lr_find(
        cli.model, datamodule=cli.datamodule, min_lr=low, max_lr=high, num_training=NUM_STEPS, update_attr=False
    )
    results = found.results if found else {"loss": [], "lr": []}
    losses = torch.tensor(results["loss"])
    if len(losses) < NUM_SKIPPED + 2 or not torch.isfinite(losses).all():
        raise UserError(
            "expected finite losses to judge learning rates by; look at the data and the network, or set fast_dev_run to false"
        )
    # Rates lie evenly on a logarithmic scale; Lightning's own suggestion divides by their difference, which favours the smallest.
    return results["lr"][NUM_SKIPPED + int(torch.gradient(losses[NUM_SKIPPED:])[0].argmin())]


def find_batch_size(cli: LeydenCLI) -> int | None:
    """Double the batch until memory or the training split is exhausted; give the largest size that held."""
    most = sum(cli.datamodule.class_counts)
    options = {
        "mode": "power",
        "init_val": cli.datamodule._batch_size,
        "steps_per_trial": 2,
        "batch_arg_name": "_batch_size",
        "max_val": most,
    }
    return Tuner(cli.trainer).scale_batch_size(cli.model, datamodule=cli.datamodule, **options)
