"""What was found in the data: the content of report.json, and the printed summary."""

import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leyden.data.packed import DUPLICATES, MANIFEST, SPLITS, open_images
from leyden.errors import UserError
from leyden.files import sha256
from leyden.stages.prepare.duplicates import Duplicates
from leyden.stages.prepare.examples import Example, Shape
from leyden.stages.prepare.packing import channel_statistics
from leyden.tasks.task import Task

MAX_NAMED = 5  # classes in a warning
TOO_SIMILAR = "too many look alike at the small size at which they are compared"


def describe_arrays(folder: Path, shape: Shape, stored: Shape) -> dict[str, Any]:
    """Describe the packed arrays; `input` is what a model needs to know about them."""
    kinds = ("images", "jpeg", "offsets", "targets")
    arrays = [path for split in SPLITS for kind in kinds if (path := folder / f"{split}.{kind}.npy").is_file()]
    # Of the training images alone: the model must not depend on the others.
    mean, deviation = channel_statistics(open_images(folder, "train", stored[:2], shape[2]))
    return {
        "input": {"channels": shape[2], "image_size": [*shape[:2]], "mean": mean, "std": deviation},
        "stored_size": [*stored[:2]],
        "bytes": sum(array.stat().st_size for array in arrays),
        "data_hash": sha256(folder / MANIFEST, *arrays),
    }


def count_examples(examples: Sequence[Example], task: Task) -> dict[str, dict[str, int]]:
    """Count the examples with each label in each split.

    A label without examples in val or test is a warning; one without training examples, or an empty split, is an error.
    """
    counter = Counter((example.split, label) for example in examples for label in example.target.labels)
    counts = {split: {label: counter[split, label] for label in task.labels} for split in SPLITS}
    for split, by_label in counts.items():
        absent = [label for label, count in by_label.items() if not count]
        if len(absent) == len(by_label) or (absent and split == "train"):
            missing = "any" if len(absent) == len(by_label) else repr(absent[0])
            reason = reasons_for_absence(examples, absent[:1], split)[absent[0]]
            remedies = ["add images", "make the groups smaller"]
            remedies += [f"remove it from {name}" for name in task.label_files]
            raise UserError(
                f"expected {split} examples of all {task.noun}; got none of {missing} "
                f"({absent[0]}: {reason}); {', or '.join(remedies)}"
            )
        warn_of_absent_classes(examples, absent, split)
    return counts


def warn_of_absent_classes(examples: Sequence[Example], absent: Sequence[str], split: str) -> None:
    """Print the classes that are not in a split, those with the same reason in one line."""
    labels_by_reason: dict[str, list[str]] = {}
    for label, reason in reasons_for_absence(examples, absent, split).items():
        labels_by_reason.setdefault(reason, []).append(label)
    for reason, labels in labels_by_reason.items():
        more = f" and {len(labels) - MAX_NAMED:,} more" if len(labels) > MAX_NAMED else ""
        named = ", ".join(labels[:MAX_NAMED]) + more
        print(f"prepare: warning: no {split} example of {named}: {reason}", file=sys.stderr)


def reasons_for_absence(examples: Sequence[Example], labels: Sequence[str], split: str) -> dict[str, str]:
    """Explain, by label, why classes are not in a split."""
    if any(example.candidate.split == split for example in examples):
        return dict.fromkeys(labels, f"your own {split} split has none")
    drawn: dict[str, list[Example]] = {label: [] for label in labels}
    for example in examples:
        for label in drawn.keys() & set(() if example.candidate.split else example.target.labels):
            drawn[label].append(example)
    usable = {label for example in examples for label in example.target.labels}
    return {
        label: reason_for_absence(members) if label in usable else "no usable file shows it"
        for label, members in drawn.items()
    }


