"""What shows a training in progress: the bar, and TensorBoard beside the checkpoints."""

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

from leyden.data.replica import rank_and_world_size
from leyden.memory import process_peak_memory_mb
from leyden.models.image_model import ImageModel
from leyden.training.run_folder import RUNS

# Settings of the Trainer that show a training and do not change it: turning them on continues an interrupted one.
NON_DETERMINING_KEYS = {"logger", "profiler", "enable_progress_bar", "enable_model_summary", "log_every_n_steps"}


class Throughput(TQDMProgressBar):
    """A bar with examples per second, the time until the last epoch ends, and the most memory that was taken.

    It is drawn every tenth step: drawing takes about as long as a tiny network's step.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate)
        self._examples = self._steps = 0
        self._started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        self._begin()
        super().on_train_epoch_start(trainer, *args)

    def on_train_start(self, *args: Any) -> None:
        self._begin()  # a training that goes on in the middle of an epoch does not start one
        super().on_train_start(*args)

    def _begin(self) -> None:
        self._examples, self._steps, self._started = 0, 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._examples += len(batch[-1]) * rank_and_world_size(trainer)[1]
        self._steps += 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown = {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
        if self._steps and trainer.training:
            seconds = time.perf_counter() - self._started
            batches = (
                trainer.num_training_batches * (trainer.max_epochs or 0)
                - trainer.fit_loop.epoch_loop.total_batch_idx
                - 1
            )
            left = timedelta(seconds=round(max(0, batches) * seconds / self._steps))
            shown |= {
                "examples/s": f"{self._examples / seconds:.0f}",
                "left": str(left),
                "memory": f"{peak_memory_mb():.0f} MB",
            }
        return shown


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB: of the GPU where there is one."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else process_peak_memory_mb()


class TensorBoard(TensorBoardLogger):
    """Writes to the run's folder, so that a resumed training goes on in the same curves; `tensorboard --logdir runs` compares runs."""

    folder: Path = RUNS  # the run's, set by the command line

    def __init__(self) -> None:
        super().__init__(save_dir=RUNS, name="", version="", default_hp_metric=False)

    @property
    def log_dir(self) -> str:
        return str(self.folder / "tensorboard")

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Tensor | None = None) -> None:
        """Draw the network as it scores one image. (A compiled one cannot be traced; of a sequence's, a trace would follow one length alone.)"""
        part = getattr(model, "model", None)
        if not isinstance(part, ImageModel) or part.network._compiled_call_impl is not None:
            return
        image = torch.zeros(1, part.channels, *part.image_size, dtype=torch.uint8, device=part.preprocess.mean.device)
        training = part.training
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and the only way to TensorBoard's graphs
            self.experiment.add_graph(part.eval(), image, use_strict_trace=False)
        part.train(training)


class OperatorProfiler(PyTorchProfiler):
    """Records a short training as a whole; by Lightning's schedule the table would be of the last three validation steps."""

    # Rows of hooks would count their operators again: it is sorted by what each took itself, which torch can and Lightning does not list.
    AVAILABLE_SORT_KEYS = PyTorchProfiler.AVAILABLE_SORT_KEYS | {"self_cpu_time_total", "self_cuda_time_total"}

    def __init__(self, row_limit: int = 15) -> None:
        """Choose what is printed.

        Args:
            row_limit: Rows of the table: the operators that took most time themselves.
        """
        key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        super().__init__(
            row_limit=row_limit, sort_by_key=key, record_module_names=False, schedule=None, acc_events=True
        )


class Histograms(Callback):
    """Draws the weights in TensorBoard after each epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            for name, parameter in pl_module.named_parameters():
                trainer.logger.experiment.add_histogram(name, parameter.detach().float(), trainer.current_epoch)
