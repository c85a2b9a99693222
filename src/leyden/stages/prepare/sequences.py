"""Judge, pack and describe sequences, as judging.py, packing.py and findings.py do images."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from leyden.data.packed import SPLITS, ArrayWriter
from leyden.data.sequences import UnreadableSequenceError, read_sequence, read_sequence_split
from leyden.files import sha256
from leyden.stages.prepare.contact import PER_SIDE
from leyden.stages.prepare.examples import Examples, label_indices
from leyden.stages.prepare.findings import spread
from leyden.stages.prepare.pixel_cache import PixelCache
from leyden.stages.prepare.validation import THUMB_SHAPE, Job, read_files

BYTES_PER_VALUE = 4
CELL_PX = 64
INKS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # of the features, in turn


class JudgedSequence(NamedTuple):
    """What is known of a good sequence once it was read.

    Attributes:
        digest: Hash of the float32 values and their shape, whatever the file's format.
        thumb: The course in time, averaged over features, as 72 grey levels: what near duplicates are sought by.
        length: Time steps.
        features: Values per step.
        mode: Type that the file has.
    """

    digest: str
    thumb: bytes
    length: int
    features: int
    mode: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape in bytes, as the spool keeps them."""
        return self.length, self.features, BYTES_PER_VALUE

    @property
    def side(self) -> int:
        """What near duplicates are told by; a shorter course has no picture of its own."""
        return self.length


def judge_sequences(job: Job) -> list[tuple[JudgedSequence, bytes] | str]:
    """Judge files, in order: what is known of each with its values, or why it is unusable."""
    found: list[tuple[JudgedSequence, bytes] | str] = []
    for content, reason in read_files(job):
        try:
            if not content:
                raise UnreadableSequenceError(reason or "empty file")
            values, mode = read_sequence(content)
        except UnreadableSequenceError as error:
            found.append(str(error))
            continue
        kept = values.tobytes()
        digest = hashlib.sha256(kept)
        digest.update(b"%d %d" % values.shape)
        found.append((JudgedSequence(digest.hexdigest(), thumb_of(values), len(values), values.shape[1], mode), kept))
    return found


def thumb_of(values: np.ndarray) -> bytes:
    """Reduce values (T, F) to 72 grey levels in time, from the lowest to the highest of their mean over features."""
    scale = np.abs(values).max(axis=0, keepdims=True)
    course = (values / np.where(scale > 0, scale, 1)).mean(axis=1, dtype=np.float64)
    count = THUMB_SHAPE[0] * THUMB_SHAPE[1]
    edges = np.linspace(0, len(course), count + 1)
    sums = np.interp(edges, np.arange(len(course) + 1), np.concatenate([[0.0], np.cumsum(course)]))
    means = np.diff(sums) / np.diff(edges)
    return np.round(255 * (means - means.min()) / max(float(np.ptp(means)), 1e-12)).astype(np.uint8).tobytes()


def reject_other_widths(examples: Examples) -> None:
    """Move sequences whose number of features is not the most common one to the rejected."""
    if not examples.judged:
        return
    common = Counter(sequence.features for sequence in examples.judged).most_common(1)[0][0]
    judged = examples.judged
    kept = [number for number, sequence in enumerate(judged) if sequence.features == common]
    for candidate, sequence in zip(examples.candidates, judged, strict=True):
        if sequence.features != common:
            examples.rejected.append((candidate.path, f"{sequence.features} features, where most files have {common}"))
    examples.candidates = [examples.candidates[number] for number in kept]
    examples.judged = [judged[number] for number in kept]
    examples.places = [examples.places[number] for number in kept]


