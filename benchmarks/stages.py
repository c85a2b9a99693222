"""Seconds of the stages that read a trained model, start-up included, as they are configured, on the sample data."""

import statistics

from timing import Row, project, time_once

REPEATS = 3
COMMANDS = {
    "evaluate": (["leyden", "evaluate", "-c", "configs/evaluate.yaml", "--robustness=[]"], "at most 10 s"),
    "explain": (["leyden", "explain", "-c", "configs/explain.yaml"], "at most 45 s"),
    "report": (["leyden", "report", "-c", "configs/report.yaml"], "at most 5 s"),
}


def measure() -> list[Row]:
    times: dict[str, list[float]] = {verb: [] for verb in COMMANDS}
    with project() as folder:
        for verb in ("sample", "prepare", "fit"):
            time_once(["leyden", verb], folder)
        for _ in range(REPEATS):
            for verb, (command, _) in COMMANDS.items():  # the report needs the other stages' output
                times[verb].append(time_once(command, folder))
    return [
        Row(f"{verb}_seconds", round(statistics.median(times[verb]), 2), "s", None, None, goal, REPEATS)
        for verb, (_, goal) in COMMANDS.items()
    ]
