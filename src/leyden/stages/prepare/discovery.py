"""What may become an example: images in class folders, or the rows of the user's manifest.csv."""

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
    """A file that may become an example; `split` is None where it is drawn, `group` is empty where there is none."""

    file: FileEntry
    label: str
    split: str | None
    group: str = ""

    @property
    def path(self) -> str:
        return self.file.path


def find_candidates(data: Path) -> list[Candidate]:
    """List the images or sequences of a folder with their labels; whatever the user's own splits lack is drawn from their training images.

    Raises:
        UserError: if there is no folder, no image, one class only, or a manifest that does not hold together.
    """
    if not data.is_dir():
        raise UserError(
            f"expected a folder of images or sequences at {data}, which is not there; run `make repro`, or put a folder per class there"
        )
    manifest = data / "manifest.csv"
    candidates = read_manifest(manifest) if manifest.is_file() else find_in_folders(data)
    if not candidates:
        known = ", ".join(sorted(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))
        raise UserError(
            f"expected images or sequences in class folders under {data}; found none ({known}); see README, 'Your own data'"
        )
    labels = {candidate.label for candidate in candidates}
    if len(labels) < 2:
        raise UserError(
            f"expected examples of two classes or more in {data}; got only {labels.pop()!r}; give each class a folder"
        )
    given = {candidate.split for candidate in candidates}
    check_labels(candidates)
    if None in given or given == set(SPLITS):
        return candidates
    return [Candidate(c.file, c.label, None, c.group) if c.split == "train" else c for c in candidates]


def find_in_folders(data: Path) -> list[Candidate]:
    """List the images of class folders, or the sequences where there is no image; train, val and test hold class folders of their own."""
    listed = [file for file in list_files(data) if len(file.place) > 1]
    files = with_suffix(listed, IMAGE_SUFFIXES) or with_suffix(listed, SEQUENCE_SUFFIXES)
    split_folders = {file.place[0] for file in files} <= set(SPLITS)
    if not split_folders:
        return [Candidate(file, file.place[0], None) for file in files]
    return [Candidate(file, file.place[1], file.place[0]) for file in files if len(file.place) > 2]


def with_suffix(files: Iterable[FileEntry], suffixes: frozenset[str]) -> list[FileEntry]:
    return [file for file in files if file.place[-1].lower().endswith(tuple(suffixes))]


def are_sequences(candidates: Iterable[Candidate]) -> bool:
    """Tell sequences from images."""
    return all(candidate.path.lower().endswith(tuple(SEQUENCE_SUFFIXES)) for candidate in candidates)


def check_labels(candidates: Iterable[Candidate]) -> None:
    """Stop where a class is to be tested and was never learned.

    Raises:
        UserError: if a label has no example that may become a training example.
    """
    learned = {candidate.label for candidate in candidates if candidate.split in (None, "train")}
    for candidate in candidates:
        if candidate.label not in learned:
            raise UserError(
                f"expected train examples of every class; got {candidate.label!r} in {candidate.split} alone ({candidate.path}); "
                "add train images of it, or take it out"
            )


def read_manifest(manifest: Path) -> list[Candidate]:
    """Read `path,label[,group][,split]`, paths relative to the manifest's folder.

    Raises:
        UserError: if a column, a file or a value is missing, a path leaves the folder or comes twice, or a split has another name.
    """
    with open(manifest, newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(
                f"expected a CSV file in UTF-8; {manifest} is not one ({error}); save it as such"
            ) from error
    if absent := [column for column in ("path", "label") if column not in columns]:
        raise UserError(
            f"expected columns path,label[,group][,split] in {manifest}; got {','.join(columns) or 'nothing'}; add {' and '.join(absent)}"
        )
    files = {file.path: (number, file) for number, file in enumerate(list_files(manifest.parent))}
    found_rows: dict[int, Candidate] = {}
    missing = []
    for line, row in enumerate(rows, start=2):
        path = check_row(row, f"{manifest}, row {line}")
        if path not in files:
            missing.append(path)
            continue
        number, listed = files[path]
        if number in found_rows:
            raise UserError(
                f"expected each file once in {manifest}; got {path!r} again in row {line}; remove one of the rows"
            )
        found_rows[number] = Candidate(listed, row["label"], row.get("split") or None, row.get("group") or "")
    if missing:
        raise UserError(
            f"expected the files of {manifest} under {manifest.parent}; {len(missing)} of {len(rows)} are not there "
            f"({', '.join(missing[:3])}); add them or remove their rows"
        )
    return [found_rows[number] for number in sorted(found_rows)]  # archives are read in their own order


def check_row(row: dict[str, str], where: str) -> str:
    """Check a row's values and give its path, normalised."""
    path, label, split = row["path"], row["label"], row.get("split")
    if not path or not label:
        raise UserError(
            f"expected a path and a label; {where} lacks {'a label' if path else 'a path'}; fill it in or remove the row"
        )
    parts = PurePosixPath(path)
    if ".." in parts.parts or parts.is_absolute() or Path(path).is_absolute():  # the latter knows the drives of Windows
        raise UserError(
            f"expected paths inside the data folder; {where} leaves it: {path!r}; write it relative to the manifest"
        )
    if split and split not in SPLITS:
        raise UserError(f"expected train, val, test or nothing as split; {where} has {split!r}; correct it")
    return str(parts)
