"""The data section: what the model learned from, and what was left out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leyden.data.packed import SPLITS, read_report, read_split
from leyden.stages.report.pictures import Picture, picture_of_array
from leyden.stages.report.rows import read_rows

MAX_SAMPLES = 100  # classes with an image: a thousand would be most of the page
SAMPLE_SIDE_PX = 96
MAX_REJECTED = 20
COLOURS = {1: "grey", 3: "RGB"}


@dataclass
class Class:
    """A class: examples per split, share of the largest class's examples, and an image where there is one to show."""

    label: str
    counts: list[int]
    share: float
    sample: Picture | None


@dataclass
class Dataset:
    """What `leyden prepare` packed."""

    folder: str
    data_hash: str
    classes: list[Class]
    counts: dict[str, int]
    height: int
    width: int
    colours: str
    num_bytes: int
    num_rejected: int
    rejected: list[dict[str, str]]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def read_dataset(prepare: Path, data: Path) -> Dataset:
    found = read_report(prepare)
    height, width = found["input"]["image_size"]
    return Dataset(
        folder=str(data),
        data_hash=found["data_hash"],
        classes=read_classes(prepare, found["labels"], found["counts"]),
        counts={split: sum(found["counts"][split].values()) for split in SPLITS},
        height=height,
        width=width,
        colours=COLOURS.get(found["input"]["channels"], f"{found['input']['channels']} channels"),
        num_bytes=found["bytes"],
        num_rejected=found["rejected"],
        rejected=read_rows(prepare / "rejected.csv", "prepare")[:MAX_REJECTED],
    )


def read_classes(prepare: Path, labels: list[str], counts: dict[str, dict[str, int]]) -> list[Class]:
    samples = read_samples(prepare)
    totals = {label: sum(counts[split][label] for split in SPLITS) for label in labels}
    largest = max(totals.values())
    return [
        Class(label, [counts[split][label] for split in SPLITS], totals[label] / largest, samples.get(number)) for number, label in enumerate(labels)
    ]


def read_samples(prepare: Path) -> dict[int, Picture]:
    """Find an image of each of the first classes, in the test split or else in the train split."""
    samples: dict[int, Picture] = {}
    for name in ("test",) if "shards" in read_report(prepare) else ("test", "train"):
        split = read_split(prepare, name)
        for label, row in zip(*np.unique(split.labels, return_index=True), strict=True):
            if label < MAX_SAMPLES and label not in samples:
                samples[int(label)] = picture_of_array(split.images[row], SAMPLE_SIDE_PX)
    return samples
