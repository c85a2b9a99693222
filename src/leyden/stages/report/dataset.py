"""What the model learns from: the classes, the files, the arrays that they became, and what was left out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leyden.data.packed import SPLITS, read_report
from leyden.files.tables import read_table
from leyden.stages.report.duplicates import Duplicates, read_duplicates
from leyden.stages.report.sheets import Sheet, read_sheets
from leyden.stages.report.wording import TIMES, words

MAX_REJECTED = 20
MAX_CHANNELS = 100
COLOURS = {1: "grey", 3: "RGB"}
CHANNEL_NAMES = {1: ["grey"], 3: ["red", "green", "blue"]}
UNITS = {"aspect_ratio": "width / height", "height": "pixels", "width": "pixels", "length": "steps"}


class Class(NamedTuple):
    """A class: its examples per split, and the share that each is of the largest class's examples, in [0, 1]."""

    label: str
    counts: list[int]
    shares: list[float]

    @property
    def total(self) -> int:
        return sum(self.counts)


class Spread(NamedTuple):
    """A quantity over all files, as min, median and max."""

    name: str
    unit: str
    values: dict[str, float]


class Channel(NamedTuple):
    """Mean and deviation of a channel, or of a sequence's feature, over the training examples."""

    name: str
    mean: float
    std: float


@dataclass
class Dataset:
    """What `leyden prepare` found and packed; `input` tells images (`image_size`, `channels`) from sequences (`features`)."""

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
    sheets: list[Sheet]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def has_images(self) -> bool:
        return "image_size" in self.input

    @property
    def noun(self) -> str:
        """What an example is."""
        return "image" if self.has_images else "sequence"

    @property
    def shape(self) -> str:
        """What an example is made of, in words."""
        if not self.has_images:
            return ", ".join(f"{value:,} {words(name)}" for name, value in self.input.items() if isinstance(value, int))
        height, width = self.input["image_size"]
        channels = self.input["channels"]
        return (
            f"{height} {TIMES} {width} pixels (height {TIMES} width), {COLOURS.get(channels, f'{channels} channels')}"
        )

    @property
    def channels(self) -> list[Channel]:
        names = CHANNEL_NAMES.get(self.input.get("channels", 0)) or [
            str(number) for number in range(len(self.input["mean"]))
        ]
        return [Channel(*row) for row in zip(names, self.input["mean"], self.input["std"], strict=True)][:MAX_CHANNELS]


def read_dataset(prepare: Path, data: Path) -> Dataset:
    found = read_report(prepare)
    files = found["files"]
    rejected = read_table(prepare / "rejected.csv", "prepare")
    return Dataset(
        folder=str(data),
        prepared=str(prepare),
        data_hash=found["data_hash"],
        input=found["input"],
        stored=found["stored"],
        num_bytes=found["bytes"],
        classes=count_classes(found["labels"], found["counts"]),
        counts={split: sum(found["counts"][split].values()) for split in SPLITS},
        spreads=[
            Spread(words(name), UNITS.get(name, ""), values) for name, values in files.items() if "median" in values
        ],
        modes=files.get("modes", {}),
        num_rejected=len(rejected),
        rejected=rejected[:MAX_REJECTED],
        reasons=Counter(row["reason"].partition(":")[0].partition(" (")[0] for row in rejected).most_common(),
        duplicates=read_duplicates(prepare),
        sheets=read_sheets(prepare, found["labels"]),
    )


def count_classes(labels: list[str], counts: dict[str, dict[str, int]]) -> list[Class]:
    by_class = {label: [counts[split][label] for split in SPLITS] for label in labels}
    largest = max(map(sum, by_class.values()))
    return [Class(label, own, [count / largest for count in own]) for label, own in by_class.items()]
