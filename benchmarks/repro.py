"""Seconds of a clean pipeline in a fresh checkout, in total and by stage; the environment is already installed."""

import statistics
import tempfile
import time
from pathlib import Path

from timing import Row, copy_checkout, time_once

STAGES = ("prepare", "train", "evaluate", "export", "explain", "report")
REPEATS = 3


def measure() -> list[Row]:
    totals: list[float] = []
    by_stage: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            copy_checkout(folder)
            started = time.perf_counter()
            time_once(["leyden", "sample"], folder)
            for stage in STAGES:
                by_stage[stage].append(time_once(["dvc", "repro", "--single-item", stage], folder))
            time_once(["dvc", "repro"], folder)
            totals.append(time.perf_counter() - started)
    rows = [Row("repro", round(statistics.median(totals), 2), "s", None, None, "at most 90 s", REPEATS)]
    return rows + [
        Row(f"repro_{stage}", round(statistics.median(times), 2), "s", None, None, "", REPEATS)
        for stage, times in by_stage.items()
    ]
