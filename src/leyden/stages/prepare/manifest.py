"""Reading of the user's manifest.csv: `path`, the target's columns, and optionally `group` and `split`."""

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, TextIO

from leyden.data.listing import is_hidden
from leyden.errors import UserError, one_line
from leyden.files.names import printable
from leyden.files.regular_files import MAX_FILE_BYTES, check_regular
from leyden.files.tables import from_cell
from leyden.stages.prepare.archives import FileEntry
from leyden.stages.prepare.layout import SPELLINGS, as_label, quoted, split_of
from leyden.tasks import TASKS, task_class
from leyden.tasks.task import Task

COMMON_COLUMNS = ("path", "group", "split")  # besides those of the target
MAX_LINE_CHARACTERS = 1_000_000
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class ManifestRow(NamedTuple):
    """A row with values; `where` names it in messages."""

    where: str
    path: str
    label: str  # the target's cells, joined by `;`
    group: str
    split: str | None


class Header(NamedTuple):
    """The position of each column that is read, the target's columns, and the number of all columns."""

    positions: dict[str, int]
    target_columns: tuple[str, ...]
    num_columns: int


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


class Manifest(NamedTuple):
    """The rows that are not blank, the task of their targets, and the columns that hold these."""

    rows: list[ManifestRow]
    task: type[Task]
    target_columns: tuple[str, ...]


def read_manifest(manifest: Path, task_name: str | None) -> Manifest:
    """Read a manifest; `task_name` is the user's choice, or None to find it from the columns.

    Raises:
        UserError: if it is not a table in UTF-8, or a column or a value is missing or unknown.
    """
    check_encoding(manifest)
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        try:
            rows = csv.reader(limited_lines(file), skipinitialspace=True, strict=True)  # strict: of quotes
            cells = next(rows, [])
            names = [cell.replace("\ufeff", "").strip().lower() for cell in cells]  # a program may add a second mark
            task = find_task(names, task_name, manifest)
            header = read_header(names, task, manifest)
            parsed = [
                parse_row(header, task, row, f"{manifest}, row {number}")
                for number, row in enumerate(rows, start=2)
                if any(cell.strip() for cell in row)
            ]
            return Manifest(parsed, task, header.target_columns)
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


def find_task(names: Sequence[str], task_name: str | None, manifest: Path) -> type[Task]:
    """Return the task whose columns a manifest has.

    Raises:
        UserError: if there is none, or several.
    """
    if task_name:
        return task_class(task_name)
    tasks = [task for task in map(task_class, TASKS) if select_columns(names, task)]
    if len(tasks) > 1:
        found = " and ".join(column for task in tasks for column in select_columns(names, task))
        raise UserError(
            f"expected the columns of one task in {manifest}; got {found}; choose with "
            f"{' or '.join(f'--task={task.name}' for task in tasks)}, or remove a column"
        )
    return tasks[0] if tasks else task_class(TASKS[0])


def select_columns(names: Sequence[str], task: type[Task]) -> tuple[str, ...]:
    """Return the columns that hold a task's target: those with its names, else those with its prefix (`target_*`)."""
    exact = tuple(name for name in names if name in task.columns)
    prefixes = tuple(column.removesuffix("*") for column in task.columns if column.endswith("*"))
    return exact or tuple(name for name in names if prefixes and name.startswith(prefixes))


def read_header(names: list[str], task: type[Task], manifest: Path) -> Header:
    """Find the columns that are read.

    Raises:
        UserError: if one is missing or occurs twice.
    """
    target_columns = select_columns(names, task)
    absent = [column for column in ("path",) if column not in names]
    absent += [] if target_columns else [task.columns[0]]
    found = ",".join(names)[:200] or "nothing"
    if absent and len(names) == 1 and any(separator in found for separator in ";\t|"):
        raise UserError(
            f"expected columns separated by commas in {manifest}; got {found!r}; save it as CSV with commas"
        )
    if absent:
        raise UserError(
            f"expected columns path,{task.columns[0]}[,group][,split] in {manifest}; got {found}; "
            f"add {' and '.join(absent)}"
        )
    prefixes = tuple(column.removesuffix("*") for column in task.columns if column.endswith("*"))
    if ignored := [name for name in names if prefixes and name.startswith(prefixes) and name not in target_columns]:
        raise UserError(
            f"expected {' or '.join(task.columns)} in {manifest}; got {target_columns[0]} and {ignored[0]}; remove or "
            "rename one of them"
        )
    columns = (*COMMON_COLUMNS, *target_columns)
    if repeated := [column for column in columns if names.count(column) > 1]:
        raise UserError(f"expected each column once in {manifest}; got {repeated[0]} twice; remove one of them")
    return Header({column: names.index(column) for column in columns if column in names}, target_columns, len(names))


def parse_row(header: Header, task: type[Task], row: list[str], where: str) -> ManifestRow:
    """Check and normalise a row's values."""
    if any(row[header.num_columns :]):
        raise UserError(
            f"expected {header.num_columns} values in a row; {where} has {len(row)}; put values that contain commas in "
            "quotes"
        )
    cells = {column: from_cell(row[index]) for column, index in header.positions.items() if index < len(row)}
    if any("\n" in cell or "\r" in cell for column, cell in cells.items() if column != "path"):
        raise UserError(f"expected no line breaks in a label, group or split; {where} has one; check its quotes")
    targets = [as_label(cells.get(column, "")) for column in header.target_columns]
    group, split = as_label(cells.get("group", "")), cells.get("split", "")
    if not cells["path"].strip() or not (all(targets) or task.can_be_empty):
        missing = next((column for column, cell in zip(header.target_columns, targets, strict=True) if not cell), "")
        lacking = f"a {missing}" if cells["path"].strip() else "a path"
        raise UserError(
            f"expected a path and a {header.target_columns[0]}; {where} lacks {lacking}; fill it in or remove the row"
        )
    if split.strip() and not split_of(split):
        known = ", ".join(spelling for spellings in SPELLINGS.values() for spelling in spellings)
        raise UserError(f"expected {known} or nothing as split; {where} has {split!r}; correct it")
    return ManifestRow(where, cells["path"], ";".join(targets), group, split_of(split))


def check_inside(name: str, where: str) -> None:
    """Check that the path of a file that was not found would be inside the data folder."""
    path = PureWindowsPath(name)
    if ".." in path.parts or path.root or path.drive:
        raise UserError(
            f"expected relative paths inside the data folder; {where} has {name!r}; write it relative to the manifest"
        )
