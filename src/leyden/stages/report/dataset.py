"""The data as `leyden prepare` found and packed it: classes, files, rejected files and duplicates."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from leyden.data.packed import REJECTED, SPLITS, read_report
from leyden.files.tables import read_table
from leyden.outputs import load_reader
from leyden.outputs.reader import OutputReader
from leyden.outputs.score_format import as_words
from leyden.stages.report.distributions import Distribution, read_distributions
from leyden.stages.report.duplicates import Duplicates, read_duplicates
from leyden.stages.report.formatting import TIMES, join_names, plural
from leyden.stages.report.pictures import Picture, encode_file

MAX_REJECTED = 20
MAX_CHANNELS = 100
COLOURS = {1: "grey", 3: "RGB"}
CHANNEL_NAMES = {1: ["grey"], 3: ["red", "green", "blue"]}
MAX_SHEET_SIDE_PX = 520
MAX_SHEETS = 100  # classes: more are a page that nobody reads to its end
MAX_SHEET_BYTES = 3_000_000  # of all contact sheets as base64 text: most of the page's size


class Class(NamedTuple):
    """A class with its examples per split, and each count as a fraction of the largest class's total, in [0, 1]."""

    label: str
    counts: list[int]
    fractions: list[float]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass
class Dataset:
    """The report of `leyden prepare`; `input` has `image_size` and `channels` for images, `features` for sequences."""

    folder: str
    prepared: str
    data_hash: str
    input: dict[str, Any]
    stored: str
    num_bytes: int
    reader: OutputReader  # of the outputs of a model that learns from this data
    classes: list[Class]  # the labels, if examples can be counted by them
    distributions: list[Distribution]  # of the targets, if they are numbers
    counts: dict[str, int]  # examples by split
    spreads: dict[str, dict[str, float]]  # min, median and max over all files, by quantity
    modes: dict[str, int]
    issues: list[str]  # warnings of `leyden prepare` about the targets, as clauses
    num_rejected: int
    rejected: list[dict[str, str]]
    reasons: list[tuple[str, int]]
    duplicates: Duplicates
    contact_sheets: dict[str, Picture]  # some examples of a class side by side, by label

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
    def label_noun(self) -> str:
        """What a label is called: class, label, target."""
        return self.reader.label_noun

    @property
    def labels_text(self) -> str:
        """How many labels there are, and which, if they are few."""
        names = self.reader.labels
        order = "ordered " if self.reader.has_order else ""
        counted = plural(len(names), f"{order}{self.label_noun}", f"{order}{self.reader.noun}")
        is_named = self.reader.predicts_numbers and len(names) <= 3 and names != [self.label_noun]
        return f"{counted} ({join_names(names)})" if is_named else counted

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
    def channels(self) -> list[tuple[str, float, float]]:
        """Name, mean and standard deviation of each channel or feature over the training examples."""
        means, stds = self.input["mean"], self.input["std"]
        names = CHANNEL_NAMES.get(self.input.get("channels", 0)) or map(str, range(len(means)))
        return list(zip(names, means, stds, strict=True))[:MAX_CHANNELS]


def read_dataset(prepare: Path, data: Path) -> Dataset:
    report = read_report(prepare)
    reader = load_reader(report)
    files = report["files"]
    rejected = read_table(prepare / REJECTED, "prepare", ["path", "reason"])
    return Dataset(
        folder=str(data),
        prepared=str(prepare),
        data_hash=report["data_hash"],
        input=report["input"],
        stored=report["stored"],
        num_bytes=report["bytes"],
        reader=reader,
        classes=[] if reader.predicts_numbers else count_classes(report["labels"], report["counts"]),
        distributions=read_distributions(prepare, reader),
        counts={split: count_examples(report, split) for split in SPLITS},
        spreads={name: values for name, values in files.items() if "median" in values},
        modes=files.get("modes", {}),
        issues=list(map(str, report.get("issues", []))),
        num_rejected=len(rejected),
        rejected=rejected[:MAX_REJECTED],
        reasons=Counter(row["reason"].partition(":")[0].partition(" (")[0] for row in rejected).most_common(),
        duplicates=read_duplicates(prepare, report.get("duplicates", {}).get("near_applies", True)),
        contact_sheets=read_contact_sheets(prepare, report["labels"]),
    )


def count_examples(report: dict[str, Any], split: str) -> int:
    """Return the examples of a split; without an entry for it, each has one label."""
    return int(report["sizes"][split]) if "sizes" in report else sum(report["counts"][split].values())


def count_classes(labels: list[str], counts: dict[str, dict[str, int]]) -> list[Class]:
    rows = {label: [counts[split][label] for split in SPLITS] for label in labels}
    largest = max(map(sum, rows.values()))
    return [Class(label, row, [count / largest for count in row]) for label, row in rows.items()]


def read_contact_sheets(prepare: Path, labels: list[str]) -> dict[str, Picture]:
    """Read the sheets of the first MAX_SHEETS classes, up to MAX_SHEET_BYTES in total."""
    sheets: dict[str, Picture] = {}
    remaining_bytes = MAX_SHEET_BYTES
    for number, label in enumerate(labels[:MAX_SHEETS]):
        path = prepare / "contact" / f"{number}.png"
        if path.is_file():
            picture = encode_file(path, MAX_SHEET_SIDE_PX)
            remaining_bytes -= len(picture.uri)
            if remaining_bytes < 0:
                break
            sheets[label] = picture
    return sheets
