"""Seconds of `make repro` when nothing has changed, against a bare `dvc repro`."""

from timing import REPO, Row, compare, time_once


def measure() -> list[Row]:
    time_once(["make", "repro"], REPO)
    return [compare("noop", ["make", "repro"], ["dvc", "repro"], "below 3 s", repeats=7)]
