"""Estimates of how long a loop will take, printed while it runs."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

MIN_SECONDS = 60.0

Item = TypeVar("Item")


def announce_cost(items: Sequence[Item], stage: str, what: str) -> Iterator[Item]:
    """Yield the items of a loop; after the first, print on stderr how long all take if that is more than a minute.

    Args:
        items: The items, which should take about equally long.
        stage: The stage that runs the loop.
        what: What the loop does, such as "robustness on 512 images".
    """
    started = time.perf_counter()
    for number, item in enumerate(items):
        yield item
        if number == 0 and (seconds := (time.perf_counter() - started) * len(items)) > MIN_SECONDS:
            print(f"{stage}: {what}: about {format_duration(seconds)}", file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{round(minutes / 60)} hours"