def reason_for_absence(drawn: Sequence[Example]) -> str:
    """Explain why the examples of a class were not drawn to every split."""
    num_units = len({example.key for example in drawn})
    if not drawn:
        return "all examples are in splits of your own"
    if len(drawn) < len(SPLITS):
        return f"only {plural(len(drawn), 'example')} to draw from"
    has_groups = any(example.candidate.group for example in drawn)
    if num_units >= len(SPLITS):
        return "the groups, which stay whole, are too large or hold other classes too"
    units = f"in only {plural(num_units, 'group')}" if has_groups else f"copies of only {num_units}"
    return f"all {len(drawn):,} examples are {units}, and each stays in one split"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def describe_files(examples: Sequence[Example]) -> dict[str, Any]:
    """Describe the images as they are in their files: sizes in pixels, aspect ratios (width / height), modes."""
    images = [example.content for example in examples]
    return {
        "height": summarize([image.height for image in images]),
        "width": summarize([image.width for image in images]),
        "aspect_ratio": summarize([round(image.width / image.height, 4) for image in images]),
        "modes": count_modes(examples),
    }


def count_modes(examples: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(example.content.mode for example in examples).items()))


def summarize(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median_low(values), "max": max(values)}


def describe_storage(examples: Sequence[Example], stored: Shape, num_encoded: int | None) -> str:
    """Describe in words how the images are stored; `num_encoded` is None for pixels."""
    if num_encoded is not None:
        encoded = f"{num_encoded:,} of {len(examples):,} images re-encoded" if num_encoded else "none re-encoded"
        return f"JPEG files, {encoded}"
    num_resized = sum(example.content.shape[:2] != stored[:2] for example in examples)
    return f"pixels, {num_resized:,} of {len(examples):,} images resized once" if num_resized else "pixels as they are"


def describe_duplicates(duplicates: Duplicates, examples: Sequence[Example], num_leaks: int) -> dict[str, int | bool]:
    """Count pairs of each kind, with two labels (`conflicts` for exact pairs) and in two splits.

    `leaks` are images and groups in two splits; `near_leaks` are near duplicates in two splits.
    """
    pairs = duplicates.pairs
    kinds = Counter(pair.kind for pair in pairs)
    conflicts = Counter(
        pair.kind for pair in pairs if examples[pair.first].target.key != examples[pair.second].target.key
    )
    leaks = Counter(pair.kind for pair in pairs if examples[pair.first].split != examples[pair.second].split)
    return {
        "exact": kinds["exact"],
        "near": kinds["near"],
        "conflicts": conflicts["exact"],
        "near_conflicts": conflicts["near"],
        "leaks": num_leaks,
        "near_leaks": leaks["near"],
        "near_applies": duplicates.near_applies,
    }


def describe_examples(report: dict[str, Any]) -> str:
    """Describe in words what the examples are."""
    spec = report["input"]
    if "features" in spec:
        length = report["files"]["length"]
        return f"sequences of {length['min']:,} to {length['max']:,} time steps, {spec['features']} feature(s)"
    size, stored_size = ("x".join(map(str, sides)) for sides in (spec["image_size"], report["stored_size"]))
    margin = f" (stored as {stored_size})" if stored_size != size else ""
    return f"images of {size}{margin}, {spec['channels']} channel(s)"


def summary(report: dict[str, Any], task: Task) -> str:
    """Describe in a few lines what was packed, and the duplicates that need attention."""
    total = " + ".join(f"{count:,} {split}" for split, count in report["sizes"].items())
    duplicates = report["duplicates"]
    lines = [
        f"prepare: {task.name} of {len(task.labels):,} {task.noun if len(task.labels) > 1 else task.noun[:-1]}, "
        f"{total} {describe_examples(report)}, "
        f"{report['stored']}, {report['bytes'] / 1e6:.1f} MB packed; {report['rejected']} rejected"
    ]
    if duplicates["exact"] or duplicates["near"] or duplicates["leaks"]:
        lines.append(
            f"prepare: {duplicates['exact']:,} exact and {duplicates['near']:,} near duplicates ({DUPLICATES}), "
            f"{duplicates['conflicts']:,} and {duplicates['near_conflicts']:,} of them with two labels, "
            f"{duplicates['leaks']:,} and {duplicates['near_leaks']:,} in two splits"
        )
    if not duplicates["near_applies"]:
        lines.append(
            f"prepare: near duplicates cannot be distinguished from other examples, and none are listed: {TOO_SIMILAR}"
        )
    return "\n".join(lines)
