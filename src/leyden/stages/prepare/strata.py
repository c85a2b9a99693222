"""Stratified splits of units that stay whole: a hash draws the split of each, and then a few are moved.

If an added image is never to move another, the split of each depends on that image alone, and the number of a class's
images in a split is binomial. Such splits cannot be stratified as well. Stability therefore gives way where the number
is too far from the class's share, which happens in small classes only. With the default fractions, ten images added to
a class of 20 move 0.9 of them on average; added to a class of 100, 0.2; and to a class of 1,000, none.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

# A class may have this fraction more or fewer examples in a split than its share: 2 to 4 of 20 for a share of 0.15.
# From about 300 examples on, a draw is hardly ever further away (2.5 standard deviations).
TOLERANCE = 0.35


@dataclass(slots=True)
class Unit:
    """Examples that must be in the same split: the copies of an image, or a group."""

    position: float  # in [0, 1), from a hash
    split: str
    counts: Counter[str] = field(
        default_factory=Counter
    )  # examples by stratum, which is their label or one of its kind


def draw_unit(key: str, seed: int, fractions: Mapping[str, float]) -> Unit:
    """Draw a split from a key alone; what the fractions leave is for training."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    bound = 0.0
    for split, fraction in fractions.items():
        bound += fraction
        if position < bound:
            return Unit(position, split)
    return Unit(position, "train")


class Strata:
    """Units by label, in the order of their positions, and the number of examples in each split by label.

    Two cuts in this order divide a class into its splits. An image that is added to the class shifts each cut by a few
    images at most, so that it moves at most three others, and none of another class. A group with several labels is
    moved as one of them requires, which may leave another label with more than its share.

    Args:
        units: All units, as they were drawn.
        fractions: Of the splits that are drawn, in the order of their intervals.
        num_training: Training examples by label that were not drawn.
    """

    def __init__(self, units: Iterable[Unit], fractions: Mapping[str, float], num_training: Counter[str]) -> None:
        self.fractions = fractions
        self.counts = {**{split: Counter[str]() for split in fractions}, "train": Counter(num_training)}
        by_label: dict[str, list[Unit]] = defaultdict(list)
        for unit in sorted(units, key=lambda unit: unit.position):
            self.counts[unit.split].update(unit.counts)
            for label in unit.counts:
                by_label[label].append(unit)
        self.units = dict(sorted(by_label.items()))

    def repair(self) -> None:
        """Move units until each class has training examples, and about its share of each other split."""
        for label, units in self.units.items():
            if not self.counts["train"][label]:
                self.move(units[-1], "train")
        for split, next_split in pairwise([*self.fractions, "train"]):
            for label in self.units:
                self.reduce(label, split, next_split)
            for label in self.units:
                self.fill(label, split)

    def reduce(self, label: str, split: str, next_split: str) -> None:
        """Move units, those nearest the bound first, to the next split until a class has no more than its share."""
        most = self.limits(label, split)[1]
        for unit in reversed(self.units[label]):
            if self.counts[split][label] <= most:
                return
            if unit.split == split:
                self.move(unit, next_split)

    def fill(self, label: str, split: str) -> None:
        """Move units from the later splits, those nearest the bound first, until a class has its share."""
        least, most = self.limits(label, split)
        splits = list(self.counts)
        later = splits[splits.index(split) + 1 :]
        for unit in self.units[label]:
            if self.counts[split][label] >= least:
                return
            fits = self.counts[split][label] + unit.counts[label] <= most
            if unit.split in later and fits and not self.is_last_for_training(unit):
                self.move(unit, split)

    def limits(self, label: str, split: str) -> tuple[int, int]:
        """Return the fewest and most examples that a split should have of a class: its share within the tolerance.

        It is at least one example, or the smallest unit, and leaves a unit for each other split.
        """
        sizes = sorted(unit.counts[label] for unit in self.units[label])
        share = self.fractions[split] * sum(sizes)
        margin = max(0.5, TOLERANCE * share)
        least, most = max(1, math.ceil(share - margin)), max(sizes[0], math.floor(share + margin))
        num_others = len(self.counts) - 1
        if len(sizes) > num_others:
            most = min(most, sum(sizes[num_others:]))
        return min(least, most), most

    def is_last_for_training(self, unit: Unit) -> bool:
        """Check whether a class would lose all its training examples with this unit."""
        counts = self.counts["train"]
        return unit.split == "train" and any(counts[label] == count for label, count in unit.counts.items())

    def move(self, unit: Unit, split: str) -> None:
        self.counts[unit.split].subtract(unit.counts)
        self.counts[split].update(unit.counts)
        unit.split = split
