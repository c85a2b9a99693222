"""Timing of commands, and the rows of results."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]


class Skip(Exception):  # noqa: N818 - not an error
    """Raised when a benchmark cannot run here; the message says what to do."""


@dataclass
class Row:
    """One result.

    Args:
        name: What was measured.
        value: Median, or the mean where `unit` says so.
        unit: Unit of value and baseline.
        baseline: The usual implementation, measured in the same run; null if there is none.
        ratio: value / baseline.
        goal: What value or ratio should be, in words.
        repeats: Number of measurements.
    """

    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    goal: str
    repeats: int


def compare(name: str, command: list[str], baseline: list[str], goal: str, repeats: int, cwd: Path = REPO) -> Row:
    """Time two commands alternately, after one warm-up run of each: median seconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for seconds, words in zip(times, (command, baseline), strict=True):
            elapsed = time_once(words, cwd)
            if repeat:
                seconds.append(elapsed)
    value, usual = (statistics.median(seconds) for seconds in times)
    return Row(name, round(value, 4), "s", round(usual, 4), round(value / usual, 3), goal, repeats)


def time_once(command: list[str], cwd: Path) -> float:
    """Run a command and return its seconds.

    Raises:
        subprocess.CalledProcessError: if it fails; its output is printed first.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()
    return seconds


@contextmanager
def project() -> Iterator[Path]:
    """Yield a temporary folder to work in as in a checkout: it links to this one's configs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "configs").symlink_to(REPO / "configs")
        yield folder


def environment() -> dict[str, str]:
    """Return an environment in which this interpreter's programs come first on the PATH, and bytecode is cached."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def copy_checkout(folder: Path) -> None:
    """Copy the files that git tracks, or would track, with their modification times, to a new repository."""
    import shutil

    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPO, capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (REPO / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, folder / name)
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=folder, check=True)


def normalized_batches(data: Any) -> Iterable[Any]:
    """Yield an epoch of an `ImageData`'s training batches in bfloat16, normalised as in the model."""
    import torch
    from lightning.pytorch import Trainer

    from leyden.models.image_model import Preprocess

    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    data.trainer = Trainer(accelerator="cpu", precision="bf16-mixed", **quiet)
    data.trainer.training = True
    constants = Preprocess(data.input, expand=False).scale_and_shift()
    for batch in data.train_dataloader():
        images, labels = data.on_after_batch_transfer(batch, 0)
        yield images.normalize(*constants, torch.bfloat16), labels
