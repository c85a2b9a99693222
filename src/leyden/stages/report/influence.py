"""What stands behind an answer: the training examples that taught it, and the channels that each class is read from."""

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from leyden.artifacts import CHANNELS, INFLUENCE
from leyden.stages.report.pictures import Picture, picture_of_file, pictures_of_rows
from leyden.stages.report.tables import read_optional_table


class Influential(NamedTuple):
    """A training example; an `influence` above 0 lowered the loss of the test example."""

    row: dict[str, str]
    image: Picture | None


class Influences(NamedTuple):
    """A test example as influence.csv tells of it, and the training examples that helped most and that harmed most."""

    row: dict[str, str]
    image: Picture
    helpful: list[Influential]
    harmful: list[Influential]


class Channel(NamedTuple):
    """The channel that a class is read from most, on the image where it says most."""

    row: dict[str, str]
    image: Picture


def read_taught(explain: Path, prepare: Path) -> list[Influences]:
    rows = read_optional_table(explain / INFLUENCE, "explain")
    images = pictures_of_rows(prepare, "train", [int(row["training_row"]) for row in rows])
    found = []
    for file, group in groupby(map(Influential, rows, images), key=lambda each: each.row["file"]):
        each = list(group)
        sides = [[one for one in each if one.row["effect"] == effect] for effect in ("helpful", "harmful")]
        found.append(Influences(each[0].row, picture_of_file(explain / file), *sides))
    return found


def read_channels(explain: Path) -> list[Channel]:
    return [
        Channel(row, picture_of_file(explain / row["file"]))
        for row in read_optional_table(explain / CHANNELS, "explain")
        if row["file"]
    ]
