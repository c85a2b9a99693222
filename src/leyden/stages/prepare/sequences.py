"""Reading, packing and description of sequences, as validation.py, packing.py and findings.py do for images."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from leyden.data.packed import MANIFEST, SPLITS
from leyden.data.sequences import Sequences, read_sequence, read_sequence_split
from leyden.files import sha256
from leyden.stages.prepare.contact import write_contact_sheets
from leyden.stages.prepare.discovery import Candidate
from leyden.stages.prepare.examples import Example, RejectedFile
from leyden.stages.prepare.findings import count_modes, summarize
from leyden.stages.prepare.packing import array_writers, write_targets
from leyden.stages.prepare.reading import Source, read_examples
from leyden.stages.prepare.validation import THUMBNAIL_SHAPE, convert_files
from leyden.tasks.task import Task

BYTES_PER_VALUE = 4
STEPS_PER_BLOCK = 1 << 16
CELL_PX = 64
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # of the first features


class ValidSequence(NamedTuple):
    """The properties of a usable sequence."""

    digest: str  # of the float32 values and their shape, whatever the file's format
    thumbnail: bytes  # grey levels; near duplicates are compared by it
    length: int  # time steps
    features: int  # values per step
    mode: str  # data type of the file

    @property
    def size_names(self) -> tuple[str, ...]:
        """What the first numbers of the shape are."""
        return ("the sequence's length",)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape in bytes, as in the cache."""
        return self.length, self.features, BYTES_PER_VALUE

    @property
    def side(self) -> int:
        """Size that decides whether a sequence is compared with others; thumbnails of short ones are too similar."""
        return self.length

    @property
    def least_correlation(self) -> float:
        """Of near duplicates' thumbnails: 0.9990 with 3% of noise, and 0.979 at most for two of 1,797 pen strokes."""
        return 0.995


class SequencePacker:
    """Reads and packs sequences, as `ImagePacker` does images."""

    def read(
        self, source: Source, candidates: Sequence[Candidate], task: Task
    ) -> tuple[list[Example], list[RejectedFile]]:
        """Read every file; return the usable ones, and the others with the reason."""
        validate = partial(convert_files, validate_sequence)
        return reject_other_widths(*read_examples(source, candidates, task, validate, image_size=None))

    def pack(self, folder: Path, source: Source, examples: Sequence[Example], task: Task) -> dict[str, Any]:
        """Write values, offsets and targets, and return their description for report.json."""
        with array_writers(folder, "values", (examples[0].content.features,), dtype="float32") as writers:
            for example in examples:
                assert example.cached is not None
                writers[example.split].extend(source.cache.get(example.cached).view(np.float32)[..., 0])
        for split in SPLITS:
            lengths = np.array([example.content.length for example in examples if example.split == split], np.int64)
            np.save(folder / f"{split}.offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        write_targets(folder, examples, task)
        arrays = [folder / f"{split}.{kind}.npy" for split in SPLITS for kind in ("values", "offsets", "targets")]
        values = np.load(folder / "train.values.npy", mmap_mode="r")
        # Of the training sequences alone: models must not depend on others.
        mean, deviation = feature_statistics(values)
        all_lengths = [example.content.length for example in examples]
        return {
            "input": {"features": values.shape[1], "mean": mean, "std": deviation},
            "bytes": sum(array.stat().st_size for array in arrays),
            "data_hash": sha256(folder / MANIFEST, *arrays),
            "files": {
                "length": summarize(all_lengths),
                "features": summarize([example.content.features for example in examples]),
                "modes": count_modes(examples),
            },
            "stored": f"float32, {sum(all_lengths):,} time steps one after the other",
        }

    def draw(self, folder: Path, task: Task) -> None:
        """Write contact sheets of what was packed."""
        splits = (read_sequence_split(folder, split) for split in SPLITS)
        drawn = ((partial(draw_curve, sequences), targets) for sequences, targets in splits)
        write_contact_sheets(folder, task, drawn, gap_px=0, background="white")


def validate_sequence(content: bytes) -> tuple[ValidSequence, bytes]:
    """Return a sequence's properties and its values."""
    values, mode = read_sequence(content)
    value_bytes = values.tobytes()
    length, features = values.shape
    digest = hashlib.sha256(value_bytes)
    digest.update(b"%d %d" % values.shape)
    return ValidSequence(digest.hexdigest(), make_thumbnail(values), length, features, mode), value_bytes


def make_thumbnail(values: np.ndarray) -> bytes:
    """Reduce values (T, F) to 288 grey levels: the features one after the other, resampled in time, each in its range.

    Of more than 16 features, 16 are compared, evenly spaced.
    """
    size = THUMBNAIL_SHAPE[0] * THUMBNAIL_SHAPE[1]
    num_features = min(values.shape[1], THUMBNAIL_SHAPE[0])
    features = np.linspace(0, values.shape[1] - 1, num_features).astype(int)
    curves = values[:, features].astype(np.float64)
    edges = np.linspace(0, len(curves), size // num_features + 1)
    sums = np.concatenate([np.zeros((1, num_features)), np.cumsum(curves, axis=0)])
    steps = np.arange(len(sums))
    means = np.diff([np.interp(edges, steps, column) for column in sums.T], axis=1) / np.diff(edges)
    means -= means.min(axis=1, keepdims=True)
    levels = np.round(255 * means / np.maximum(means.max(axis=1, keepdims=True), 1e-12)).astype(np.uint8)
    return levels.tobytes().ljust(size, b"\0")


def reject_other_widths(
    examples: list[Example], rejected: list[RejectedFile]
) -> tuple[list[Example], list[RejectedFile]]:
    """Reject sequences whose number of features is not the most common one."""
    if not examples:
        return examples, rejected
    common = Counter(example.content.features for example in examples).most_common(1)[0][0]
    others = [
        RejectedFile(example.path, f"{example.content.features} features, where most files have {common}")
        for example in examples
        if example.content.features != common
    ]
    return [example for example in examples if example.content.features == common], rejected + others


def feature_statistics(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Compute the mean and standard deviation per feature of values (steps, F), in blocks.

    Values are shifted by the first step's, so that a large offset loses no precision. The deviation of a constant
    feature is 1.
    """
    offset = np.asarray(values[:1], np.float64)
    sums = np.zeros((2, values.shape[1]))
    for start in range(0, len(values), STEPS_PER_BLOCK):
        block = np.asarray(values[start : start + STEPS_PER_BLOCK], np.float64)
        sums += np.stack([(block - offset).sum(axis=0), ((block - offset) ** 2).sum(axis=0)])
    mean, square = sums / len(values)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return (offset[0] + mean).tolist(), np.where(deviation > 1e-12, deviation, 1.0).tolist()


def draw_curve(sequences: Sequences, row: int) -> Image.Image:
    """Plot a sequence's values against time, one line per feature, each from its lowest to its highest value."""
    values = sequences[row : row + 1].values[0]
    cell = Image.new("RGB", (CELL_PX, CELL_PX), "white")
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, CELL_PX - 1, CELL_PX - 1), outline="#dddddd")
    low, high = values.min(axis=0), values.max(axis=0)
    x = np.linspace(3, CELL_PX - 4, len(values))
    y = CELL_PX - 4 - (CELL_PX - 8) * (values - low) / np.maximum(high - low, 1e-12)
    for feature in range(min(values.shape[1], len(COLOURS))):
        draw.line(list(zip(x.tolist(), y[:, feature].tolist(), strict=True)), fill=COLOURS[feature])
    return cell
