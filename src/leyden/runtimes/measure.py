"""Run a model file in a separate process: `python -m leyden.runtimes.measure FILE EXAMPLES.npz RESULTS`.

The folder of results gets the outputs at each batch size (`batch_1.npy`, ...), those of the edge cases
(`edge_cases.npy`), and `figures.json` with labels, task, load time, latencies and peak memory. Outputs are written
batch by batch: with a value for each pixel, those of all examples would decide the peak memory.
"""

import json
import math
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from leyden.memory import process_peak_memory_mb
from leyden.runtimes import ModelFunction, import_runtime, open_model
from leyden.runtimes.examples import Batch, Examples, batches, load_examples
from leyden.trust.description import DEFAULTS

FIGURES, EDGE_CASES = "figures.json", "edge_cases"
BATCH_SIZES = (64, 7, 1)  # 64 is larger than the example batch of any export, 7 is odd
TIMED_BATCH_SIZES = (1, 64)
NUM_SINGLES = 64  # examples to run one by one
NUM_WARM_UP, NUM_REPEATS, MAX_SECONDS = 3, 30, 2.0


def main(file: Path, examples: Examples, results: Path) -> None:
    """Write a model's outputs on examples, with its load time, latencies and peak memory, to a folder."""
    import_runtime(file)  # before the clock starts
    started = time.perf_counter()
    run, description = open_model(file, trust=True)  # `leyden export` has just written it, or has the user's consent
    figures: dict[str, Any] = {"load_ms": (time.perf_counter() - started) * 1000, "labels": description["labels"]}
    figures["task"] = description.get("task", DEFAULTS["task"])
    for size in BATCH_SIZES:
        max_batches = NUM_SINGLES if size == 1 else None
        write_outputs(results, f"batch_{size}", run, islice(batches(examples, size), max_batches))
    write_outputs(results, EDGE_CASES, run, examples.edge_cases())
    for size in TIMED_BATCH_SIZES:
        p50, p95 = measure_latency_ms(run, examples.batch(np.resize(np.arange(len(examples)), size)))
        figures |= {f"latency_ms_b{size}_p50": p50, f"latency_ms_b{size}_p95": p95}
    figures["peak_memory_mb"] = process_peak_memory_mb()
    (results / FIGURES).write_text(json.dumps(figures), encoding="utf-8")


def write_outputs(folder: Path, name: str, run: ModelFunction, inputs: Iterable[Batch]) -> None:
    """Write the outputs of batches, one after another."""
    with open(folder / f"{name}.npy", "wb") as file:
        for batch in inputs:
            np.save(file, run(*batch))


def read_outputs(folder: Path, name: str) -> np.ndarray:
    """Read the outputs of all batches that `write_outputs` wrote; (0, 1) if there are none."""
    parts = []
    with open(folder / f"{name}.npy", "rb") as file:
        while file.peek(1):
            parts.append(np.load(file))
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


def measure_latency_ms(run: ModelFunction, batch: Batch) -> tuple[float, float]:
    """Return the median and the 95th percentile of a call's time in milliseconds."""
    times: list[float] = []
    deadline = time.perf_counter() + MAX_SECONDS
    while len(times) < NUM_WARM_UP + NUM_REPEATS and (len(times) < 2 * NUM_WARM_UP or time.perf_counter() < deadline):
        started = time.perf_counter()
        run(*batch)
        times.append((time.perf_counter() - started) * 1000)
    times = sorted(times[NUM_WARM_UP:])
    return times[len(times) // 2], times[math.ceil(0.95 * len(times)) - 1]


if __name__ == "__main__":
    sys.path.append(str(Path.cwd()))  # as in the `leyden` command: the user's own networks are importable
    main(Path(sys.argv[1]), load_examples(Path(sys.argv[2])), Path(sys.argv[3]))
