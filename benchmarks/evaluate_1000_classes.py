"""CPU seconds and peak memory of evaluating 50,000 random predictions of 1,000 classes: metrics, tables, plots.

The baseline is a quarter of the predictions. Memory is the growth of the process's peak over what the predictions
themselves take up (200 MB); with their number, only the lists of confusions and mistakes grow.
"""

import json
import statistics
import subprocess
import sys

from timing import REPO, Row, environment

REPEATS = 1
COUNT, QUARTER = 50_000, 12_500
EVALUATION = """
import json, sys, tempfile, time
from pathlib import Path
import torch
from leyden.memory import process_peak_memory_mb
from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.predictions import Predictions
from leyden.stages.evaluate.results import write_results
from leyden.stages.evaluate.suspects import list_suspects

count, num_classes = int(sys.argv[1]), 1000
generator = torch.Generator().manual_seed(0)
labels = torch.arange(count) % num_classes
log_probabilities = torch.randn(count, num_classes, generator=generator)
log_probabilities[torch.arange(count), labels] += 4.5
for block in log_probabilities.split(1000):
    block.copy_((4.5 * block).log_softmax(dim=1))
names = [f"class {number}" for number in range(num_classes)]
predictions = Predictions([f"{number}.jpg" for number in range(count)], names, labels, log_probabilities)
before, started = process_peak_memory_mb(), time.process_time()
metrics = metrics_with_intervals(predictions, 5, 10_000, 0.95, 0)
suspects = list_suspects(predictions, "test", 0.95)
with tempfile.TemporaryDirectory() as folder:
    write_results(Path(folder), predictions, metrics, [], suspects, [])
print(json.dumps([time.process_time() - started, process_peak_memory_mb() - before]))
"""


def measure() -> list[Row]:
    runs: dict[int, list[tuple[float, float]]] = {COUNT: [], QUARTER: []}
    for _ in range(REPEATS):
        for count, results in runs.items():
            command = [sys.executable, "-c", EVALUATION, str(count)]
            done = subprocess.run(command, cwd=REPO, env=environment(), capture_output=True, text=True, check=True)
            seconds, memory_mb = json.loads(done.stdout)
            results.append((seconds, memory_mb))
    rows = []
    for column, (name, unit, goal) in enumerate(
        (("", "CPU s", "at most 30 s"), ("_memory", "MB", "at most 2x: 4x as many"))
    ):
        value, baseline = (statistics.median(run[column] for run in results) for results in runs.values())
        ratio = round(value / baseline, 3)
        row = Row(f"evaluate_1000_classes{name}", round(value, 1), unit, round(baseline, 1), ratio, goal, REPEATS)
        rows.append(row)
    return rows
