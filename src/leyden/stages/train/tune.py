"""`leyden tune`: Lightning's finders of a learning rate and of a batch size, with fit's arguments."""

import tempfile

from lightning.pytorch.tuner import Tuner

from leyden.errors import UserError
from leyden.stages.train.cli import LeydenCLI

NUM_STEPS = 100
RANGE = 1e-6, 1.0
ENDLESS = 10_000  # epochs: the finders count steps


def tune(cli: LeydenCLI) -> None:
    """Print suggestions; change nothing, and leave no file.

    Raises:
        UserError: if the losses show no rate at which they fall.
    """
    cli.trainer.callbacks.clear()  # no checkpoints, no averaged weights
    cli.trainer.fit_loop.max_epochs = ENDLESS
    with tempfile.TemporaryDirectory() as folder:
        cli.trainer._default_root_dir = folder  # where the finders keep the weights that they put back
        rate = find_learning_rate(cli)
        size = find_batch_size(cli) if cli.trainer.strategy.root_device.type != "cpu" else None
    print(f"tune: the loss falls fastest at this learning rate, of {RANGE[0]:g} to {RANGE[1]:g} in {NUM_STEPS} steps:")
    print(f"--model.init_args.optimizer.init_args.lr={rate:.2g}")
    if size is None:
        print("tune: no batch size is tried on a CPU: the system would end a process that asks for too much memory")
    else:
        print(f"tune: the largest batch that the device's memory and the training split hold, of powers of 2:\n--data.init_args.batch_size={size}")


def find_learning_rate(cli: LeydenCLI) -> float:
    """Raise the learning rate from step to step until the loss explodes; give the one at which it fell fastest.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3.
    """
    found = Tuner(cli.trainer).lr_find(cli.model, datamodule=cli.datamodule, min_lr=RANGE[0], max_lr=RANGE[1], num_training=NUM_STEPS)
    rate = found.suggestion() if found else None
    if rate is None:
        raise UserError("expected more finite losses to judge learning rates by; look at the data and the network, or set fast_dev_run to false")
    return rate


def find_batch_size(cli: LeydenCLI) -> int | None:
    """Double the batch until memory or the training split is exhausted; give the largest size that held."""
    most = sum(cli.datamodule.class_counts)
    options = {"mode": "power", "init_val": 2, "steps_per_trial": 2, "batch_arg_name": "_batch_size", "max_val": most}
    return Tuner(cli.trainer).scale_batch_size(cli.model, datamodule=cli.datamodule, **options)
