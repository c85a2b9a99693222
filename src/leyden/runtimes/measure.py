"""Run a model file in a separate process: `python -m leyden.runtimes.measure FILE EXAMPLES.npz RESULTS.npz`.

The results hold the logits at each batch size (`logits_1`, ...), those of the edge cases (`edge_cases`), and `figures`,
a JSON text with labels, load time, latencies and peak memory.
"""

import json
import math
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from leyden.memory import process_peak_memory_mb
from leyden.runtimes import ModelFunction, import_runtime, open_model
from leyden.runtimes.examples import Batch, Examples, batches, load_examples

BATCH_SIZES = (64, 7, 1)  # 64 is larger than the example batch of any export, 7 is odd
TIMED_BATCH_SIZES = (1, 64)
NUM_SINGLES = 64  # examples to run one by one
NUM_WARM_UP, NUM_REPEATS, MAX_SECONDS = 3, 30, 2.0


def main(file: Path, examples: Examples, results: Path) -> None:
    """Write a model's logits on examples, with its load time, latencies and peak memory."""
    import_runtime(file)  # before the clock starts
    started = time.perf_counter()
    run, description = open_model(file, trust=True)  # `leyden export` has just written it, or has the user's consent
    figures = {"labels": description["labels"], "load_ms": (time.perf_counter() - started) * 1000}
    logits: dict[str, Any] = {f"logits_{size}": predict(run, examples, size) for size in BATCH_SIZES}
    empty = np.empty((0, len(description["labels"])), np.float32)
    logits["edge_cases"] = np.concatenate([empty, *(run(*batch) for batch in examples.edge_cases())])
    for size in TIMED_BATCH_SIZES:
        p50, p95 = measure_latency_ms(run, examples.batch(np.resize(np.arange(len(examples)), size)))
        figures |= {f"latency_ms_b{size}_p50": p50, f"latency_ms_b{size}_p95": p95}
    figures["peak_memory_mb"] = process_peak_memory_mb()
    np.savez(results, figures=json.dumps(figures), **logits)


def predict(run: ModelFunction, examples: Examples, batch_size: int) -> np.ndarray:
    """Return the logits of all examples; one by one, only of the first ones."""
    max_batches = NUM_SINGLES if batch_size == 1 else None
    return np.concatenate([run(*batch) for batch in islice(batches(examples, batch_size), max_batches)])


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
