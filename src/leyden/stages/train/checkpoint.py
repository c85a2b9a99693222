"""What a training writes after each epoch: checkpoints, and one complete row of scores."""

import csv
import sys
import time
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from leyden.files import replaced_file


class RunCheckpoint(ModelCheckpoint):
    """Keeps best.ckpt, last.ckpt and curves.csv in a run's folder.

    The rows of curves.csv are written with the checkpoints and travel in them, so that a resumed run has them all.
    (Lightning's CSVLogger puts training and validation scores in different rows, with blanks between that plots draw
    as 0, and starts an empty file on resumption.)
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["min", "max"] = "min", every_steps: int | None = None) -> None:
        """Choose what "best" means.

        Args:
            monitor: The score that decides which epoch is the best.
            mode: Whether less (min) or more (max) of it is better.
            every_steps: Also write last.ckpt after this many steps, for epochs that take hours. Takes data that knows its place in an
                epoch (leyden.StreamedImageData); the train/loss of a resumed epoch is that of its later part.
        """
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_on_train_epoch_end=True,  # after validation, when the epoch's scores are complete
            enable_version_counter=False,
        )
        self._rows: list[dict[str, float]] = []
        self._started = 0.0
        self._every_steps, self._saved_step = every_steps, 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        super().on_train_batch_end(trainer, pl_module, *args)
        step = trainer.global_step  # stays as it is while gradients are accumulated
        if self._every_steps and step % self._every_steps == 0 and step != self._saved_step:
            self._saved_step = step
            trainer.save_checkpoint(Path(str(self.dirpath)) / "last.ckpt", weights_only=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started = time.perf_counter()  # a resumed epoch has no start of its own

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
            writer = csv.DictWriter(file, list(self._rows[-1]), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._rows = state_dict["rows"]
