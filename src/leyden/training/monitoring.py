"""Displays of a training in progress: a progress bar, TensorBoard and a profiler."""

import math
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import PyTorchProfiler
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.nn import Module
from torch.utils._pytree import tree_leaves

from leyden.data.replica import rank_and_world_size
from leyden.memory import process_peak_memory_mb
from leyden.models.image_model import ImageModel
from leyden.training.run_folder import RUNS


class ThroughputProgressBar(TQDMProgressBar):
    """A progress bar with examples per second, the time left in the training, and the peak memory.

    It is drawn every tenth step: drawing takes about as long as a tiny network's step.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate)
        self._num_examples = self._num_steps = 0
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        self._restart_clock()
        super().on_train_epoch_start(trainer, *args)

    def on_train_start(self, *args: Any) -> None:
        self._restart_clock()  # a training that resumes in the middle of an epoch does not call on_train_epoch_start
        super().on_train_start(*args)

    def _restart_clock(self) -> None:
        self._num_examples, self._num_steps, self._started = 0, 0, time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        sizes = [len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim]
        self._num_examples += (sizes[-1] if sizes else 0) * rank_and_world_size(trainer)[1]  # the last are the labels
        self._num_steps += 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
        if self._num_steps and trainer.training:
            seconds = time.perf_counter() - self._started
            num_batches = trainer.num_training_batches * (trainer.max_epochs or 0)
            num_left = max(0, num_batches - trainer.fit_loop.epoch_loop.total_batch_idx - 1)
            metrics["examples/s"] = f"{self._num_examples / seconds:.0f}"
            if num_left < math.inf:  # else the loader has no length
                metrics["left"] = str(timedelta(seconds=round(num_left * seconds / self._num_steps)))
            metrics["memory"] = f"{peak_memory_mb():.0f} MB"
        return metrics


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB: of the GPU where there is one."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else process_peak_memory_mb()


class TensorBoard(TensorBoardLogger):
    """Writes to the run's folder, so that a resumed training continues its curves.

    `tensorboard --logdir runs` compares runs.
    """

    folder: Path = RUNS  # the run's, set by LeydenCLI

    def __init__(self) -> None:
        super().__init__(save_dir=RUNS, name="", version="", default_hp_metric=False)

    @property
    def log_dir(self) -> str:
        return str(self.folder / "tensorboard")

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Tensor | None = None) -> None:
        """Log the graph of an image model in evaluation mode.

        A compiled network cannot be traced, and the trace of a sequence model holds for one length only.
        """
        image_model = getattr(model, "model", None)
        if not isinstance(image_model, ImageModel) or image_model.network._compiled_call_impl is not None:
            return
        device = image_model.preprocess.mean.device
        image = torch.zeros(1, image_model.channels, *image_model.image_size, dtype=torch.uint8, device=device)
        training = image_model.training
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and TensorBoard's graphs accept nothing else
            self.experiment.add_graph(image_model.eval(), image, use_strict_trace=False)
        image_model.train(training)


class OperatorProfiler(PyTorchProfiler):
    """Profiles a short training as a whole; by Lightning's schedule the table holds the last three validation steps."""

    # Rows of hooks include the time of their operators. Self time does not: torch can sort by it, but Lightning does
    # not list it.
    AVAILABLE_SORT_KEYS = PyTorchProfiler.AVAILABLE_SORT_KEYS | {"self_cpu_time_total", "self_cuda_time_total"}

    def __init__(self, row_limit: int = 15) -> None:
        """Choose the length of the table.

        Args:
            row_limit: Number of operators to print, those with the longest self time.
        """
        key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        super().__init__(
            row_limit=row_limit, sort_by_key=key, record_module_names=False, schedule=None, acc_events=True
        )


class Histograms(Callback):
    """Logs histograms of the weights to TensorBoard after each epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            for name, parameter in pl_module.named_parameters():
                trainer.logger.experiment.add_histogram(name, parameter.detach().float(), trainer.current_epoch)
