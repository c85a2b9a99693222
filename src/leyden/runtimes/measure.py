"""Run a model file on examples in a process of its own: `python -m leyden.runtimes.measure FILE EXAMPLES.npz ANSWERS.npz`.

The answers hold the logits at each batch size (`logits_1`, ...), those of further batches (`edges`),
and `figures`, JSON: labels, load time, latencies, peak memory.
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
from leyden.runtimes import Run, import_runtime, open_model
from leyden.runtimes.examples import Batch, Examples, batches, load_examples

BATCH_SIZES = (64, 7, 1)  # 64 is more than the example of any export, 7 is odd
TIMED_BATCH_SIZES = (1, 64)
NUM_SINGLES = 64  # examples that are run one by one
WARM_UP, REPEATS, SECONDS = 3, 30, 2.0


def main(file: Path, examples: Examples, answers: Path) -> None:
    """Write a model's logits on examples, and how fast and large it was."""
    import_runtime(file)
    started = time.perf_counter()
    model = open_model(file, trust=True)  # `leyden export` has just written it, or loaded it with the user's consent
    figures = {"labels": model.labels, "load_ms": (time.perf_counter() - started) * 1000}
    logits: dict[str, Any] = {f"logits_{size}": predict(model.run, examples, size) for size in BATCH_SIZES}
    logits["edges"] = np.concatenate(
        [np.empty((0, len(model.labels)), np.float32), *(model.run(*batch) for batch in examples.edges())]
    )
    for size in TIMED_BATCH_SIZES:
        p50, p95 = latency_ms(model.run, examples.take(np.resize(np.arange(len(examples)), size)))
        figures |= {f"latency_ms_b{size}_p50": p50, f"latency_ms_b{size}_p95": p95}
    figures["peak_memory_mb"] = process_peak_memory_mb()
    np.savez(answers, figures=json.dumps(figures), **logits)


def predict(run: Run, examples: Examples, batch_size: int) -> np.ndarray:
    """Give the logits of all examples, one by one of the first only."""
    return np.concatenate(
        [run(*batch) for batch in islice(batches(examples, batch_size), NUM_SINGLES if batch_size == 1 else None)]
    )


def latency_ms(run: Run, batch: Batch) -> tuple[float, float]:
    """Measure a call: median and 95th percentile of milliseconds."""
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < WARM_UP + REPEATS and (len(times) < 2 * WARM_UP or time.perf_counter() - begun < SECONDS):
        started = time.perf_counter()
        run(*batch)
        times.append((time.perf_counter() - started) * 1000)
    times = sorted(times[WARM_UP:])
    return times[len(times) // 2], times[math.ceil(0.95 * len(times)) - 1]


if __name__ == "__main__":
    sys.path.append(str(Path.cwd()))  # a network of the user's own, as `leyden` itself finds it
    main(Path(sys.argv[1]), load_examples(Path(sys.argv[2])), Path(sys.argv[3]))
