"""Short trainings of the configured model on the configured data, which leave no files."""

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

from leyden.errors import UserError, find_own_frame, own_code_errors
from leyden.training.cli import LeydenCLI
from leyden.training.network_errors import NetworkError

TRAINER_OPTIONS = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "devices": 1,
    "max_epochs": -1,
    "limit_val_batches": 0,
}
# Options of the Trainer that trials share with the configured training.
SHARED_OPTIONS = (
    "accelerator",
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
    "benchmark",
    "deterministic",
    "plugins",
)
# Networks of other installed packages are examined, too.
NOT_EXAMINED = tuple(
    f"{Path(str(file)).parent}/" for file in (torch.__file__, lightning.__file__, torchmetrics.__file__, __file__)
)
LOGGER = logging.getLogger("lightning.pytorch")
Step = Callable[[Callable[[Any, int], Any], Any, int], Any]  # (the model's own training_step, batch, batch_idx) -> loss


class TrialLimits(Callback):
    """Removes schedulers that wait for a score, as trials do not validate, and ends manual optimisation by batches.

    With several optimizers, `max_steps` counts the steps of each.
    """

    def __init__(self, num_steps: int) -> None:
        self._num_left = num_steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._num_left -= 1
        if not pl_module.automatic_optimization and self._num_left <= 0:
            trainer.should_stop = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        configs = trainer.strategy.lr_scheduler_configs
        trainer.strategy.lr_scheduler_configs = [config for config in configs if not config.reduce_on_plateau]


class TrialRunner:
    """Trains copies of one model from the same weights, in the configured precision, on one device."""

    def __init__(self, cli: LeydenCLI) -> None:
        self._model, self._data, self._seed = cli.model, cli.datamodule, int(cli.config.seed_everything or 0)
        self._options = {name: cli.config_init.trainer[name] for name in SHARED_OPTIONS}
        if str(self._options["precision"]).startswith("16"):
            self._options["precision"] = "32-true"  # the norms of scaled gradients would be meaningless
        self.is_automatic = bool(cli.model.automatic_optimization)  # else training_step need not return a loss
        self.warnings: list[str] = []  # of the last run

    def run(
        self,
        num_steps: int,
        callbacks: Sequence[Callback] = (),
        step: Step | None = None,
        context: AbstractContextManager[Any] | None = None,
        **options: Any,
    ) -> Exception | None:
        """Train for some optimizer steps; return the exception that ended the training, if any, as a finding.

        `step` replaces the model's `training_step`, which it receives as its first argument. The training runs within
        `context`. `options` are further ones of the Trainer.

        Raises:
            UserError: for a mistake in the config or the data.
        """
        torch.manual_seed(self._seed)
        with own_code_errors(
            "a module that can be copied, since each trial starts from the same weights",
            advice="open files, locks and generators in setup, or leave `leyden doctor` out",
        ):
            model = copy.deepcopy(self._model)
        if step:
            own_step = model.training_step
            model.training_step = lambda batch, batch_idx: step(own_step, batch, batch_idx)
        level = LOGGER.level
        LOGGER.setLevel(logging.ERROR)
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                warnings.catch_warnings(record=True) as caught,
                context or nullcontext(),
            ):
                warnings.simplefilter("always")
                callbacks = [TrialLimits(num_steps), *callbacks]
                options = {
                    **TRAINER_OPTIONS,
                    **self._options,
                    "max_steps": num_steps if self.is_automatic else -1,
                    **options,
                }
                trainer = Trainer(**options, callbacks=callbacks, default_root_dir=folder)
                trainer.fit(model, datamodule=self._data)
        except NetworkError as error:  # the doctor's subject
            if isinstance(error.__cause__, Exception):
                return error.__cause__
            raise
        except UserError:
            raise
        except Exception as error:
            return error
        finally:
            LOGGER.setLevel(level)
            self.warnings = [str(warning.message) for warning in caught]
        return None


def get_loss(outputs: Any) -> torch.Tensor:
    """Return the loss from the output of a `training_step`: a tensor or a dictionary."""
    return outputs["loss"] if isinstance(outputs, dict) else outputs


def locate_frame(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return file and line of the innermost frame outside torch, Lightning and the doctor."""
    frame = find_own_frame(frames, NOT_EXAMINED)
    if frame is None:
        return "a library's code"
    path = Path(frame.filename)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{frame.lineno}"


def locate_error(error: BaseException) -> str:
    """Return file and line where an exception was raised."""
    return locate_frame(traceback.extract_tb(error.__traceback__))
