"""Peak memory of `leyden prepare` and `leyden fit` on 10,000 and on 40,000 images of CIFAR-10: only the index may grow.

Memory is the anonymous and shared memory of the whole process tree, sampled 50 times a second. Pages of mapped files
are not counted: they are the kernel's cache, which it frees when memory is short. With more images `prepare` needs a
larger index: path, label, hash, thumbnail.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cifar10 import cifar10_folder
from timing import REPO, Row, environment

PER_CLASS, NUM_CLASSES = 1000, 10
REPEATS = 3
INTERVAL_S = 0.02
PREPARE = ["prepare", "-c", str(REPO / "configs/prepare.yaml")]
TRAIN = [
    "fit",
    "-c",
    str(REPO / "configs/train.yaml"),
    "--trainer.limit_train_batches=20",
    "--trainer.limit_val_batches=2",
]


def measure() -> list[Row]:
    folder = cifar10_folder()
    peaks: dict[tuple[str, int], list[float]] = {
        (stage, factor): [] for stage in ("prepare", "train") for factor in (1, 4)
    }
    with tempfile.TemporaryDirectory() as name:
        for factor in (1, 4):
            copy_part(folder / "train", Path(name) / str(factor) / "data", PER_CLASS * factor)
        for repeat in range(REPEATS):
            for factor in (1, 4):
                work = Path(name) / str(factor)
                peaks["prepare", factor].append(peak_mb(PREPARE, work))
                peaks["train", factor].append(
                    peak_mb([*TRAIN, "--trainer.max_epochs=1", f"--seed_everything={repeat}"], work)
                )
    growth = statistics.median(peaks["prepare", 4]) - statistics.median(peaks["prepare", 1])
    index = Row(
        "prepare_index",
        round(growth * 2**20 / (3 * PER_CLASS * NUM_CLASSES)),
        "bytes/image",
        None,
        None,
        "about 1,000",
        REPEATS,
    )
    return [*(row_of(stage, peaks[stage, 1], peaks[stage, 4]) for stage in ("prepare", "train")), index]


def row_of(stage: str, small: list[float], large: list[float]) -> Row:
    value, baseline = statistics.median(large), statistics.median(small)
    return Row(
        f"{stage}_memory",
        round(value, 1),
        "MB",
        round(baseline, 1),
        round(value / baseline, 3),
        "about 1x: 4x the images",
        REPEATS,
    )


def copy_part(source: Path, target: Path, per_class: int) -> None:
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:per_class]:
            shutil.copy(path, target / folder.name / path.name)


def peak_mb(args: list[str], cwd: Path) -> float:
    """Run a verb; return the peak memory of its process tree.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    peak = 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "leyden", *args], cwd=cwd, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            peak = max(peak, sum(memory_kb(pid) for pid in process_tree(process.pid)))
            time.sleep(INTERVAL_S)
        if process.returncode:
            output.seek(0)
            print(output.read().decode(), file=sys.stderr)
            raise subprocess.CalledProcessError(process.returncode, args)
    return peak / 1024


def process_tree(pid: int) -> list[int]:
    """List a process and its descendants."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:  # the process has ended
        return []
    return [pid, *(descendant for child in children for descendant in process_tree(child))]


def memory_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
