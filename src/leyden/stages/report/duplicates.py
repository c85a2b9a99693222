"""Examples that occur twice, the most harmful first, and groups that lie in two splits."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from leyden.data.packed import SPLITS
from leyden.files.tables import read_table
from leyden.stages.report.pictures import Picture, pictures_of_paths

MAX_PER_RANK = 4  # pairs shown of each rank, so that many of one do not hide another
MAX_GROUPS = 10
PICTURE_SIDE_PX = 144


class Example(NamedTuple):
    """One of a pair; sequences have no picture."""

    path: str
    label: str
    split: str
    picture: Picture | None


class Pair(NamedTuple):
    """Two examples of the same content (`exact`), or of nearly the same (`near`)."""

    kind: str
    examples: tuple[Example, Example]

    @property
    def has_two_labels(self) -> bool:
        return len({example.label for example in self.examples}) > 1

    @property
    def is_in_two_splits(self) -> bool:
        return len({example.split for example in self.examples}) > 1

    @property
    def rank(self) -> tuple[bool, str, bool]:
        """Order by harm: exact copies in two splits, those of two labels, near ones likewise, and last those that merely count twice."""
        return not (self.has_two_labels or self.is_in_two_splits), self.kind, not self.is_in_two_splits


class Tally(NamedTuple):
    """How many pairs of a kind there are, how many of them have two labels or lie in two splits."""

    kind: str
    pairs: int
    two_labels: int
    two_splits: int


@dataclass
class Duplicates:
    """All pairs, counted; the first of each rank, with pictures; how many examples each group has in each of its two splits or more."""

    tallies: list[Tally]
    harmless: int
    shown: list[Pair]
    groups: list[tuple[str, dict[str, int]]]
    num_groups: int

    @property
    def num_pairs(self) -> int:
        return sum(tally.pairs for tally in self.tallies)


def read_duplicates(prepare: Path) -> Duplicates:
    pairs = [pair_of(row) for row in read_table(prepare / "duplicates.csv", "prepare")]
    ranked = groupby(sorted(pairs, key=lambda pair: pair.rank), lambda pair: pair.rank)
    shown = [pair for _, same in ranked for pair in islice(same, MAX_PER_RANK)]
    groups = find_split_groups(read_table(prepare / "manifest.csv", "prepare"))
    return Duplicates(
        tallies=[tally(kind, pairs) for kind in ("exact", "near")],
        harmless=sum(not (pair.has_two_labels or pair.is_in_two_splits) for pair in pairs),
        shown=add_pictures(shown, prepare),
        groups=groups[:MAX_GROUPS],
        num_groups=len(groups),
    )


def pair_of(row: dict[str, str]) -> Pair:
    first = Example(row["other"], row["other_label"], row["other_split"], None)
    return Pair(row["kind"], (first, Example(row["path"], row["label"], row["split"], None)))


def tally(kind: str, pairs: list[Pair]) -> Tally:
    own = [pair for pair in pairs if pair.kind == kind]
    return Tally(kind, len(own), sum(pair.has_two_labels for pair in own), sum(pair.is_in_two_splits for pair in own))


def add_pictures(pairs: list[Pair], prepare: Path) -> list[Pair]:
    pictures = pictures_of_paths(
        prepare, {example.path for pair in pairs for example in pair.examples}, PICTURE_SIDE_PX
    )
    return [
        Pair(pair.kind, (with_picture(pair.examples[0], pictures), with_picture(pair.examples[1], pictures)))
        for pair in pairs
    ]


def with_picture(example: Example, pictures: dict[str, Picture]) -> Example:
    return example._replace(picture=pictures.get(example.path))


def find_split_groups(manifest: list[dict[str, str]]) -> list[tuple[str, dict[str, int]]]:
    """Count the examples of each group in each split, where it lies in more than one."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in manifest:
        if group := row.get("group"):
            counts[group][row["split"]] += 1
    return [
        (group, {split: own[split] for split in SPLITS if own[split]}) for group, own in counts.items() if len(own) > 1
    ]
