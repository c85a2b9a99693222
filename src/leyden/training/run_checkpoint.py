"""What a training writes after each epoch: checkpoints, and one complete row of scores."""

import csv
import math
import sys
import time
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from leyden.errors import UserError
from leyden.files import replaced_file


class RunCheckpoint(ModelCheckpoint):
    """Keeps best.ckpt and curves.csv in a run's folder.

    The rows of curves.csv are written with the checkpoints and travel in them, so that a resumed run has them all.
    (Lightning's CSVLogger puts training and validation scores in different rows, with blanks between that plots draw
    as 0, and starts an empty file on resumption.)
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["min", "max"] | None = None) -> None:
        """Choose what "best" means.

        Args:
            monitor: The score that decides which epoch is the best.
            mode: Whether less (min) or more (max) of it is better; null is less of a loss, more of anything else.
        """
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode or ("min" if "loss" in monitor else "max"),
            save_on_train_epoch_end=True,  # after validation, when the epoch's scores are complete
            enable_version_counter=False,
        )
        self._rows: list[dict[str, float]] = []
        self._started = 0.0
        self._scores: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_validations(trainer)
        self._started = time.perf_counter()  # a training that goes on in the middle of an epoch does not start one
        trainer.callback_metrics.update(self._scores)  # of a validation that no later one of this epoch may follow

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "learning_rate": rate, **scores}
        self._rows.append(row)
        if trainer.is_global_zero:
            self._write(Path(str(self.dirpath)) / "curves.csv")
            if trainer.progress_bar_callback is None:
                text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                seconds = time.perf_counter() - self._started
                print(f"epoch {row['epoch'] + 1:>3}/{trainer.max_epochs}  {text}  {seconds:.2f} s", file=sys.stderr)
        super().on_train_epoch_end(trainer, pl_module)

    def _write(self, path: Path) -> None:
        with replaced_file(path) as partial, open(partial, "w", newline="") as file:
            writer = csv.DictWriter(
                file, list(dict.fromkeys(key for row in self._rows for key in row)), restval="", extrasaction="ignore"
            )
            writer.writeheader()
            writer.writerows(self._rows)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["scores"] = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._scores = checkpoint.get("scores", {})

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._rows = state_dict["rows"]


def check_validations(trainer: Trainer) -> None:
    """Make sure that an epoch's last validation scores the weights that the epoch ends with: they are published together.

    Raises:
        UserError: if steps follow it.
    """
    count, every = trainer.num_training_batches, trainer.val_check_batch or math.inf
    if trainer.check_val_every_n_epoch is None:
        raise UserError(
            "expected validations by epoch, since scores are published with an epoch's weights; set trainer.check_val_every_n_epoch"
        )
    if every < count < math.inf and count % every:
        raise UserError(
            f"expected a last validation at the end of the epoch, whose weights are published; got one every {every} of {count} batches; "
            f"set trainer.val_check_interval to a number that divides {count}"
        )
