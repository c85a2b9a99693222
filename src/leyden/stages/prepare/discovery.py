"""Discovery of the files that may become examples: in class folders, or in the user's manifest.csv."""

import csv
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leyden.data.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.data.packed import SPLITS
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.errors import UserError
from leyden.stages.prepare.archives import FileEntry, list_files


class Candidate(NamedTuple):
    """A file that may become an example; `split` is None if it is to be drawn, `group` is empty if there is none."""

    file: FileEntry
    label: str
    split: str | None
    group: str = ""

    @property
    def path(self) -> str:
        return self.file.path


def find_candidates(data: Path) -> list[Candidate]:
    """List the images or sequences of a folder with their labels.

    If the user's own splits lack val or test, training examples lose their split, so that it is drawn.

    Raises:
        UserError: if there is no folder, no image, only one class, or an inconsistent manifest.
    """
    if not data.is_dir():
        raise UserError(
            f"expected a folder of images or sequences at {data}; not found; run `make repro`, or create it with one "
            "folder per class"
        )
    manifest = data / "manifest.csv"
    candidates = read_manifest(manifest) if manifest.is_file() else find_in_folders(data)
    if not candidates:
        known = ", ".join(sorted(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))
        raise UserError(
            f"expected images or sequences in class folders under {data}; found none ({known}); "
            "see README, 'Your own data'"
        )
    labels = {candidate.label for candidate in candidates}
    if len(labels) < 2:
        raise UserError(
            f"expected examples of two classes or more in {data}; got only {labels.pop()!r}; give each class a folder"
        )
    check_labels(candidates)
    user_splits = {candidate.split for candidate in candidates}
    if None in user_splits or user_splits == set(SPLITS):
        return candidates
    return [candidate._replace(split=None) if candidate.split == "train" else candidate for candidate in candidates]


def find_in_folders(data: Path) -> list[Candidate]:
    """List the images in class folders, or else the sequences; train, val and test may contain the class folders."""
    listed = [file for file in list_files(data) if len(file.parts) > 1]
    files = with_suffix(listed, IMAGE_SUFFIXES) or with_suffix(listed, SEQUENCE_SUFFIXES)
    has_split_folders = {file.parts[0] for file in files} <= set(SPLITS)
    if not has_split_folders:
        return [Candidate(file, file.parts[0], None) for file in files]
    return [Candidate(file, file.parts[1], file.parts[0]) for file in files if len(file.parts) > 2]


def with_suffix(files: Iterable[FileEntry], suffixes: frozenset[str]) -> list[FileEntry]:
    return [file for file in files if file.parts[-1].lower().endswith(tuple(suffixes))]


def are_sequences(candidates: Iterable[Candidate]) -> bool:
    """Check whether all files are sequences; otherwise they are images."""
    return all(candidate.path.lower().endswith(tuple(SEQUENCE_SUFFIXES)) for candidate in candidates)


def check_labels(candidates: Iterable[Candidate]) -> None:
    """Check that every label has an example that may become a training example."""
    learnable = {candidate.label for candidate in candidates if candidate.split in (None, "train")}
    for candidate in candidates:
        if candidate.label not in learnable:
            raise UserError(
                f"expected train examples of every class; got {candidate.label!r} only in {candidate.split} "
                f"({candidate.path}); add train images of it, or remove it"
            )


def read_manifest(manifest: Path) -> list[Candidate]:
    """Read `path,label[,group][,split]`, paths relative to the manifest's folder.

    Raises:
        UserError: if a column, a file or a value is missing, a path is outside the folder or occurs twice, or a split
            is unknown.
    """
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"expected a CSV file in UTF-8; {manifest} is not one ({error}); save it as CSV in UTF-8"
            ) from error
    if absent := [column for column in ("path", "label") if column not in columns]:
        raise UserError(
            f"expected columns path,label[,group][,split] in {manifest}; got {','.join(columns) or 'nothing'}; "
            f"add {' and '.join(absent)}"
        )
    files = {file.path: (index, file) for index, file in enumerate(list_files(manifest.parent))}
    candidates: dict[int, Candidate] = {}
    missing = []
    for line, row in enumerate(rows, start=2):
        path = check_row(row, f"{manifest}, row {line}")
        if path not in files:
            missing.append(path)
            continue
        index, file_entry = files[path]
        if index in candidates:
            raise UserError(
                f"expected each file once in {manifest}; got {path!r} again in row {line}; remove one of the rows"
            )
        candidates[index] = Candidate(file_entry, row["label"], row.get("split") or None, row.get("group") or "")
    if missing:
        raise UserError(
            f"expected the files of {manifest} under {manifest.parent}; {len(missing)} of {len(rows)} are missing "
            f"({', '.join(missing[:3])}); add them or remove their rows"
        )
    return [candidates[index] for index in sorted(candidates)]  # in the order in which archives are read


def check_row(row: dict[str, str], where: str) -> str:
    """Check a row's values and return its normalised path."""
    path, label, split = row["path"], row["label"], row.get("split")
    if not path or not label:
        raise UserError(
            f"expected a path and a label; {where} lacks {'a label' if path else 'a path'}; "
            "fill it in or remove the row"
        )
    parts = PurePosixPath(path)
    if ".." in parts.parts or parts.is_absolute() or Path(path).is_absolute():  # the latter knows Windows drives
        raise UserError(
            f"expected paths inside the data folder; {where} points outside: {path!r}; "
            "write it relative to the manifest"
        )
    if split and split not in SPLITS:
        raise UserError(f"expected train, val, test or nothing as split; {where} has {split!r}; correct it")
    return str(parts)
