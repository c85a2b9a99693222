"""CSV files, UTF-8 with a header line, in which spreadsheets find no formula.

Texts are written as `printable`, and those that a spreadsheet would calculate get an apostrophe in front, which is
removed when they are read: names and labels such as `=1+1` or `-x` stay the same.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from leyden.errors import UserError, one_line
from leyden.files.names import printable
from leyden.files.regular_files import read_regular_file

LINE_END = "\r\n"
MAX_USER_TABLE_BYTES = 1_000_000
FORMULA_STARTS = r"=+\-@\uff1d\uff0b\uff0d\uff20"  # also as full-width characters
FORMULA = re.compile(f"'*[{FORMULA_STARTS}]")  # with apostrophes, so that no text is changed by writing and reading it
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
FORMULA_IN_LINE = re.compile(f""",["']*[{FORMULA_STARTS}]""")  # with a comma before the first cell


class TableWriter:
    """Writes rows of values to a text file that was opened with `newline=""`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._to_line = csv.writer(self, lineterminator=LINE_END)

    def writerow(self, values: Sequence[Any]) -> None:
        line = self._to_line.writerow(values)
        # Searching whole lines first keeps tables with a score for each of 1,000 classes fast.
        if not line[: -len(LINE_END)].isprintable() or FORMULA_IN_LINE.search("," + line):
            line = self._to_line.writerow([to_cell(value) for value in values])
        self._file.write(line)

    def write(self, line: str) -> str:
        """Return a line to `writerow`: csv.writer returns what its file's `write` returns."""
        return line


def to_cell(value: Any) -> Any:
    """Make a text safe to open in a spreadsheet; other values, and numbers such as -1.5, are returned unchanged."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def from_cells(cells: list[str]) -> list[str]:
    return [from_cell(cell) for cell in cells] if "'" in "".join(cells) else cells


def write_table(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write rows by column name; values of other columns are left out, missing ones are blank."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = TableWriter(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([row.get(column, "") for column in columns])


def read_rows(path: Path, verb: str) -> Iterator[list[str]]:
    """Read the header and the rows of a table that `leyden VERB` writes.

    Raises:
        UserError: if it does not exist, is not a table, or a row is cut off; the message names the verb.
    """
    try:
        with open(require_file(path, verb), newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            yield from_cells(header)
            for row in filter(None, rows):
                if len(row) != len(header):
                    raise UserError(
                        f"expected {len(header)} cells in each row of {path}; got {len(row)} in line {rows.line_num}; "
                        f"run `leyden {verb}` again"
                    )
                yield from_cells(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"expected a CSV file in UTF-8; {path} is not one ({one_line(error)}); run `leyden {verb}` again"
        ) from error


def read_table(path: Path, verb: str, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a table that `leyden VERB` writes, one dict per row.

    Raises:
        UserError: if it does not exist, or lacks one of `columns`; the message names the verb.
    """
    rows = read_rows(path, verb)
    check_columns(header := next(rows, []), columns, path, verb)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_columns(path: Path, verb: str, names: Sequence[str]) -> list[list[str]]:
    """Read some columns of a table, in the order of `names`: with a score per class, a table can have 1,000 columns.

    Raises:
        UserError: if it does not exist, or lacks one of the columns; the message names the verb.
    """
    rows = read_rows(path, verb)
    check_columns(header := next(rows, []), names, path, verb)
    indices = [header.index(name) for name in names]
    return [[row[index] for index in indices] for row in rows]


def check_columns(header: Sequence[str], columns: Sequence[str], path: Path, verb: str) -> None:
    if missing := [column for column in columns if column not in header]:
        raise UserError(
            f"expected the columns {', '.join(columns)} in {path}; it lacks {', '.join(missing)}; "
            f"run `leyden {verb}` again"
        )


def read_user_table(path: Path) -> list[list[str]]:
    """Read all rows of a small table that a user wrote, the header first; they may differ in length, or be blank.

    Raises:
        UserError: if it cannot be read, or is not CSV in UTF-8.
    """
    try:
        text = read_regular_file(path, MAX_USER_TABLE_BYTES).decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        return [from_cells(row) for row in rows]
    except OSError as error:
        raise UserError(f"expected to read {path}; got: {error.strerror}; correct it or move it away") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"expected a CSV file in UTF-8; {path} is not one ({one_line(error)}); save it as CSV in UTF-8"
        ) from error


def require_file(path: Path, verb: str) -> Path:
    """Return the path of a file that `leyden VERB` writes.

    Raises:
        UserError: if it does not exist; the message names the verb.
    """
    if not Path(path).is_file():
        raise UserError(f"expected {path}; not found; run `leyden {verb}` first (or `make repro`)")
    return path
