"""The best checkpoint of a run, and a table with one row of scores per epoch."""

import itertools
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leyden.cost import print_cost
from leyden.errors import UserError
from leyden.files import replaced_file
from leyden.files.tables import write_table
from leyden.training.config_checks import check_monitors
from leyden.training.score_names import guess_mode, is_validation_score

MEASURED = ("parameters", "seconds", "peak_memory_mb")  # beside the scores in metrics.json


class RunCheckpoint(ModelCheckpoint):
    """Writes best.ckpt and curves.csv to a run's folder.

    Checkpoints contain the rows of curves.csv, so that a resumed run has all of them. (Lightning's CSVLogger puts
    training and validation scores in different rows, with blanks that plots draw as 0, and starts an empty file on
    resumption.)
    """

    def __init__(self, monitor: str | None = "val/loss", mode: Literal["min", "max"] | None = None) -> None:
        """Choose which epoch is the best.

        Args:
            monitor: The score to compare epochs by, of those that are logged; null keeps the last epoch.
            mode: Whether a lower (min) or higher (max) score is better; null: by the name of the score.
        """
        super().__init__(
            filename="best",
            monitor=monitor or None,
            mode=mode or guess_mode(monitor or "") or "min",
            save_on_train_epoch_end=True,  # after validation, when the epoch's scores are complete
            enable_version_counter=False,
        )
        self._rows: list[dict[str, float]] = []
        self._started, self._is_cost_stated = 0.0, False
        self._scores: dict[str, Tensor] = {}
        # Scores of earlier epochs, which Lightning keeps until they are logged again; and their names in a checkpoint.
        self._earlier: dict[str, Tensor] = {}
        self._earlier_names: list[str] = []
        self.description: dict[str, Any] = {}  # of a module that does not describe itself, set by LeydenCLI

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_validation_interval(trainer)
        self._started = time.perf_counter()  # on_train_epoch_start is not called when resuming within an epoch
        trainer.callback_metrics.update(self._scores)  # the epoch may have no further validation
        self._earlier = {name: value for name, value in self._scores.items() if name in self._earlier_names}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()
        self._earlier = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Scores of other names, and those that a module logs later, are checked at the end of the epoch.
        is_complete = not trainer.sanity_checking and not is_overridden("on_train_epoch_end", pl_module)
        if self.monitor and is_validation_score(self.monitor) and is_complete:
            check_monitors([self.monitor], trainer.callback_metrics)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        logged = trainer.callback_metrics
        scores = {name: float(value) for name, value in sorted(logged.items()) if not self._is_earlier(name, value)}
        check_score_names(scores)
        if self.monitor and (trainer.fit_loop.epoch_loop.val_loop._has_run or not trainer.enable_validation):
            check_monitors([self.monitor], {**logged, "epoch": 0, "step": 0})
        position = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        # The first columns are the epoch and the step, also if a module logs values of these names.
        self._rows.append(position | learning_rates(trainer) | scores | position)
        if trainer.is_global_zero:
            with replaced_file(Path(str(self.dirpath)) / "curves.csv") as partial:
                write_table(partial, self._rows, list(dict.fromkeys(name for row in self._rows for name in row)))
            row = self._rows[-1]
            if trainer.progress_bar_callback is None:
                text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                seconds = time.perf_counter() - self._started
                print(f"epoch {row['epoch'] + 1:>3}/{trainer.max_epochs}  {text}  {seconds:.2f} s", file=sys.stderr)
                num_left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
                if not self._is_cost_stated:
                    print_cost(seconds * num_left, "fit", f"{num_left} more epochs")
                self._is_cost_stated = True
        if self.monitor in (None, *scores, *position):  # an epoch without the score is not compared
            super().on_train_epoch_end(trainer, pl_module)

    def _is_earlier(self, name: str, value: Tensor) -> bool:
        return value is self._earlier.get(name)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.description:
            checkpoint["leyden"] = self.description
        logged = trainer.callback_metrics
        checkpoint["scores"] = {name: value.detach().cpu() for name, value in logged.items()}
        checkpoint["earlier_scores"] = [name for name, value in logged.items() if self._is_earlier(name, value)]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._scores, self._earlier_names = checkpoint.get("scores", {}), checkpoint.get("earlier_scores", [])

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._rows = state_dict["rows"]


def check_score_names(names: Iterable[str]) -> None:
    """Raise UserError if a name of a logged value is not one line, or that of another entry of metrics.json."""
    for name in names:
        if name in MEASURED or not name.strip() or not name.isprintable():
            raise UserError(
                f"expected logged values whose names are one line, other than {', '.join(MEASURED)}; got {name!r}; "
                "rename it"
            )


def learning_rates(trainer: Trainer) -> dict[str, float]:
    """Return the first learning rate of each optimizer."""
    names = ("learning_rate" if number == 1 else f"learning_rate_{number}" for number in itertools.count(1))
    groups = [each.param_groups[0] for each in trainer.optimizers if each.param_groups]  # none of Lightning's mock
    return {name: float(group["lr"]) for name, group in zip(names, groups, strict=False)}


def check_validation_interval(trainer: Trainer) -> None:
    """Raise UserError if training steps follow an epoch's last validation: scores are published with later weights."""
    num_batches, interval = trainer.num_training_batches, trainer.val_check_batch or math.inf
    if trainer.check_val_every_n_epoch is None:
        raise UserError(
            "expected validations by epoch, because scores are published with an epoch's weights; "
            "got check_val_every_n_epoch: null; set trainer.check_val_every_n_epoch"
        )
    if interval < num_batches < math.inf and num_batches % interval:
        raise UserError(
            "expected a last validation at the end of the epoch, whose weights are published; "
            f"got one every {interval} of {num_batches} batches; "
            f"set trainer.val_check_interval to a divisor of {num_batches}"
        )
