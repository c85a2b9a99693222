"""The outcome of a check."""

from typing import NamedTuple

PASSED = "Passed"
WARNING = "Warning"
NOT_JUDGED = "Not judged"
UNCERTAIN = "Uncertain"
MISSING = "Missing"
FAILED = "Failed"
ORDER = (FAILED, MISSING, UNCERTAIN, NOT_JUDGED, WARNING, PASSED)


class Check(NamedTuple):
    """A check with its outcome; `section` is the anchor on the page that shows the evidence in full."""

    outcome: str
    title: str
    evidence: str
    section: str
