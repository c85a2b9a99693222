"""The data as `leyden prepare` found and packed it: classes, files, rejected files and duplicates."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leyden.data.packed import REJECTED, SPLITS, read_report
from leyden.files.tables import read_table
from leyden.stages.report.contact_sheets import ContactSheet, read_contact_sheets
from leyden.stages.report.duplicates import Duplicates, read_duplicates
from leyden.stages.report.formatting import TIMES, as_words

MAX_REJECTED = 20
MAX_CHANNELS = 100
COLOURS = {1: "grey", 3: "RGB"}
CHANNEL_NAMES = {1: ["grey"], 3: ["red", "green", "blue"]}
UNITS = {"aspect_ratio": "width / height", "height": "pixels", "width": "pixels", "length": "steps"}


class Class(NamedTuple):
    """A class with its examples per split, and each count as a fraction of the largest class's total, in [0, 1]."""

    label: str
    counts: list[int]
    fractions: list[float]

    @property
    def total(self) -> int:
        return sum(self.counts)


class Spread(NamedTuple):
    """A quantity over all files: min, median and max."""

    name: str
    unit: str
    values: dict[str, float]


class Channel(NamedTuple):
    """Mean and standard deviation of an image's channel or a sequence's feature over the training examples."""

    name: str
    mean: float
    std: float


@dataclass
class Dataset:
    """The report of `leyden prepare`; `input` has `image_size` and `channels` for images, `features` for sequences."""

    folder: str
    prepared: str
    data_hash: str
    input: dict[str, Any]
    stored: str
    num_bytes: int
    classes: list[Class]
    counts: dict[str, int]
    spreads: list[Spread]
    modes: dict[str, int]
    num_rejected: int
    rejected: list[dict[str, str]]
    reasons: list[tuple[str, int]]
    duplicates: Duplicates
    contact_sheets: list[ContactSheet]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def has_images(self) -> bool:
        return "image_size" in self.input

    @property
    def noun(self) -> str:
        return "image" if self.has_images else "sequence"

    @property
    def shape(self) -> str:
        """The shape of an example, in words."""
        if not self.has_images:
            sizes = [(name, size) for name, size in self.input.items() if isinstance(size, int)]
            return ", ".join(f"{size:,} {as_words(name)}" for name, size in sizes)
        height, width = self.input["image_size"]
        channels = self.input["channels"]
        colours = COLOURS.get(channels, f"{channels} channels")
        return f"{height} {TIMES} {width} pixels (height {TIMES} width), {colours}"

    @property
    def channels(self) -> list[Channel]:
        means, stds = self.input["mean"], self.input["std"]
        names = CHANNEL_NAMES.get(self.input.get("channels", 0)) or map(str, range(len(means)))
        return [Channel(*row) for row in zip(names, means, stds, strict=True)][:MAX_CHANNELS]


def read_dataset(prepare: Path, data: Path) -> Dataset:
    report = read_report(prepare)
    files = report["files"]
    rejected = read_table(prepare / REJECTED, "prepare")
    return Dataset(
        folder=str(data),
        prepared=str(prepare),
        data_hash=report["data_hash"],
        input=report["input"],
        stored=report["stored"],
        num_bytes=report["bytes"],
        classes=count_classes(report["labels"], report["counts"]),
        counts={split: sum(report["counts"][split].values()) for split in SPLITS},
        spreads=[
            Spread(as_words(name), UNITS.get(name, ""), values) for name, values in files.items() if "median" in values
        ],
        modes=files.get("modes", {}),
        num_rejected=len(rejected),
        rejected=rejected[:MAX_REJECTED],
        reasons=Counter(row["reason"].partition(":")[0].partition(" (")[0] for row in rejected).most_common(),
        duplicates=read_duplicates(prepare),
        contact_sheets=read_contact_sheets(prepare, report["labels"]),
    )


def count_classes(labels: list[str], counts: dict[str, dict[str, int]]) -> list[Class]:
    rows = {label: [counts[split][label] for split in SPLITS] for label in labels}
    largest = max(map(sum, rows.values()))
    return [Class(label, row, [count / largest for count in row]) for label, row in rows.items()]