def pack_sequences(folder: Path, examples: Examples, splits: Sequence[str], spool: PixelCache) -> dict[str, Any]:
    """Write values, offsets, labels and contact sheets, and describe them as report.json has it."""
    labels = np.array(label_indices(examples), np.int64)
    features = examples.judged[0].features
    with ExitStack() as stack:
        writers = {split: ArrayWriter(folder / f"{split}.values.npy", (features,), "float32") for split in SPLITS}
        for writer in writers.values():
            stack.callback(writer.close)
        for place, split in zip(examples.places, splits, strict=True):
            assert place is not None
            writers[split].extend(spool.get(place).view(np.float32)[..., 0])
    lengths = np.array([sequence.length for sequence in examples.judged], np.int64)
    for split in SPLITS:
        own = np.array([name == split for name in splits])
        np.save(folder / f"{split}.offsets.npy", np.concatenate([[0], np.cumsum(lengths[own])]).astype(np.int64))
        np.save(folder / f"{split}.labels.npy", labels[own])
    draw_courses(folder, folder / "contact", len(examples.labels))
    return describe_sequences(folder, examples)


def describe_sequences(folder: Path, examples: Examples) -> dict[str, Any]:
    arrays = [folder / f"{split}.{kind}.npy" for split in SPLITS for kind in ("values", "offsets", "labels")]
    values = np.load(folder / "train.values.npy", mmap_mode="r")
    mean, deviation = feature_statistics(
        values
    )  # of the training sequences alone: the others are not the model's to know
    lengths = [sequence.length for sequence in examples.judged]
    return {
        "labels": examples.labels,
        "input": {"features": values.shape[1], "mean": mean, "std": deviation},
        "bytes": sum(array.stat().st_size for array in arrays),
        "data_hash": sha256(folder / "manifest.csv", *arrays),
        "files": {
            "length": spread(lengths),
            "features": spread([sequence.features for sequence in examples.judged]),
            "modes": dict(sorted(Counter(sequence.mode for sequence in examples.judged).items())),
        },
        "stored": f"float32, {sum(lengths):,} time steps one after the other",
    }


def feature_statistics(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Compute the mean and deviation per feature of values (steps, F), block by block, about the first block's mean."""
    centre = np.asarray(values[:1], np.float64)
    sums = np.zeros((2, values.shape[1]))
    for block in blocks(values):
        sums += np.stack([(block - centre).sum(axis=0), ((block - centre) ** 2).sum(axis=0)])
    mean, square = sums / len(values)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return (centre[0] + mean).tolist(), np.where(
        deviation > 1e-12, deviation, 1.0
    ).tolist()  # a constant feature becomes 0


def blocks(values: np.ndarray, steps: int = 1 << 16) -> Iterator[np.ndarray]:
    for start in range(0, len(values), steps):
        yield np.asarray(values[start : start + steps], np.float64)


def draw_courses(packed: Path, folder: Path, num_classes: int) -> None:
    """Write `<class index>.png`: up to 16 courses of each class, a line per feature."""
    folder.mkdir()
    drawn: list[list[Image.Image]] = [[] for _ in range(num_classes)]
    for name in SPLITS:
        sequences, labels = read_sequence_split(packed, name)
        for index, cells in enumerate(drawn):
            wanted = np.flatnonzero(labels == index)[: PER_SIDE**2 - len(cells)]
            cells += [draw_course(sequences[wanted[number : number + 1]].values[0]) for number in range(len(wanted))]
    for index, cells in enumerate(drawn):
        columns = min(PER_SIDE, len(cells))
        sheet = Image.new("RGB", (columns * CELL_PX, -(-len(cells) // columns) * CELL_PX), "white")
        for number, cell in enumerate(cells):
            sheet.paste(cell, (number % columns * CELL_PX, number // columns * CELL_PX))
        sheet.save(folder / f"{index}.png", optimize=True)


def draw_course(values: np.ndarray) -> Image.Image:
    """Draw values (T, F) against time."""
    cell = Image.new("RGB", (CELL_PX, CELL_PX), "white")
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, CELL_PX - 1, CELL_PX - 1), outline="#dddddd")
    low, high = float(values.min()), float(values.max())
    x = np.linspace(3, CELL_PX - 4, len(values))
    y = CELL_PX - 4 - (CELL_PX - 8) * (values - low) / max(high - low, 1e-12)
    for feature in range(min(values.shape[1], len(INKS))):
        draw.line(list(zip(x.tolist(), y[:, feature].tolist(), strict=True)), fill=INKS[feature])
    return cell
