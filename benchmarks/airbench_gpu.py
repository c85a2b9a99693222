"""CIFAR-10 on one GPU: airbench.yaml against the published recipe (Jordan, 2024) on the same card and files.

Needs a GPU, CIFAR10=FOLDER, and AIRBENCH=PATH of the published airbench94_muon.py. Both sides count the seconds of
training alone, as that script does: data on the device, network compiled, without scoring. Accuracies are on the test
images, each with its own test-time augmentation. The baseline of `airbench_gpu_accuracy` is the published recipe's
accuracy on these files.
"""

import contextlib
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from copy import deepcopy
from os import environ
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cifar10 import cifar10_folder
from timing import Row, Skip, environment, project, time_once

NUM_RUNS = 5
CONFIGS = [f"-c=configs/{name}.yaml" for name in ("train", "trainer/gpu", "trainer/compile", "experiment/airbench")]


def measure() -> list[Row]:
    published = Path(environ.get("AIRBENCH", "no-such-file")).resolve()
    if not torch.cuda.is_available():
        raise Skip("expected a GPU")
    if not published.is_file():
        raise Skip("expected the published recipe; set AIRBENCH=PATH of airbench94_muon.py")
    folder = cifar10_folder().resolve()
    published_runs = run_published(published, folder)
    with project() as workspace:
        time_once(["leyden", "prepare", f"--data={folder}", "--val_fraction=0.02"], workspace)
        with contextlib.chdir(workspace):
            leyden_runs = [run_fit(seed) for seed in range(NUM_RUNS)]
    accuracy, usual_accuracy = (
        statistics.mean(accuracy for accuracy, _ in runs) for runs in (leyden_runs, published_runs)
    )
    seconds, usual = (statistics.median(seconds for _, seconds in runs) for runs in (leyden_runs, published_runs))
    return [
        Row(
            "airbench_gpu", round(seconds, 3), "s", round(usual, 3), round(seconds / usual, 3), "at most 1.1x", NUM_RUNS
        ),
        Row(
            "airbench_gpu_accuracy",
            round(accuracy, 4),
            "mean share",
            round(usual_accuracy, 4),
            None,
            "equal to the baseline",
            NUM_RUNS,
        ),
    ]


def run_published(published: Path, cifar10: Path) -> list[tuple[float, float]]:
    """Run the published recipe on the same files; return accuracy and seconds of each run."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "cifar10").mkdir()
        for split in ("train", "test"):
            pack(cifar10 / split, Path(name) / f"cifar10/{split}.pt")
        (Path(name) / "recipe.py").write_text(published.read_text().replace("range(200)", f"range({NUM_RUNS})"))
        printed = subprocess.run(
            [sys.executable, "recipe.py"], cwd=name, env=environment(), capture_output=True, text=True, check=True
        ).stdout
    rows = [re.findall(r"[^|\s]+", line) for line in printed.splitlines() if line.startswith("|")]
    eval_rows = [number for number, row in enumerate(rows) if row and row[0] == "eval"]
    return [(float(rows[number][-2]), float(rows[number - 1][-1])) for number in eval_rows[-NUM_RUNS:]]


def pack(folder: Path, out: Path) -> None:
    """Write class folders of images in the published recipe's format."""
    import numpy as np
    from torchvision.datasets import ImageFolder

    images = ImageFolder(str(folder))
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image, _ in images]))
    torch.save({"images": pixels, "labels": torch.tensor(images.targets), "classes": images.classes}, out)


class Stopwatch(Callback):
    """Sums the seconds of training batches, after a first step that compiles the network and is undone."""

    def __init__(self) -> None:
        self.seconds = self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        initial_state = deepcopy(pl_module.state_dict())
        batch = trainer.strategy.batch_to_device(next(iter(data.train_dataloader())))
        with trainer.precision_plugin.train_step_context():
            loss: Any = pl_module.training_step(batch, 0)
        loss.backward()
        pl_module.zero_grad()
        pl_module.load_state_dict(initial_state)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.cuda.synchronize()
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self._started


def run_fit(seed: int) -> tuple[float, float]:
    """Train as `leyden fit` does and score the test images; return accuracy and seconds."""
    from leyden.training.cli import LeydenCLI
    from leyden.training.run_checkpoint import RunCheckpoint

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        cli = LeydenCLI.parse("fit", [*CONFIGS, f"--seed_everything={seed}", "--trainer.limit_val_batches=0"])
        stopwatch, trainer = Stopwatch(), cli.trainer
        callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
        others = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        trainer.callbacks = [stopwatch, *others]  # type: ignore[attr-defined]
        cli.run.folder.mkdir(parents=True, exist_ok=True)
        trainer.fit(cli.model, cli.datamodule)
        network: Any = cli.model.model.network
        network._compiled_call_impl = None  # scoring is not timed
        (scores,) = trainer.test(cli.model, cli.datamodule)
    return scores["test/accuracy"], stopwatch.seconds
