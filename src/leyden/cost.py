"""The estimated duration of long loops, printed near their start."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

MIN_SECONDS = 60.0
MEASURED_SECONDS = 2.0  # of the loop, or its first item, from which the rest is estimated

Item = TypeVar("Item")


def announce_cost(items: Sequence[Item], stage: str, what: str) -> Iterator[Item]:
    """Yield the items of a loop; after the first, print to stderr how long all take if that is more than a minute.

    Args:
        items: What the loop runs over; the items should take about equally long.
        stage: Whose loop it is.
        what: What is being done, such as "robustness on 512 images".
    """
    started, is_measured = time.perf_counter(), False
    for number, item in enumerate(items, start=1):
        yield item
        if not is_measured and (elapsed := time.perf_counter() - started) >= MEASURED_SECONDS:
            is_measured = True
            print_cost(elapsed * len(items) / number, stage, what)


def print_cost(seconds: float, stage: str, what: str) -> None:
    """Print to stderr how long something takes if that is more than a minute."""
    if seconds > MIN_SECONDS:
        print(f"{stage}: {what}: about {format_duration(seconds)}", file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{round(minutes / 60)} hours"
