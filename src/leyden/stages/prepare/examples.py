"""The records of usable and rejected files, from reading to packing."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.pixel_cache import CacheEntry
from leyden.tasks.targets import TargetSummary

Shape = tuple[int, int, int]  # height, width and channels


@dataclass(slots=True)
class Example:
    """A usable image or sequence."""

    candidate: Candidate
    target: TargetSummary
    content: Any  # `ValidImage` or `ValidSequence`
    cached: CacheEntry | None  # its pixels or values in the cache; None for images that are read again
    key: str = ""  # of examples that must be in the same split; it and `split` are empty until `assign_splits`
    split: str = ""  # train, val or test

    @property
    def path(self) -> str:
        return self.candidate.path

    @property
    def label(self) -> str:
        """The target as a text: the label of a class, a number, or the path of a mask."""
        return self.candidate.label


class RejectedFile(NamedTuple):
    """A file that is not usable, and why; the fields are the columns of rejected.csv."""

    path: str
    reason: str
