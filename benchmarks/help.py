"""Seconds of `leyden --help`, against starting a bare interpreter."""

import sys

from timing import Row, compare


def measure() -> list[Row]:
    return [compare("help", ["leyden", "--help"], [sys.executable, "-c", "pass"], "below 0.5 s", repeats=11)]
