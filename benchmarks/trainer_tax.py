"""What `leyden fit` costs beside a hand-written loop of the same network, data path, optimizer, schedule and precision.

An epoch's training, bar and CSV on, checkpoints and validation left out on both sides; the loop steps, schedules and adds up its loss as
a careful person writes it. Two cases: the default network at batch 256, and a small network at batch 32, whose step takes a few ms. The two take
turns, in one process.
"""

import contextlib
import io
import json
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn import functional as F

from timing import Row, project, time_once

REPEATS = 7
CASES = {
    "trainer_tax": (["--data.batch_size=256"], 8, "at most 1.03x"),
    "trainer_tax_small_step": (["--data.batch_size=32", "--network.init_args.width=8", "--network.init_args.depths=[1]"], 1, "at most 1.10x"),
}


def measure() -> list[Row]:
    rows = []
    with project() as folder:
        time_once(["leyden", "sample"], folder)
        time_once(["leyden", "prepare"], folder)
        for row, (args, copies, goal) in CASES.items():
            lengthen(folder / "artifacts/prepare", folder / row, copies)
            with contextlib.chdir(folder):
                ours, loop = compare(["-c", "configs/train.yaml", f"--data.folder={folder / row}", *args])
            rows.append(Row(row, round(ours, 3), "ms/step", round(loop, 3), round(ours / loop, 3), goal, REPEATS))
    return rows


def lengthen(prepared: Path, out: Path, copies: int) -> None:
    """Repeat the training images, so that an epoch has enough steps."""
    shutil.copytree(prepared, out)
    for name in ("images", "labels"):
        whole = np.load(out / f"train.{name}.npy")
        np.save(out / f"train.{name}.npy", np.concatenate([whole] * copies))
    report = json.loads((out / "report.json").read_text())
    report["counts"]["train"] = {label: count * copies for label, count in report["counts"]["train"].items()}
    (out / "report.json").write_text(json.dumps(report))


def compare(args: list[str]) -> tuple[float, float]:
    """Give milliseconds of a step by `leyden fit` and by the loop: medians over epochs."""
    ours: list[float] = []
    loop: list[float] = []
    for _ in range(REPEATS):
        ours.append(by_fit(args))
        loop.append(by_loop(args))
    return statistics.median(ours), statistics.median(loop)


class Stopwatch(Callback):
    """Times the second epoch's training."""

    milliseconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.milliseconds = (time.perf_counter() - self._started) * 1000 / trainer.num_training_batches


def by_fit(args: list[str]) -> float:
    from leyden.stages.train.cli import LeydenCLI

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse("fit", [*args, "--trainer.max_epochs=2", "--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=false"])
        stopwatch = Stopwatch()
        cli.trainer.callbacks.append(stopwatch)  # type: ignore[attr-defined]
        cli.run.folder.mkdir(parents=True, exist_ok=True)
        cli.trainer.fit(cli.model, cli.datamodule)
    return stopwatch.milliseconds


def by_loop(args: list[str]) -> float:
    """Train two epochs by hand; time the second."""
    from leyden.models.schedules import make_schedule
    from leyden.stages.train.cli import LeydenCLI

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse("fit", [*args, "--trainer.max_epochs=2"])
    data: Any = cli.datamodule
    model: Any = cli.model
    data.trainer = cli.trainer
    cli.trainer.training = True
    optimizer = model.optimizer(model.parameters())
    batches = data.train_dataloader()
    schedule = make_schedule("cosine", optimizer, 2 * len(batches), 0.1)
    network: Callable[[torch.Tensor], torch.Tensor] = model.model.network
    for epoch in range(2):
        batches.sampler.set_epoch(epoch)
        started, total, count = time.perf_counter(), torch.zeros(()), 0
        for batch in batches:
            images, labels = data.on_after_batch_transfer(batch, 0)
            with torch.autocast("cpu", torch.bfloat16, enabled=cli.config.trainer.precision == "bf16-mixed"):
                logits = network(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(labels)
            count += len(labels)
        milliseconds = (time.perf_counter() - started) * 1000 / len(batches)
    assert total.isfinite() and count
    return milliseconds
