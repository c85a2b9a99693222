"""The most influential training examples of a prediction, and the most important channel of each class."""

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from leyden.artifacts import CHANNELS, INFLUENCE
from leyden.stages.report.pictures import Picture, encode_file, encode_rows
from leyden.stages.report.tables import read_optional_table


class Influential(NamedTuple):
    """A training example; an `influence` above 0 lowers the loss of the test example."""

    row: dict[str, str]
    image: Picture | None


class Influences(NamedTuple):
    """A test example, as in influence.csv, with its most helpful and most harmful training examples."""

    row: dict[str, str]
    image: Picture
    helpful: list[Influential]
    harmful: list[Influential]


class Channel(NamedTuple):
    """The channel that contributes most to a class, with the image on which it contributes most."""

    row: dict[str, str]
    image: Picture


def read_influences(explain: Path, prepare: Path) -> list[Influences]:
    rows = read_optional_table(explain / INFLUENCE, "explain")
    images = encode_rows(prepare, "train", [int(row["training_row"]) for row in rows])
    influences = []
    for file, group in groupby(map(Influential, rows, images), key=lambda example: example.row["file"]):
        examples = list(group)
        sides = [[one for one in examples if one.row["effect"] == effect] for effect in ("helpful", "harmful")]
        influences.append(Influences(examples[0].row, encode_file(explain / file), *sides))
    return influences


def read_channels(explain: Path) -> list[Channel]:
    rows = read_optional_table(explain / CHANNELS, "explain")
    return [Channel(row, encode_file(explain / row["file"])) for row in rows if row["file"]]
