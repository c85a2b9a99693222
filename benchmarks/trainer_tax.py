"""Overhead of `leyden fit` over a hand-written loop with the same network, data, optimizer, schedule and precision.

One epoch of training with the progress bar and the CSV file, without checkpoints and validation on both sides; the
loop steps, schedules and sums its loss as one would write it by hand. Two cases: the default network at batch 256,
and a small network at batch 32, whose step takes a few ms, on one thread. The small network is also trained by a bare
Trainer without callbacks, logs or a schedule, which is the overhead of Lightning's own loop. All sides alternate in
one process.
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

CONFIG = ["-c", "configs/train.yaml"]
REPEATS, SMALL_REPEATS = 11, 31
SMALL = ["--data.batch_size=32", "--network.init_args.width=8", "--network.init_args.depths=[1]"]


def measure() -> list[Row]:
    with project() as folder:
        time_once(["leyden", "sample"], folder)
        time_once(["leyden", "prepare"], folder)
        args = [*CONFIG, f"--data.folder={lengthen(folder, copies=8)}", "--data.batch_size=256"]
        small = [*CONFIG, f"--data.folder={lengthen(folder, copies=4)}", *SMALL]
        with contextlib.chdir(folder):
            fit, loop = alternate(REPEATS, lambda: run_fit(args), lambda: run_loop(args))
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            small_fit, bare, small_loop = alternate(
                SMALL_REPEATS,
                lambda: run_fit(small),
                lambda: run_bare(small),
                lambda: run_loop(small),
            )
            torch.set_num_threads(threads)
    return [
        row("trainer_tax", fit, loop, "at most 1.03x"),
        row("trainer_tax_small_step", small_fit, bare, "at most 1.05x"),
        row("trainer_tax_bare", bare, small_loop, "none: Lightning's own"),
    ]


def row(name: str, times: list[float], baseline: list[float], goal: str) -> Row:
    ratio = statistics.median(a / b for a, b in zip(times, baseline, strict=True))
    return Row(
        name,
        round(statistics.median(times), 3),
        "ms/step",
        round(statistics.median(baseline), 3),
        round(ratio, 3),
        goal,
        len(times),
    )


def lengthen(folder: Path, copies: int) -> Path:
    """Repeat the prepared training images, so that an epoch has enough steps; return the new folder."""
    out = folder / f"prepared_{copies}"
    shutil.copytree(folder / "artifacts/prepare", out)
    for name in ("images", "targets"):
        array = np.load(out / f"train.{name}.npy")
        np.save(out / f"train.{name}.npy", np.concatenate([array] * copies))
    report = json.loads((out / "report.json").read_text())
    report["counts"]["train"] = {label: count * copies for label, count in report["counts"]["train"].items()}
    (out / "report.json").write_text(json.dumps(report))
    return out


def alternate(repeats: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Return the milliseconds per step of each side, run alternately."""
    times = [[side() for side in sides] for _ in range(repeats)]
    return [list(each) for each in zip(*times, strict=True)]


class Stopwatch(Callback):
    """Times the second epoch's training."""

    milliseconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.milliseconds = (time.perf_counter() - self._started) * 1000 / trainer.num_training_batches


def run_fit(args: list[str]) -> float:
    from leyden.training.cli import LeydenCLI

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse(
            "fit",
            [
                *args,
                "--trainer.max_epochs=2",
                "--trainer.enable_progress_bar=true",
                "--trainer.enable_model_summary=false",
            ],
        )
        stopwatch = Stopwatch()
        cli.trainer.callbacks.append(stopwatch)  # type: ignore[attr-defined]
        cli.run.folder.mkdir(parents=True, exist_ok=True)
        cli.trainer.fit(cli.model, cli.datamodule)
    return stopwatch.milliseconds


class Bare(LightningModule):
    """A network, its loss and its optimizer; times the second epoch."""

    milliseconds = 0.0

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.network, self.optimizer = classifier.model.network, classifier.optimizer(classifier.parameters())
        self.constants = classifier.model.preprocess.scale_and_shift()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        dtype = torch.bfloat16 if str(self.trainer.precision).startswith("bf16") else torch.float32
        logits = self.network(images.normalize(*self.constants, dtype))
        return F.cross_entropy(logits.float(), labels, label_smoothing=0.1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def on_train_epoch_start(self) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.milliseconds = (time.perf_counter() - self._started) * 1000 / self.trainer.num_training_batches


def run_bare(args: list[str]) -> float:
    from leyden.training.cli import LeydenCLI

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse("fit", args)
        bare = Bare(cli.model)
        options: dict[str, Any] = {
            "limit_val_batches": 0,
            "use_distributed_sampler": False,
            "precision": cli.config.trainer.precision,
        }
        Trainer(barebones=True, max_epochs=2, **options).fit(bare, datamodule=cli.datamodule)
    return bare.milliseconds


def run_loop(args: list[str]) -> float:
    """Train two epochs by hand; time the second."""
    from leyden.training.cli import LeydenCLI
    from leyden.training.schedules import Schedule, make_schedule

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse("fit", [*args, "--trainer.max_epochs=2"])
    data: Any = cli.datamodule
    model: Any = cli.model
    data.trainer = model.trainer = cli.trainer
    cli.trainer.training = True
    optimizer = model.optimizer(model.parameters())
    batches = data.train_dataloader()
    schedule = make_schedule(Schedule(), optimizer, 2 * len(batches))
    network: Callable[[torch.Tensor], torch.Tensor] = model.model.network
    for epoch in range(2):
        batches.sampler.set_epoch(epoch)
        started, total, count = time.perf_counter(), torch.zeros(()), 0
        for batch in batches:
            (images,), labels = model.prepare_inputs(data.on_after_batch_transfer(batch, 0), 0)
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
