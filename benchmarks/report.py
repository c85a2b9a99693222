"""Seconds of `leyden report` on the sample's artifacts, start-up included, beside the start of a bare interpreter."""

import sys
import tempfile

from timing import REPO, Row, compare, time_once


def measure() -> list[Row]:
    time_once(["make", "repro"], REPO)
    with tempfile.TemporaryDirectory() as folder:
        command = ["leyden", "report", f"--out={folder}/report"]
        return [compare("report", command, [sys.executable, "-c", "pass"], "below 5 s", repeats=7)]
