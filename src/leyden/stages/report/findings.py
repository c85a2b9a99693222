"""Findings about the data: is it ready to train on, what must be fixed first, and what should be reviewed?"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from leyden.outputs.number_format import decimal, percent
from leyden.outputs.reader import OutputReader
from leyden.stages.report.dataset import Dataset
from leyden.stages.report.duplicates import Duplicates
from leyden.stages.report.formatting import capitalize_first, isolate, join_names, list_smallest, number_of, plural
from leyden.stages.report.left_out import LeftOut

MAX_IMBALANCE = 10  # largest class / smallest; from here on, accuracy hides results on the smallest class
MIN_TRAINING_EXAMPLES = 10
MAX_ASPECT_SPREAD = 2  # largest / smallest aspect ratio; beyond, resizing to one shape visibly distorts some images

# Advice on duplicates
IN_TWO_SPLITS = "The same example is in two splits, which makes the scores too optimistic: remove one of each pair."
GROUP_IN_TWO_SPLITS = "A group that is in two splits makes the scores too optimistic: assign each group to one split."
CONTRADICTION = "One {target} of each pair must be wrong: correct it, or remove both examples."
NEAR_IN_TWO_SPLITS = (
    "If they show the same thing, the scores are too optimistic: put both in one group in a manifest, or remove one."
)
CHECK_LABELS = "One of the {target}s may be wrong."
REVIEW_TARGETS = "Correct the targets, or keep this in mind when you read the scores."
COUNTED_TWICE = "These examples count twice, which is harmless if there are few of them."


class Finding(NamedTuple):
    """Something to fix or to review; `section` is the anchor on the data page that shows it."""

    title: str
    advice: str
    section: str
    is_blocking: bool = False


def list_findings(dataset: Dataset, left_out: Sequence[LeftOut] = ()) -> list[Finding]:
    """List all findings, those that must be fixed first at the top."""
    findings = [
        *check_duplicates(dataset.duplicates, dataset.reader),
        *check_classes(dataset),
        *(Finding(capitalize_first(issue), REVIEW_TARGETS, "classes") for issue in dataset.issues),
        *check_left_out(left_out),
        *check_files(dataset),
    ]
    return sorted(findings, key=lambda finding: not finding.is_blocking)


def data_verdict(findings: list[Finding]) -> str:
    num_blocking = sum(finding.is_blocking for finding in findings)
    num_to_review = len(findings) - num_blocking
    if num_blocking:
        review = f", {num_to_review} to review" if num_to_review else ""
        return f"The data is not ready to train on: {plural(num_blocking, 'problem')} to fix first{review}."
    if num_to_review:
        return f"The data is ready to train on; {plural(num_to_review, 'finding')} to review."
    return "The data is ready to train on: no problems were found."


def check_duplicates(duplicates: Duplicates, reader: OutputReader) -> Iterator[Finding]:
    exact, near = duplicates.counts
    target = reader.target_noun
    # Nearly the same image may well have a slightly different number.
    near_conflicts = 0 if reader.predicts_numbers else near.different_labels
    problems = (
        (exact.different_splits, "pair", "of exact duplicates in different splits", IN_TWO_SPLITS, True),
        (duplicates.num_groups, "group", "in more than one split", GROUP_IN_TWO_SPLITS, True),
        (exact.different_labels, "pair", f"of exact duplicates with different {target}s", CONTRADICTION, True),
        (near.different_splits, "pair", "of near duplicates in different splits", NEAR_IN_TWO_SPLITS, False),
        (near_conflicts, "pair", f"of near duplicates with different {target}s", CHECK_LABELS, False),
        (
            duplicates.num_harmless,
            "pair",
            f"of duplicates within one split, with the same {target}",
            COUNTED_TWICE,
            False,
        ),
    )
    for count, noun, suffix, advice, is_blocking in problems:
        if count:
            yield Finding(f"{plural(count, noun)} {suffix}", advice.format(target=target), "duplicates", is_blocking)


def check_classes(dataset: Dataset) -> Iterator[Finding]:
    noun, nouns = dataset.label_noun, dataset.reader.noun
    if dataset.reader.has_one_label:
        yield from check_balance(dataset)
    for index, split in enumerate(dataset.counts):
        is_train = split == "train"
        minimum = MIN_TRAINING_EXAMPLES if is_train else 1
        if few := {row.label: row.counts[index] for row in dataset.classes if row.counts[index] < minimum}:
            what = f"fewer than {minimum} training" if is_train else f"no {split}"
            advice = f"Too few to learn a {noun} well"
            if not is_train:
                score = "accuracy on" if dataset.reader.has_one_label else "scores of"
                advice = f"The {score} a {noun} cannot be measured"
            title = f"{number_of(len(few), len(dataset.classes), noun, nouns)} {what} {dataset.noun}s"
            yield Finding(title, f"{advice}: {list_smallest(few)}.", "classes")


def check_balance(dataset: Dataset) -> Iterator[Finding]:
    smallest, *_, largest = sorted(dataset.classes, key=lambda row: row.total)
    if largest.total >= MAX_IMBALANCE * smallest.total:
        noun, ratio = dataset.label_noun, largest.total / smallest.total
        yield Finding(
            f"The largest {noun} has {ratio:,.0f} times as many {dataset.noun}s as the smallest",
            f"{isolate(smallest.label)} has {smallest.total:,}, {isolate(largest.label)} {largest.total:,}: accuracy "
            f"hides poor results on a small {noun}; see the balanced accuracy and the recall of each {noun}.",
            "classes",
        )


def check_left_out(left_out: Sequence[LeftOut]) -> Iterator[Finding]:
    if left_out:
        reasons = join_names([f"{row.reason} ({row.num_files:,})" for row in left_out])
        title = f"{plural(sum(row.num_files for row in left_out), 'file')} left out"
        yield Finding(title, f"{reasons}. Check whether they should have been used.", "left-out")


def check_files(dataset: Dataset) -> Iterator[Finding]:
    if dataset.num_rejected:
        rejected = percent(dataset.num_rejected / (dataset.num_rejected + dataset.total))
        advice = f"They were left out and not replaced. Check whether one {dataset.label_noun} lost many of its files."
        if not dataset.reader.has_one_label:
            advice = "They were left out and not replaced."
        yield Finding(f"{plural(dataset.num_rejected, 'file')} rejected ({rejected})", advice, "rejected")
    aspect_ratio = dataset.spreads.get("aspect_ratio", {"min": 1, "max": 1})
    if aspect_ratio["max"] > MAX_ASPECT_SPREAD * aspect_ratio["min"]:
        lowest, highest = decimal(aspect_ratio["min"], 2), decimal(aspect_ratio["max"], 2)
        advice = "All images are resized to one shape: check whether some are too distorted."
        yield Finding(f"Aspect ratios from {lowest} to {highest} (width / height)", advice, "files")
    if len(dataset.modes) > 1:
        modes = join_names([f"{count:,} {mode}" for mode, count in dataset.modes.items()])
        what = dataset.label_noun if dataset.reader.has_one_label else dataset.reader.noun
        advice = f"If the mode depends on the {what}, a model may learn the mode instead of the {what}."
        yield Finding(f"Files in {len(dataset.modes)} modes ({modes})", advice, "files")
