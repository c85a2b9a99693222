"""What is known of the files once all are judged."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.pixel_cache import CacheEntry

Shape = tuple[int, int, int]


class AnyJudged(Protocol):
    """What is known of a good image or sequence, as far as all of `prepare` needs it."""

    @property
    def digest(self) -> str: ...

    @property
    def thumb(self) -> bytes: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def side(self) -> int: ...


@dataclass
class Examples:
    """The files that were judged good, each with its place in the spool (None where it is read again), and why others were not.

    `labels` are all that were asked for: a class whose files are all broken does not vanish unseen.
    """

    labels: list[str]
    candidates: list[Candidate] = field(default_factory=list)
    judged: list[Any] = field(default_factory=list)
    places: list[CacheEntry | None] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def digests(self) -> list[str]:
        return [known.digest for known in self.judged]


def label_indices(examples: Examples) -> list[int]:
    """Give each example's label by its place in `labels`."""
    indices = {label: index for index, label in enumerate(examples.labels)}
    return [indices[candidate.label] for candidate in examples.candidates]
