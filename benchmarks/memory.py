"""Peak memory of `leyden prepare` and of a training process at 1x and 4x the images: it must not grow beyond the index."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from cifar10 import cifar10_folder
from timing import Row, time_once

PER_CLASS = 1000
PEAK = """
import json, resource, sys
from leyden.cli import main
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
sys.exit(code)
"""


def measure() -> list[Row]:
    folder = cifar10_folder()
    peaks: dict[str, list[float]] = {"prepare": [], "train": []}
    with tempfile.TemporaryDirectory() as name:
        for factor in (1, 4):
            work = Path(name) / str(factor)
            copy_part(folder / "train", work / "data", PER_CLASS * factor)
            peaks["prepare"].append(peak_mb(work, ["prepare"]))
            config = str(Path(__file__).resolve().parents[1] / "configs/train.yaml")
            few = ["--trainer.limit_train_batches=20", "--trainer.limit_val_batches=2", "--trainer.max_epochs=1"]
            peaks["train"].append(peak_mb(work, ["fit", "-c", config, *few]))
    return [
        Row(f"{stage}_memory", round(large, 1), "MB at 4x", round(small, 1), round(large / small, 3), "about 1x", 1)
        for stage, (small, large) in peaks.items()
    ]


def copy_part(source: Path, target: Path, per_class: int) -> None:
    for folder in sorted(source.iterdir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:per_class]:
            shutil.copy(path, target / folder.name / path.name)


def peak_mb(work: Path, args: list[str]) -> float:
    time_once([sys.executable, "-c", PEAK, "peak.json", *args], work)
    return float(json.loads((work / "peak.json").read_text()))
