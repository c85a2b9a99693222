"""Classes of masks: what their pixels may hold, what classes are called, and in which colours they are drawn."""

import colorsys
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from leyden.errors import UserError
from leyden.files.tables import read_user_table

Colour = tuple[int, int, int]  # red, green and blue from 0 to 255

CLASSES = "classes.csv"
IGNORED = 255  # in masks: pixels of no class, which enter neither the loss nor a score
MAX_CLASSES = 255
MAX_VALUE = 0xFFFF
HEX_COLOUR = re.compile("#?([0-9a-f]{6})", re.IGNORECASE)
# Okabe and Ito, "Color universal design", 2008: readers with any colour vision can tell them apart.
OKABE_ITO = (0x000000, 0xE69F00, 0x56B4E9, 0x009E73, 0xF0E442, 0x0072B2, 0xD55E00, 0xCC79A7)
GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, are evenly spaced for any number of them


class MaskClass(NamedTuple):
    """A class, and what a file's pixels of it hold: a value, a colour, or a value whose colour is in a palette."""

    value: int | None
    name: str
    colour: Colour | None = None


def to_colour(code: int) -> Colour:
    """Convert 0xRRGGBB to a colour."""
    return code >> 16, code >> 8 & 255, code & 255


def to_hex(colour: Sequence[int]) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + bytes(colour).hex()


def from_hex(text: str) -> Colour:
    """Read a colour `#rrggbb`.

    Raises:
        ValueError: if it is not one.
    """
    if not HEX_COLOUR.fullmatch(text):
        raise ValueError(f"the colour {text[:80]!r}")
    return to_colour(int(text.removeprefix("#"), 16))


def make_palette(classes: Sequence[MaskClass]) -> list[Colour]:
    """Return a colour for each class, all distinct: its own, or one that readers can tell from the others."""
    taken = {mask_class.colour for mask_class in classes}
    codes = [to_colour(code) for code in OKABE_ITO]
    for number in range(4 * MAX_CLASSES):
        hue, lightness = number * GOLDEN_RATIO % 1, (0.45, 0.7, 0.3)[number % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.8))
        codes.append((red, green, blue))
    free = iter([colour for colour in dict.fromkeys(codes) if colour not in taken])
    return [mask_class.colour or next(free) for mask_class in classes]


def read_classes(path: Path) -> tuple[MaskClass, ...]:
    """Read `classes.csv`: columns `value,name[,color]`, one row for each class, in any order.

    With colours (`#rrggbb`), masks may hold these instead of the values, as RGB or in palettes.

    Returns:
        The classes by value; among them that of the ignored value, if it is listed.

    Raises:
        UserError: if it is not a table of this kind, or two classes share a value, name or colour.
    """
    rows = read_user_table(path)
    names = [name.strip().lower().replace("colour", "color") for name in (rows[0] if rows else [])]
    if not {"value", "name"} <= set(names) or len(set(names)) < len(names):
        found = ",".join(names)[:200]
        raise UserError(f"expected columns value,name[,color] in {path}; got {found!r}; correct its first line")
    classes = [
        parse_class(names, row, f"{path}, row {number}")
        for number, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]
    check_distinct(classes, path)
    return tuple(sorted(classes, key=lambda mask_class: mask_class.value or 0))


def parse_class(names: Sequence[str], row: Sequence[str], where: str) -> MaskClass:
    if any(row[len(names) :]):
        raise UserError(
            f"expected {len(names)} values in a row; {where} has {len(row)}; put values that contain commas in quotes"
        )
    cells = dict(zip(names, row, strict=False))
    texts = (unicodedata.normalize("NFC", cells.get(column, "")) for column in ("value", "name", "color"))
    value, name, colour = (text.strip() for text in texts)
    if not (value.isascii() and value.isdigit() and int(value) <= MAX_VALUE):
        raise UserError(f"expected a value from 0 to {MAX_VALUE}; {where} has {value[:80]!r}; correct it")
    if not name.isprintable() or not name:
        raise UserError(f"expected a name; {where} has {name[:80]!r}; correct it")
    match = HEX_COLOUR.fullmatch(colour)
    if colour and not match:
        raise UserError(f"expected a color such as #e69f00, or none; {where} has {colour[:80]!r}; correct it")
    return MaskClass(int(value), name, to_colour(int(match[1], 16)) if match else None)


def check_distinct(classes: Sequence[MaskClass], path: Path) -> None:
    for column, cells in zip(("value", "name", "color"), zip(*classes, strict=True), strict=False):
        if repeated := [cell for cell in cells if cell is not None and cells.count(cell) > 1]:
            shown = to_hex(repeated[0]) if isinstance(repeated[0], tuple) else repeated[0]
            raise UserError(f"expected each {column} once in {path}; got {shown} twice; remove or correct one")


def find_classes(
    found: Iterable[tuple[int | None, int | None]], ignore_value: int | None = IGNORED
) -> tuple[MaskClass, ...]:
    """Make a class of each value that masks hold, or of each colour if some masks hold colours without values.

    Args:
        found: The `contents` of all masks.
        ignore_value: The value that is no class; None if all are.

    Returns:
        The classes by value, named "0", "1", among them that of the ignored value; or by colour, named "#rrggbb".

    Raises:
        UserError: if palettes of masks give one value two colours.
    """
    pairs = set(found)
    if any(value is None for value, _ in pairs):
        codes = {grey_code(value) if code is None else code for value, code in pairs if value != ignore_value}
        return tuple(MaskClass(None, to_hex(to_colour(code)), to_colour(code)) for code in sorted(codes))
    codes_of: dict[int, set[int]] = {}
    for value, code in pairs:
        codes_of.setdefault(value or 0, set()).update(() if code is None else (code,))
    for value, codes in sorted(codes_of.items()):
        if len(codes) > 1:
            shown = " and ".join(to_hex(to_colour(code)) for code in sorted(codes)[:2])
            raise UserError(
                f"expected one color for each value in the palettes of masks; value {value} is {shown}; list the "
                f"classes in {CLASSES}, with columns value,name,color"
            )
    return tuple(
        MaskClass(value, str(value), to_colour(min(codes)) if codes else None)
        for value, codes in sorted(codes_of.items())
    )


def grey_code(value: int | None) -> int:
    """Return the colour of a grey value as 0xRRGGBB."""
    return 0x010101 * (value or 0)
