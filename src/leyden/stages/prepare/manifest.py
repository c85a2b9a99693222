"""Reading of the user's manifest.csv: `path,label[,group][,split]`."""

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, TextIO

from leyden.data.listing import is_hidden
from leyden.errors import UserError, one_line
from leyden.files.names import printable
from leyden.files.regular_files import MAX_FILE_BYTES, check_regular
from leyden.files.tables import from_cell
from leyden.stages.prepare.archives import FileEntry
from leyden.stages.prepare.layout import SPELLINGS, as_label, quoted, split_of

REQUIRED, COLUMNS = ("path", "label"), ("path", "label", "group", "split")
MAX_LINE_CHARACTERS = 1_000_000
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ManifestRow(NamedTuple):
    """A row with values; `where` names it in messages."""

    where: str
    path: str
    label: str
    group: str
    split: str | None


class FileIndex:
    """Finds files by the paths of a manifest, which may differ from those on disk in how characters are encoded."""

    def __init__(self, files: Iterable[FileEntry]) -> None:
        self.files = list(files)  # in the order in which archives are read
        self._indices = {file.path: index for index, file in enumerate(self.files)}
        self._similar: dict[str, list[int]] = {}
        for index, file in enumerate(self.files):
            self._similar.setdefault(simplify(file.path), []).append(index)

    def find(self, path: str) -> int | None:
        r"""Return a file's index; `\` separates folders if no file has it in its name."""
        for name in (path, path.replace("\\", "/")):
            normalised = str(PurePosixPath(name))
            if normalised in self._indices:
                return self._indices[normalised]
            if len(similar := self._similar.get(simplify(normalised), [])) == 1:
                return similar[0]
        return None

    def suggest(self, path: str) -> str:
        """Name the file that a path may stand for: without its suffix, or in another case or folder."""
        if any(map(is_hidden, PurePosixPath(path).parts)):
            return ", which is hidden"
        stem = PurePosixPath(path.replace("\\", "/")).stem.casefold()
        similar = [file.path for file in self.files if PurePosixPath(file.path).stem.casefold() == stem]
        best = min(similar, key=lambda name: (not ends_alike(name, path), name), default=None)
        return f", where there is {quoted(best)}" if best else ""


def ends_alike(name: str, path: str) -> bool:
    """Check whether two paths have the same last folder and name, whatever the case and the suffix."""
    first, second = (
        PurePosixPath(text.replace("\\", "/").casefold()).with_suffix("").parts[-2:] for text in (name, path)
    )
    return first == second


def simplify(path: str) -> str:
    """Return a path as a table shows it, in Unicode's composed form."""
    return printable(unicodedata.normalize("NFC", path)).strip()


def read_manifest(manifest: Path) -> Iterator[ManifestRow]:
    """Read the rows that are not blank.

    Raises:
        UserError: if it is not a table in UTF-8, or a column or a value is missing or unknown.
    """
    check_encoding(manifest)
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        try:
            rows = csv.reader(limited_lines(file), skipinitialspace=True, strict=True)  # strict: of quotes
            header = read_header(next(rows, []), manifest)
            for number, row in enumerate(rows, start=2):
                if any(cell.strip() for cell in row):
                    yield parse_row(header, row, f"{manifest}, row {number}")
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"expected a CSV file in UTF-8; {manifest} is not one ({one_line(error)}); save it as CSV in UTF-8"
            ) from error


def check_encoding(manifest: Path) -> None:
    """Check that the manifest is a file, and not in UTF-16, as some spreadsheets save "Unicode text"."""
    try:
        check_regular(manifest, manifest.stat(), MAX_FILE_BYTES)
        with open(manifest, "rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UserError(f"expected to read {manifest}; got: {error.strerror}; correct it or move it away") from error
    if start in UTF16_MARKS:
        raise UserError(f"expected a CSV file in UTF-8; {manifest} is in UTF-16; save it as CSV in UTF-8")


def limited_lines(file: TextIO) -> Iterator[str]:
    """Yield lines; csv.reader would read a line of any length into memory."""
    while line := file.readline(MAX_LINE_CHARACTERS):
        if "\0" in line:  # UTF-16 without its mark, or damage
            raise csv.Error("a NUL character")
        if len(line) == MAX_LINE_CHARACTERS:
            raise csv.Error(f"a line of more than {MAX_LINE_CHARACTERS:,} characters")
        yield line


def read_header(cells: list[str], manifest: Path) -> dict[str, int]:
    """Return the position of each column that is read.

    Raises:
        UserError: if one is missing or occurs twice.
    """
    names = [cell.replace("\ufeff", "").strip().lower() for cell in cells]  # a program may add a second mark
    absent = [column for column in REQUIRED if column not in names]
    found = ",".join(names)[:200] or "nothing"
    if absent and len(names) == 1 and any(separator in found for separator in ";\t|"):
        raise UserError(
            f"expected columns separated by commas in {manifest}; got {found!r}; save it as CSV with commas"
        )
    if absent:
        raise UserError(
            f"expected columns path,label[,group][,split] in {manifest}; got {found}; add {' and '.join(absent)}"
        )
    if repeated := [column for column in COLUMNS if names.count(column) > 1]:
        raise UserError(f"expected each column once in {manifest}; got {repeated[0]} twice; remove one of them")
    return {column: names.index(column) for column in COLUMNS if column in names} | {"": len(names)}


def parse_row(header: dict[str, int], row: list[str], where: str) -> ManifestRow:
    """Check and normalise a row's values."""
    if any(row[header[""] :]):
        raise UserError(
            f"expected {header['']} values in a row; {where} has {len(row)}; put values that contain commas in quotes"
        )
    cells = {column: from_cell(row[index]) for column, index in header.items() if column and index < len(row)}
    if any("\n" in cell or "\r" in cell for column, cell in cells.items() if column != "path"):
        raise UserError(f"expected no line breaks in a label, group or split; {where} has one; check its quotes")
    label, group, split = as_label(cells.get("label", "")), as_label(cells.get("group", "")), cells.get("split", "")
    if not cells["path"].strip() or not label:
        lacking = "a label" if cells["path"].strip() else "a path"
        raise UserError(f"expected a path and a label; {where} lacks {lacking}; fill it in or remove the row")
    if split.strip() and not split_of(split):
        known = ", ".join(spelling for spellings in SPELLINGS.values() for spelling in spellings)
        raise UserError(f"expected {known} or nothing as split; {where} has {split!r}; correct it")
    return ManifestRow(where, cells["path"], label, group, split_of(split))


def check_inside(row: ManifestRow) -> None:
    """Check that the path of a file that was not found would be inside the data folder."""
    path = PureWindowsPath(row.path)
    if ".." in path.parts or path.root or path.drive:
        raise UserError(
            f"expected relative paths inside the data folder; {row.where} has {row.path!r}; write it relative to the "
            "manifest"
        )
