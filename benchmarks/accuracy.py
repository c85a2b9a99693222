"""Test accuracy of the default recipe on the sample data: 5 seeds, each deciding split, weights and order."""

import json
import statistics

from timing import Row, project, time_once

SEEDS = range(5)


def measure() -> list[Row]:
    scores = []
    with project() as folder:
        time_once(["leyden", "sample"], folder)
        for seed in SEEDS:
            time_once(["leyden", "prepare", "-c", "configs/prepare.yaml", f"--seed={seed}"], folder)
            time_once(["leyden", "fit", "-c", "configs/train.yaml", f"--seed_everything={seed}"], folder)
            time_once(["leyden", "evaluate"], folder)
            scores.append(json.loads((folder / "artifacts/evaluate/metrics.json").read_text())["accuracy"])
    mean, low, high = statistics.mean(scores), min(scores), max(scores)
    return [
        Row("accuracy", round(mean, 5), "mean share", None, None, "at least 0.985", len(scores)),
        Row("accuracy_lowest", round(low, 5), "share", None, None, "", len(scores)),
        Row("accuracy_highest", round(high, 5), "share", None, None, "", len(scores)),
    ]
