"""The outcome of a check."""

from typing import NamedTuple

PASSED = "Passed"
WARNING = "Warning"
NO_TARGET = "No target"
UNCERTAIN = "Uncertain"
MISSING = "Missing"
FAILED = "Failed"
ORDER = (FAILED, MISSING, UNCERTAIN, NO_TARGET, WARNING, PASSED)


class Check(NamedTuple):
    """A check with its outcome; `section` is the anchor on the page that shows the evidence in full."""

    outcome: str
    title: str
    evidence: str
    section: str
