"""The data doctor's word: is this data fit to train on, what is to be mended, what is worth a look?"""

from collections.abc import Iterator
from typing import NamedTuple

from leyden.stages.report.dataset import Dataset
from leyden.stages.report.duplicates import Duplicates
from leyden.stages.report.wording import decimal, listed, percent, plural

IMBALANCE = 10  # times; accuracy then hardly shows how the smallest class fares
FEW_TO_LEARN_FROM = 10
ASPECT_SPREAD = 2  # times; beyond, bringing all images to one shape distorts some of them visibly
MAX_NAMED = 5


class Finding(NamedTuple):
    """Something to mend or to look at; `section` of the data page shows it."""

    title: str
    advice: str
    section: str
    must_mend: bool = False


def findings_of(dataset: Dataset) -> list[Finding]:
    """List what was found, what must be mended first."""
    found = [*find_in_duplicates(dataset.duplicates), *find_in_classes(dataset), *find_in_files(dataset)]
    return sorted(found, key=lambda finding: not finding.must_mend)


def verdict_of(findings: list[Finding]) -> str:
    to_mend = sum(finding.must_mend for finding in findings)
    to_see = len(findings) - to_mend
    if to_mend:
        return (
            f"Not yet fit to train on: {plural(to_mend, 'thing')} to mend{f', {to_see} to look at' if to_see else ''}."
        )
    if to_see:
        return f"Fit to train on; {plural(to_see, 'thing is', 'things are')} worth a look."
    return "Fit to train on: no check found anything to mend or to look at."


def find_in_duplicates(duplicates: Duplicates) -> Iterator[Finding]:
    exact, near = duplicates.tallies
    if exact.two_splits:
        advice = "What is tested was learned, so the scores flatter: remove one of each."
        yield Finding(f"{plural(exact.two_splits, 'pair')} of exact copies in two splits", advice, "duplicates", True)
    if duplicates.num_groups:
        advice = "A group is to stay on one side, or the scores flatter: give each of them one split."
        yield Finding(f"{plural(duplicates.num_groups, 'group')} in two splits or more", advice, "duplicates", True)
    if exact.two_labels:
        advice = "One label of each must be wrong: correct it, or remove both."
        yield Finding(f"{plural(exact.two_labels, 'pair')} of exact copies with two labels", advice, "duplicates", True)
    if near.two_splits:
        advice = "If they show the same thing, the scores flatter: give both one group in a manifest, or remove one."
        yield Finding(f"{plural(near.two_splits, 'pair')} of near copies in two splits", advice, "duplicates")
    if near.two_labels:
        yield Finding(
            f"{plural(near.two_labels, 'pair')} of near copies with two labels",
            "One of the labels may be wrong.",
            "duplicates",
        )
    if duplicates.harmless:
        advice = "They count twice, which does no harm while they are few."
        yield Finding(
            f"{plural(duplicates.harmless, 'pair')} of copies within a split and a class", advice, "duplicates"
        )


def find_in_classes(dataset: Dataset) -> Iterator[Finding]:
    smallest, *_, largest = sorted(dataset.classes, key=lambda row: row.total)
    if largest.total >= IMBALANCE * smallest.total:
        title = f"The largest class has {largest.total / smallest.total:,.0f} times the {dataset.noun}s of the smallest"
        advice = (
            f"{smallest.label} has {smallest.total:,}, {largest.label} {largest.total:,}: "
            "accuracy hides how a small class fares; read the balanced accuracy and each class's recall."
        )
        yield Finding(title, advice, "classes")
    for place, split in enumerate(dataset.counts):
        few = [
            row.label for row in dataset.classes if row.counts[place] < (FEW_TO_LEARN_FROM if split == "train" else 1)
        ]
        if few:
            what = f"fewer than {FEW_TO_LEARN_FROM} training" if split == "train" else f"no {split}"
            advice = (
                "Too few to learn it well." if split == "train" else "How well the model names it there is not known."
            )
            yield Finding(
                f"{plural(len(few), 'class', 'classes')} with {what} {dataset.noun}s",
                f"{named(few)}. {advice}",
                "classes",
            )


def find_in_files(dataset: Dataset) -> Iterator[Finding]:
    if dataset.num_rejected:
        share = percent(dataset.num_rejected / (dataset.num_rejected + dataset.total))
        advice = "They were left out, and nothing was put in their place. See whether one class lost many."
        yield Finding(f"{plural(dataset.num_rejected, 'file')} rejected ({share})", advice, "rejected")
    for name, _, values in dataset.spreads:
        if name == "aspect ratio" and values["max"] > ASPECT_SPREAD * values["min"]:
            title = f"Aspect ratios from {decimal(values['min'], 2)} to {decimal(values['max'], 2)} (width / height)"
            yield Finding(
                title, "All are brought to one shape, whatever their own: look whether some are too distorted.", "files"
            )
    if len(dataset.modes) > 1:
        title = f"Files of {len(dataset.modes)} modes ({listed([f'{count:,} {mode}' for mode, count in dataset.modes.items()])})"
        yield Finding(title, "If a class has a mode of its own, a model may learn that in place of the class.", "files")


def named(labels: list[str]) -> str:
    return (
        listed(labels[:MAX_NAMED])
        if len(labels) <= MAX_NAMED
        else ", ".join([*labels[:MAX_NAMED], "\N{HORIZONTAL ELLIPSIS}"])
    )
