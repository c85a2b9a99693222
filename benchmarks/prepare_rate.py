"""Images per second of `leyden prepare` on CIFAR-10's 60,000 JPEGs, start-up included, against a decoding loop."""

import statistics
import sys
import tempfile
from pathlib import Path

from cifar10 import cifar10_folder
from timing import Row, time_once

NUM_IMAGES = 60_000
REPEATS = 3
PLAIN = """
import pathlib, sys
import numpy as np
from PIL import Image
for path in pathlib.Path(sys.argv[1]).rglob("*.jpg"):
    np.asarray(Image.open(path).convert("RGB"))
"""


def measure() -> list[Row]:
    folder = cifar10_folder()
    leyden_rates: list[float] = []
    plain_rates: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for repeat in range(REPEATS):
            command = ["leyden", "prepare", "--data", str(folder), "--out", str(Path(name) / str(repeat))]
            leyden_rates.append(NUM_IMAGES / time_once(command, Path(name)))
            plain_rates.append(NUM_IMAGES / time_once([sys.executable, "-c", PLAIN, str(folder)], Path(name)))
    value, baseline = statistics.median(leyden_rates), statistics.median(plain_rates)
    return [
        Row(
            "prepare_rate",
            round(value),
            "images/s",
            round(baseline),
            round(value / baseline, 2),
            "at least 5,000 images/s",
            REPEATS,
        )
    ]
