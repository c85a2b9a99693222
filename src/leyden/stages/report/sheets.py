"""Contact sheets: a look at each class, as many as the page has room for."""

from pathlib import Path
from typing import NamedTuple

from leyden.stages.report.pictures import Picture, picture_of_file

MAX_BYTES = 3_000_000  # of all sheets as text: they are most of the page
MAX_SIDE_PX = 520
LARGE_PX = 180


class Sheet(NamedTuple):
    """Some examples of a class, side by side."""

    label: str
    picture: Picture

    @property
    def is_large(self) -> bool:
        """Whether half a phone's width would be too little for it."""
        return self.picture.width > LARGE_PX


def read_sheets(prepare: Path, labels: list[str]) -> list[Sheet]:
    """Read the first classes' sheets, until the room is used up."""
    sheets: list[Sheet] = []
    room = MAX_BYTES
    for number, label in enumerate(labels):
        path = prepare / "contact" / f"{number}.png"
        if path.is_file():
            picture = picture_of_file(path, MAX_SIDE_PX)
            room -= len(picture.uri)
            if room < 0:
                break
            sheets.append(Sheet(label, picture))
    return sheets
