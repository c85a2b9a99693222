"""What was found out about the data: report.json and the printed summary."""

import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leyden.data.packed import SPLITS, open_images
from leyden.errors import UserError
from leyden.files import sha256
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.duplicates import Pair
from leyden.stages.prepare.examples import Shape
from leyden.stages.prepare.packing import channel_statistics
from leyden.stages.prepare.validation import ValidImage


def describe_arrays(folder: Path, labels: list[str], shape: Shape, stored: Shape) -> dict[str, Any]:
    """Describe what was packed; `input` and `labels` are what a model needs to know."""
    kinds = ("images", "jpeg", "offsets", "labels")
    arrays = [path for split in SPLITS for kind in kinds if (path := folder / f"{split}.{kind}.npy").is_file()]
    train = open_images(folder, "train", stored[:2], shape[2])
    mean, deviation = channel_statistics(train)  # of the training images alone: the others are not the model's to know
    return {
        "labels": labels,
        "input": {"channels": shape[2], "image_size": [*shape[:2]], "mean": mean, "std": deviation},
        "stored_size": [*stored[:2]],
        "bytes": sum(array.stat().st_size for array in arrays),
        "data_hash": sha256(folder / "manifest.csv", *arrays),
    }


def count_examples(
    candidates: Sequence[Candidate], splits: Sequence[str], labels: list[str]
) -> dict[str, dict[str, int]]:
    """Count each class in each split.

    Raises:
        UserError: if a split is empty, or a class has no training example; a class that val or test lacks is a warning.
    """
    counted = Counter(zip(splits, (candidate.label for candidate in candidates), strict=True))
    counts = {split: {label: counted[split, label] for label in labels} for split in SPLITS}
    for split, by_label in counts.items():
        absent = [label for label, count in by_label.items() if not count]
        if len(absent) == len(by_label) or (absent and split == "train"):
            what = "any class" if len(absent) == len(by_label) else f"class {absent[0]!r}"
            raise UserError(
                f"expected {split} examples of every class; got none of {what}; "
                "add images, or change the fractions or the seed in configs/prepare.yaml"
            )
        if absent:
            print(
                f"prepare: warning: no {split} example of {', '.join(absent)}: too few images to be in every split",
                file=sys.stderr,
            )
    return counts


def describe_files(judged: Sequence[ValidImage]) -> dict[str, Any]:
    """Describe the images as their files have them: sizes in pixels, aspect ratios (width / height), modes."""
    return {
        "height": spread([image.height for image in judged]),
        "width": spread([image.width for image in judged]),
        "aspect_ratio": spread([round(image.width / image.height, 4) for image in judged]),
        "modes": dict(sorted(Counter(image.mode for image in judged).items())),
    }


def describe_storage(judged: Sequence[ValidImage], stored: Shape, num_encoded: int | None) -> str:
    """Say how the images are stored; `num_encoded` is None for pixels."""
    if num_encoded is not None:
        kept = f"{num_encoded:,} of {len(judged):,} images encoded anew" if num_encoded else "all bytes kept"
        return f"JPEG files, {kept}"
    resized = sum((image.height, image.width) != stored[:2] for image in judged)
    return "pixels as they are" if not resized else f"pixels, {resized:,} of {len(judged):,} images resized once"


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median_low(values), "max": max(values)}


def describe_duplicates(
    pairs: Sequence[Pair], candidates: Sequence[Candidate], splits: Sequence[str], num_leaks: int
) -> dict[str, int]:
    """Count pairs: of a kind, of two labels (`conflicts` where the pixels are the same), of two splits.

    `leaks` are images and groups that lie in two splits; `near_leaks` are pictures that nearly do.
    """
    kinds = Counter(pair.kind for pair in pairs)
    conflicts = Counter(pair.kind for pair in pairs if candidates[pair.first].label != candidates[pair.second].label)
    leaks = Counter(pair.kind for pair in pairs if splits[pair.first] != splits[pair.second])
    return {
        "exact": kinds["exact"],
        "near": kinds["near"],
        "conflicts": conflicts["exact"],
        "near_conflicts": conflicts["near"],
        "leaks": num_leaks,
        "near_leaks": leaks["near"],
    }


def examples_in_words(report: dict[str, Any]) -> str:
    if "features" in report["input"]:
        length = report["files"]["length"]
        return (
            f"sequences of {length['min']:,} to {length['max']:,} time steps, {report['input']['features']} feature(s)"
        )
    size, stored_size = ("x".join(map(str, sides)) for sides in (report["input"]["image_size"], report["stored_size"]))
    margin = f" (stored as {stored_size})" if stored_size != size else ""
    return f"images of {size}{margin}, {report['input']['channels']} channel(s)"


def summary(report: dict[str, Any]) -> str:
    """Say in a few lines what was packed and what should be looked at."""
    counts = {split: sum(by_label.values()) for split, by_label in report["counts"].items()}
    total = " + ".join(f"{count:,} {split}" for split, count in counts.items())
    found = report["duplicates"]
    lines = [
        f"prepare: {len(report['labels'])} classes, {total} {examples_in_words(report)}, "
        f"{report['stored']}, {report['bytes'] / 1e6:.1f} MB packed; {report['rejected']} rejected"
    ]
    if any(found.values()):
        lines.append(
            f"prepare: {found['exact']:,} exact and {found['near']:,} near duplicates (duplicates.csv), "
            f"{found['conflicts']:,} and {found['near_conflicts']:,} of them with two labels, "
            f"{found['leaks']:,} and {found['near_leaks']:,} in two splits"
        )
    return "\n".join(lines)
