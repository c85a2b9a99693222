"""Predictions as rows of a CSV file, or as JSON lines: one object for each file, numbers as numbers."""

import json
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, Literal, TextIO

from leyden.files.outputs import check_file
from leyden.files.tables import TableWriter
from leyden.outputs.reader import OutputReader, Row

Format = Literal["csv", "jsonl"]
JSON_LINES_SUFFIXES = (".jsonl", ".ndjson")
MAX_LINE_LENGTH = 1 << 20


def format_of(out: Path) -> Format:
    return "jsonl" if out.suffix.lower() in JSON_LINES_SUFFIXES else "csv"


class PredictionTable:
    """A table of predictions that is being written: path, columns of the prediction, error.

    In JSON lines, a file without a prediction has `error`, the others do not.
    """

    def __init__(self, file: TextIO, format: Format, columns: Sequence[str], reader: OutputReader) -> None:
        self._file, self._columns, self._reader = file, columns, reader
        self._writer = TableWriter(file) if format == "csv" else None
        if self._writer:
            self._writer.writerow(["path", *columns, "error"])

    def write(self, path: Path, row: Row, error: str) -> None:
        """Write one file's prediction, or the reason why it has none."""
        if self._writer:
            self._writer.writerow([str(path), *(row.get(column, "") for column in self._columns), error])
            return
        values: dict[str, Any] = {"path": str(path)}
        values |= {"error": error} if error else self._reader.to_json(row)
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")


def open_table(path: Path) -> TextIO:
    # Names that are not UTF-8 hold surrogates, which are JSON's own escapes with a backslash.
    return open(path, "a", newline="", encoding="utf-8", errors="backslashreplace")


def check_table(out: Path, format: Format, reader: OutputReader) -> None:
    """Check that a table may be written: an earlier one of the same columns may be replaced.

    Raises:
        UserError: if it is another file, or cannot be created.
    """
    columns = reader.columns(1)
    header = StringIO(newline="")
    TableWriter(header).writerow(["path", *columns[:2], ""])
    start = header.getvalue().rstrip().encode()
    if format == "jsonl":
        start = b"{" if holds_json_lines(out, columns) else b"\n"  # no line is empty
    check_file(out, start=start)


def holds_json_lines(path: Path, columns: Sequence[str]) -> bool:
    """Return whether a file's first line is a prediction, or the reason why there is none."""
    if path.is_file():
        with suppress(OSError, ValueError, RecursionError), open(path, encoding="utf-8") as file:
            values = json.loads(file.readline(MAX_LINE_LENGTH))
            return isinstance(values, dict) and (
                values.keys() == {"path", "error"} or {"path", *columns} <= values.keys()
            )
    return False
