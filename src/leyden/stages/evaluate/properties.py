"""Properties by which the test split is sliced: brightness, size, length, group, and what the targets say."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leyden.data.packed import MANIFEST, read_examples
from leyden.data.sequences import Sequences
from leyden.files.tables import read_table
from leyden.outputs.reader import OutputReader

NUM_QUANTILES = 4  # slices of a numeric property, with about as many examples each
BATCH_SIZE = 256
NO_GROUP = "(none)"

Property = tuple[str, np.ndarray]  # name, and the slice of each example, str (N,)


def list_properties(data: Path) -> Iterator[Property]:
    """Yield brightness or length, the shorter side, and the group of the test examples."""
    rows = read_table(data / MANIFEST, "prepare", ["split", "group"])
    manifest = [row for row in rows if row["split"] == "test"]
    yield from cut_at_quantiles(*measure_examples(data))
    if "height" in manifest[0]:
        sides = [min(int(row["height"]), int(row["width"])) for row in manifest]
        yield from cut_at_quantiles("shorter_side", np.array(sides))
    groups = np.array([row["group"] for row in manifest])
    if (groups != "").any():
        yield "group", np.where(groups == "", NO_GROUP, groups)


def measure_examples(data: Path) -> tuple[str, np.ndarray]:
    """Measure the prepared examples: "brightness" of images, in [0, 1], or "length" of sequences; (N,)."""
    examples = read_examples(data, "test")[0]
    if isinstance(examples, Sequences):
        return "length", examples.lengths
    batches = (examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE))
    return "brightness", np.concatenate([images.mean(axis=(1, 2, 3)) / 255 for images in batches])


def list_target_properties(reader: OutputReader, targets: np.ndarray) -> Iterator[Property]:
    """Yield the ranges of true numbers, and which labels the examples have."""
    if reader.predicts_numbers:
        for label, values in zip(reader.labels, targets.T, strict=True):
            yield from cut_at_quantiles(f"true {label}", values)
    if reader.has_label_set or reader.is_dense:
        has_label = find_labels(targets, len(reader.labels)) if reader.is_dense else targets == 1
        for label, is_present in zip(reader.labels, has_label.T, strict=True):
            yield f"{reader.label_noun} {label}", np.where(is_present, "present", "absent")


def find_labels(masks: np.ndarray, num_labels: int) -> np.ndarray:
    """Return which labels the pixels of each mask (N, H, W) have, bool (N, K)."""
    return np.array([np.bincount(mask.ravel(), minlength=num_labels)[:num_labels] > 0 for mask in masks])


def cut_at_quantiles(by: str, values: np.ndarray) -> Iterator[Property]:
    """Split a numeric property into parts of about equal count; equal values stay in one part."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_QUANTILES + 1)[1:-1]))
    parts = np.searchsorted(edges, values, side="left")
    if parts.min() == parts.max():
        return
    names = np.full(len(values), "", dtype=object)
    for part in np.unique(parts):
        inside = values[parts == part]
        low, high = f"{inside.min():.4g}", f"{inside.max():.4g}"
        names[parts == part] = low if low == high else f"{low} to {high}"
    yield by, names.astype(str)
