"""Several steps in one call of the Trainer's loop, for networks whose step is as short as Lightning's work around it."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

INSIDE = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")  # hooks in the middle of a step
OWN = (*INSIDE[:3], "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")  # of a module, which a subclass may have


def go_on(module: LightningModule, num_steps: int, is_own: bool = False) -> None:
    """Take up to `num_steps` more batches, from within `on_train_batch_end`.

    What Lightning's `_TrainingEpochLoop.advance` does for a batch is done in its order, but for hooks that nothing implements: the
    weights, counters and checkpoints are the same, callbacks see every step, and it ends early where Lightning has something to do.
    Only what is logged by step is logged by call, and a subclass's own `on_train_batch_end` is called as often. `is_own` tells that a
    subclass has its own `training_step`, which may return what it likes.
    """
    trainer, loop, fetcher = module.trainer, module.trainer.fit_loop.epoch_loop, module.trainer.fit_loop._data_fetcher
    assert fetcher is not None
    before, after = acting(trainer, "on_train_batch_start"), acting(trainer, "on_train_batch_end")
    step = short_step if is_plain(module) and not is_own else whole_step
    for _ in range(num_steps):
        if loop._is_training_done or trainer.should_stop or loop._should_check_val_fx(fetcher):
            return
        batch = next_batch(module)
        for hook in before:
            hook(trainer, module, batch, loop.batch_idx)
        module.on_train_batch_start(batch, loop.batch_idx)
        loop.batch_progress.increment_started()
        outputs = step(module, batch, loop.batch_idx)
        loop.batch_progress.increment_processed()
        loop.update_lr_schedulers("step", update_plateau_schedulers=False)
        for hook in after:
            hook(trainer, module, outputs, batch, loop.batch_idx)


def next_batch(module: LightningModule) -> Any:
    """Count the batch before as done; give the next one, on the device."""
    trainer, loop, fetcher = module.trainer, module.trainer.fit_loop.epoch_loop, module.trainer.fit_loop._data_fetcher
    assert fetcher is not None
    loop._batches_that_stepped += not loop._should_accumulate()
    loop.batch_progress.increment_completed()
    batch = trainer.precision_plugin.convert_input(next(fetcher)[0])
    loop.batch_progress.is_last_batch = fetcher.done
    batch = trainer.strategy.batch_to_device(module._on_before_batch_transfer(batch))
    loop.batch_progress.increment_ready()
    return batch


def whole_step(module: LightningModule, batch: Any, batch_idx: int) -> Any:
    """Step as Lightning does, whatever is asked for."""
    trainer = module.trainer
    return trainer.fit_loop.epoch_loop.automatic_optimization.run(trainer.optimizers[0], batch_idx, {"batch": batch, "batch_idx": batch_idx})  # type: ignore[arg-type]


def short_step(module: LightningModule, batch: Any, batch_idx: int) -> dict[str, Tensor]:
    """Step without the hooks that nothing implements."""
    trainer, optimizer = module.trainer, module.trainer.optimizers[0]
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer

    def compute_gradients() -> Any:
        with trainer.precision_plugin.train_step_context():
            loss: Any = module.training_step(batch, batch_idx)
        optimizer.zero_grad()
        module.backward(loss)
        module.on_before_optimizer_step(optimizer)
        return loss

    progress.step.increment_ready()
    loss: Any = optimizer.step(compute_gradients)
    progress.step.increment_completed()
    progress.zero_grad.increment_by(1)
    return {"loss": loss.detach()}


def is_plain(module: LightningModule) -> bool:
    """Tell whether a step is forward, backward and update alone: on one device, nothing accumulated, clipped or scaled, no hook in between."""
    trainer = module.trainer
    special = trainer.accumulate_grad_batches > 1 or trainer.gradient_clip_val or getattr(trainer.precision_plugin, "scaler", None)
    hooked = any(acting(trainer, hook) for hook in INSIDE) or any(is_overridden(hook, module, LightningModule) for hook in OWN)
    return type(trainer.strategy) is SingleDeviceStrategy and not special and not hooked


def acting(trainer: Trainer, hook: str) -> list[Callable[..., None]]:
    """Give a hook of those callbacks that implement it."""
    return [getattr(callback, hook) for callback in trainer.callbacks if is_overridden(hook, callback, Callback)]  # type: ignore[attr-defined]
