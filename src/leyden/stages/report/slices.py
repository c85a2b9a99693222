"""The slices of the test split: weak ones, and those that are too small to judge."""

from dataclasses import dataclass
from pathlib import Path

from leyden.artifacts import SLICES
from leyden.outputs.number_format import percent, three_digits
from leyden.stages.report.formatting import isolate, join_names, plural, property_name
from leyden.stages.report.tables import read_optional_table

Row = dict[str, str]


@dataclass
class Slices:
    """Rows of errors/slices.csv; `falls_short` is blank for a slice that is too small to judge.

    `error_noun` is what the slices are compared by the mean of; empty if it is the accuracy.
    """

    rows: list[Row]
    noun: str
    error_noun: str = ""

    @property
    def score(self) -> str:
        """The column that the slices are compared by."""
        return "mean_error" if self.error_noun else "accuracy"

    @property
    def worst(self) -> Row:
        """The weak slice with the lowest accuracy or the largest mean error."""
        return (max if self.error_noun else min)(self.weak, key=lambda row: float(row[self.score]))

    def format(self, row: Row) -> str:
        return (three_digits if self.error_noun else percent)(row[self.score])

    def interval(self, row: Row) -> str:
        formatted = three_digits if self.error_noun else percent
        low, high = (row.get(f"{self.score}_{end}") for end in ("low", "high"))
        return f"{formatted(low)} to {formatted(high)}" if low else ""

    def describe(self, row: Row) -> str:
        """Name a slice with its score."""
        score = f"a mean error of {self.format(row)}" if self.error_noun else f"an accuracy of {self.format(row)}"
        return f"{name_slice(row)}, with {score} on {plural(int(row['count']), self.noun)}"

    @property
    def weak(self) -> list[Row]:
        return [row for row in self.rows if row["falls_short"] == "True"]

    @property
    def too_small(self) -> list[Row]:
        return [row for row in self.rows if not row["falls_short"]]

    @property
    def num_judged(self) -> int:
        return len(self.rows) - len(self.too_small)

    @property
    def properties(self) -> str:
        """What the examples were sliced by, as in prose."""
        return join_names(list(dict.fromkeys(map(name_property, self.rows))))

    def summary(self) -> str:
        """Report in a few sentences what the tests found, and how many slices could not be tested."""
        if not self.rows:
            return "No slices were evaluated."
        slices = f"{plural(len(self.rows), 'slice')} (by {self.properties})"
        if not self.num_judged:
            return f"None of {slices} can be judged: {self._limit()}"
        found = f"{'are' if len(self.weak) > 1 else 'is'} significantly worse than the others."
        if not self.too_small:
            return f"{len(self.weak) or 'None'} of {slices} {found}"
        return (
            f"Of {slices}, {self.num_judged:,} can be judged, and {len(self.weak) or 'none'} {found} "
            f"{plural(len(self.too_small), 'slice')} cannot be judged: {self._limit()}"
        )

    def _limit(self) -> str:
        total = sum(int(row["count"]) for row in self.rows if row["by"] == self.rows[0]["by"])
        counts = [int(row["count"]) for row in self.too_small]
        # A slice with nearly all examples has too few others to be compared with.
        largest = max(min(count, total - count) for count in counts)
        where = "each" if largest >= max(counts) else "inside or outside each"
        size = f"with at most {plural(largest, self.noun)} {where}, "
        worst = "with the largest errors" if self.error_noun else "without a correct prediction"
        return f"{size}even a slice {worst} could be chance."


def read_slices(evaluate: Path, noun: str, error_noun: str = "") -> Slices:
    return Slices(read_optional_table(evaluate / SLICES, "evaluate"), noun, error_noun)


def name_property(row: Row) -> str:
    """Name what a slice is by; whether examples have a label is written as `class road` or `label cat`."""
    _, _, label = row["by"].partition(" ")
    return f"the presence of {label}" if label and row["slice"] in ("present", "absent") else property_name(row["by"])


def name_slice(row: Row) -> str:
    return f"{property_name(row['by'])} {isolate(row['slice'])}"
