"""TensorBoard, a profiler and histograms of the weights."""

import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import PyTorchProfiler
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.nn import Module

from leyden.models.image_model import ImageModel
from leyden.training.run_folder import RUNS


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
