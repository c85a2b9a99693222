"""Contact sheets: some examples of each class, for as many classes as the page has room for."""

from pathlib import Path
from typing import NamedTuple

from leyden.stages.report.pictures import Picture, encode_file

MAX_BYTES = 3_000_000  # of all sheets as base64 text: they make up most of the page
MAX_SIDE_PX = 520
LARGE_PX = 180


class ContactSheet(NamedTuple):
    """Some examples of a class, side by side."""

    label: str
    picture: Picture

    @property
    def is_large(self) -> bool:
        """Whether half the width of a phone is too narrow for it."""
        return self.picture.width > LARGE_PX


def read_contact_sheets(prepare: Path, labels: list[str]) -> list[ContactSheet]:
    """Read the sheets of the first classes, up to MAX_BYTES in total."""
    sheets: list[ContactSheet] = []
    remaining_bytes = MAX_BYTES
    for number, label in enumerate(labels):
        path = prepare / "contact" / f"{number}.png"
        if path.is_file():
            picture = encode_file(path, MAX_SIDE_PX)
            remaining_bytes -= len(picture.uri)
            if remaining_bytes < 0:
                break
            sheets.append(ContactSheet(label, picture))
    return sheets
