"""Short trainings of the configured model on the configured data, which leave nothing behind."""

import copy
import logging
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import torch
import torchmetrics
from lightning.pytorch import Callback, LightningModule, Trainer

from leyden.errors import UserError
from leyden.training.cli import LeydenCLI

KEPT = (
    "accelerator",
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "benchmark",
    "deterministic",
    "plugins",
)
FOREIGN = [Path(str(package.__file__)).parent for package in (torch, lightning, torchmetrics)] + [Path(__file__).parent]
LOGGER = logging.getLogger("lightning.pytorch")
Step = Callable[[Callable[[Any, int], Any], Any, int], Any]  # (the model's own training_step, batch, batch_idx) -> loss


class Bench:
    """Trains copies of one model, each from the same weights, under the config's precision and accelerator, on one device."""

    def __init__(self, cli: LeydenCLI) -> None:
        self._model, self._data, self._seed = cli.model, cli.datamodule, int(cli.config.seed_everything or 0)
        self._options = {name: cli.config_init.trainer[name] for name in KEPT}
        if str(self._options["precision"]).startswith("16"):
            self._options["precision"] = "32-true"  # gradients of a scaled loss have no size that could be judged
        self.warnings: list[str] = []  # of the last run

    def run(
        self,
        steps: int,
        callbacks: Sequence[Callback] = (),
        step: Step | None = None,
        mode: AbstractContextManager[Any] | None = None,
        **options: Any,
    ) -> Exception | None:
        """Train for some steps.

        Args:
            steps: Optimizer steps.
            callbacks: What looks on.
            step: Takes the place of the model's `training_step`, which it is given.
            mode: A context around the whole.
            options: Of the Trainer.

        Returns:
            What the training died of: a doctor writes that down and goes on.

        Raises:
            UserError: for what the config or the data must mend first.
        """
        torch.manual_seed(self._seed)
        model = copy.deepcopy(self._model)
        if step:
            replace_step(model, step)
        level = LOGGER.level
        LOGGER.setLevel(logging.ERROR)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                warnings.catch_warnings(record=True) as caught,
                mode or nullcontext(),
            ):
                warnings.simplefilter("always")
                self._fit(model, folder, max_steps=steps, callbacks=list(callbacks), **options)
        except UserError:
            raise
        except Exception as error:
            return error
        finally:
            LOGGER.setLevel(level)
            self.warnings = [str(warning.message) for warning in caught]
        return None

    def _fit(self, model: LightningModule, folder: str, **options: Any) -> None:
        quiet = dict.fromkeys(
            (
                "logger",
                "enable_checkpointing",
                "enable_progress_bar",
                "enable_model_summary",
                "use_distributed_sampler",
            ),
            False,
        )
        settings = {
            **self._options,
            **quiet,
            "devices": 1,
            "max_epochs": -1,
            "limit_val_batches": 0,
            "default_root_dir": folder,
        }
        Trainer(**{**settings, **options}).fit(model, datamodule=self._data)


def replace_step(model: LightningModule, step: Step) -> None:
    own = model.training_step

    def training_step(batch: Any, batch_idx: int) -> Any:
        return step(own, batch, batch_idx)

    model.training_step = training_step  # type: ignore[method-assign]


def loss_of(outputs: Any) -> torch.Tensor:
    """Give the loss that a `training_step` returned, alone or in a dictionary."""
    return outputs["loss"] if isinstance(outputs, dict) else outputs


def place(frames: Iterable[traceback.FrameSummary]) -> str:
    """Name file and line of the innermost frame that is neither torch's nor Lightning's."""
    own = [frame for frame in frames if not any(Path(frame.filename).is_relative_to(folder) for folder in FOREIGN)]
    return f"{short(own[-1].filename)}:{own[-1].lineno}" if own else "code outside of this project"


def place_of(error: BaseException) -> str:
    return place(traceback.extract_tb(error.__traceback__))


def short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
