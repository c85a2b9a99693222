"""Duplicate examples, the most harmful first, and groups in more than one split."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from leyden.data.packed import DUPLICATES, MANIFEST, SPLITS
from leyden.files.tables import read_table
from leyden.stages.report.pictures import Picture, encode_paths

PAIR_COLUMNS = ("kind", "path", "other", "label", "other_label", "split", "other_split")
MAX_PER_RANK = 4  # pairs shown of each rank, so that each rank is represented
MAX_GROUPS = 10
PICTURE_SIDE_PX = 144


class Example(NamedTuple):
    """One example of a pair."""

    path: str
    label: str
    split: str


class Pair(NamedTuple):
    """Two examples with the same content (`exact`) or nearly the same (`near`)."""

    kind: str
    examples: tuple[Example, Example]

    @property
    def has_different_labels(self) -> bool:
        return len({example.label for example in self.examples}) > 1

    @property
    def has_different_splits(self) -> bool:
        return len({example.split for example in self.examples}) > 1

    @property
    def is_harmless(self) -> bool:
        return not (self.has_different_labels or self.has_different_splits)

    @property
    def rank(self) -> tuple[bool, str, bool]:
        """Sort key: exact before near duplicates, different splits before different labels, and harmless ones last."""
        return self.is_harmless, self.kind, not self.has_different_splits


class PairCounts(NamedTuple):
    """Number of pairs of a kind, and of those with different labels or in different splits."""

    kind: str
    pairs: int
    different_labels: int
    different_splits: int


@dataclass
class Duplicates:
    """Counts of all pairs, some pairs of each rank, and the groups in more than one split."""

    counts: list[PairCounts]  # exact, near
    num_harmless: int
    shown: list[Pair]
    pictures: dict[str, Picture]  # of the pairs shown, by path; none of sequences
    groups: list[tuple[str, dict[str, int]]]  # the first MAX_GROUPS: group, examples per split
    num_groups: int
    near_applies: bool  # False: near duplicates could not be distinguished from other examples, and none is listed

    @property
    def num_pairs(self) -> int:
        return sum(counts.pairs for counts in self.counts)


def read_duplicates(prepare: Path, near_applies: bool) -> Duplicates:
    pairs = [parse_pair(row) for row in read_table(prepare / DUPLICATES, "prepare", PAIR_COLUMNS)]
    by_rank = groupby(sorted(pairs, key=lambda pair: pair.rank), lambda pair: pair.rank)
    shown = [pair for _, ranked in by_rank for pair in islice(ranked, MAX_PER_RANK)]
    groups = find_split_groups(read_table(prepare / MANIFEST, "prepare", ["group", "split"]))
    return Duplicates(
        counts=[count_pairs(kind, pairs) for kind in ("exact", "near")],
        num_harmless=sum(pair.is_harmless for pair in pairs),
        shown=shown,
        pictures=encode_paths(prepare, {example.path for pair in shown for example in pair.examples}, PICTURE_SIDE_PX),
        groups=groups[:MAX_GROUPS],
        num_groups=len(groups),
        near_applies=near_applies,
    )


def parse_pair(row: dict[str, str]) -> Pair:
    first = Example(row["other"], row["other_label"], row["other_split"])
    return Pair(row["kind"], (first, Example(row["path"], row["label"], row["split"])))


def count_pairs(kind: str, pairs: list[Pair]) -> PairCounts:
    pairs = [pair for pair in pairs if pair.kind == kind]
    different_labels = sum(pair.has_different_labels for pair in pairs)
    return PairCounts(kind, len(pairs), different_labels, sum(pair.has_different_splits for pair in pairs))


def find_split_groups(manifest: list[dict[str, str]]) -> list[tuple[str, dict[str, int]]]:
    """Count the examples per split of each group that is in more than one."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in manifest:
        if group := row.get("group"):
            counts[group][row["split"]] += 1
    return [
        (group, {split: by_split[split] for split in SPLITS if by_split[split]})
        for group, by_split in counts.items()
        if len(by_split) > 1
    ]
