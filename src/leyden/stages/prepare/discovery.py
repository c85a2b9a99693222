"""Discovery of the files that may become examples: in class folders, or in the user's manifest.csv."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leyden.data.listing import LeftOut, is_hidden
from leyden.data.packed import SPLITS
from leyden.data.sequences import SUFFIXES as SEQUENCE_SUFFIXES
from leyden.errors import UserError
from leyden.imaging.images import SUFFIXES as IMAGE_SUFFIXES
from leyden.stages.prepare.archives import FileEntry, list_files, one_line_errors
from leyden.stages.prepare.conversion import target_converter
from leyden.stages.prepare.layout import (
    MANIFEST,
    as_label,
    check_classes,
    check_labels,
    check_splits,
    shorten,
    split_of,
    warn,
    warn_of_similar,
)
from leyden.stages.prepare.manifest import FileIndex, Manifest, ManifestRow, check_inside, read_manifest
from leyden.stages.prepare.mask_layouts import find_mask
from leyden.tasks import TASKS, task_class
from leyden.tasks.targets import TargetSettings, TargetSource
from leyden.tasks.task import Task

OUTSIDE = "files outside of the class folders"


class Candidate(NamedTuple):
    """A file that may become an example; `split` is None if it is to be drawn, `group` is empty if there is none."""

    file: FileEntry
    label: str  # the target as a text: of a mask, its path
    split: str | None
    group: str = ""

    @property
    def path(self) -> str:
        return self.file.path


def find_candidates(
    data: Path,
    left_out: LeftOut,
    task_name: str | None = None,
    class_depth: int | None = None,
    settings: TargetSettings = TargetSettings(),
    num_workers: int | None = 1,
) -> tuple[list[Candidate], Task]:
    """List the images or sequences of a folder with their targets and the task, and count what is left out.

    If the user's own splits lack val or test, training examples lose their split, so that it is drawn. `class_depth` is
    1 if the top folders are the classes, 2 if those inside are; None finds out, and so does a `task_name` of None.

    Raises:
        UserError: if there is no folder, no image, only one class, or an inconsistent manifest.
    """
    if task_name:
        task_class(task_name)  # to report an unknown one before anything is read
    if not data.is_dir():
        raise UserError(
            f"expected a folder of images or sequences at {data}; {'it is a file' if data.exists() else 'not found'}; "
            "run `make repro` for the sample, or create it as in README, 'Your own data'"
        )
    manifest = find_manifest(data)
    if manifest and class_depth:
        warn(f"class_depth is of no effect: {manifest} says what the classes are")
    rows = read_manifest(data / manifest, task_name) if manifest else None
    files = list(list_files(data, left_out))
    if rows:
        assert manifest is not None
        task, columns = rows.task, rows.target_columns
        candidates = find_in_manifest(data, manifest, files, rows, left_out)
    else:
        columns = ()
        candidates, task = find_by_layout(data, files, task_name, class_depth, left_out)
    check_candidates(data, candidates, task, left_out, has_manifest=bool(manifest))
    convert = target_converter(data, files, settings.limits.max_pixels, num_workers)
    source = TargetSource(data, columns, settings, convert)
    found = task.from_texts([candidate.label for candidate in candidates], source)
    if found.has_one_label:
        check_has_training(candidates, found.noun)
    user_splits = {candidate.split for candidate in candidates}
    if None not in user_splits and user_splits != set(SPLITS):
        candidates = [each._replace(split=None) if each.split == "train" else each for each in candidates]
    return candidates, found


def find_by_layout(
    data: Path, files: Sequence[FileEntry], task_name: str | None, class_depth: int | None, left_out: LeftOut
) -> tuple[list[Candidate], type[Task]]:
    """List the examples of class folders, or of a folder of images beside one of targets.

    Raises:
        UserError: if the folders are those of another task, or of none.
    """
    if paired := None if class_depth else find_paired_task(files, task_name):
        return find_pairs(data, files, paired, left_out), paired
    task = task_class(task_name or TASKS[0])
    if not class_depth:
        check_other_layouts(data, files, task_name)
    if task.folders or not task.has_class_folders:
        raise UserError(
            f"expected {describe_layout(task)} in {data} for the task {task.name}; got neither; see docs/data.md"
        )
    return find_in_folders(data, files, task, left_out, class_depth), task


def check_candidates(
    data: Path, candidates: Sequence[Candidate], task: type[Task], left_out: LeftOut, has_manifest: bool
) -> None:
    """Raise UserError if there is no example, or nothing to tell apart, or the task is not for their kind."""
    if not candidates:
        known = ", ".join(sorted(IMAGE_SUFFIXES | SEQUENCE_SUFFIXES))
        others = f"left out: {left_out}; " * bool(str(left_out))
        pairs = f"files of the same names in {'/ and '.join(task.folders)}/ of" if task.folders else ""
        raise UserError(
            f"expected {pairs or 'images or sequences in class folders under'} {data}; found none ({known}); {others}"
            "see README, 'Your own data'"
        )
    task.default_network(are_sequences(candidates))  # to refuse sequences before anything is read
    labels = {candidate.label for candidate in candidates}
    if len(labels) < 2 and not has_manifest and task.has_class_folders:
        advice = advise_on_one_class(candidates)
        raise UserError(f"expected examples of two classes or more in {data}; got only {labels.pop()!r}; {advice}")


class PairedFile(NamedTuple):
    """What the folders of a file say if a folder holds the images and another one the targets."""

    folder: str  # that of images or of targets, in lower case
    stem: tuple[str, ...]  # the path without this folder and without the suffix: of an image and its target the same
    split: str | None


def read_paired_path(file: FileEntry, folders: Sequence[str]) -> PairedFile | None:
    """Read a path such as images/x.png, images/train/x.png or train/images/x.png; return None for other paths."""
    *parents, name = file.parts
    split = split_of(parents[0]) if parents else None
    position = int(len(parents) > 1 and split is not None and parents[0].lower() not in folders)
    if len(parents) <= position or (folder := parents.pop(position).lower()) not in folders:
        return None
    return PairedFile(folder, (*parents, PurePosixPath(name).stem), split_of(parents[0]) if parents else None)


def find_paired_task(files: Iterable[FileEntry], task_name: str | None) -> type[Task] | None:
    """Return a task whose targets are files, such as those in masks/, if the data has the folders of it."""
    for task in map(task_class, [task_name] if task_name else TASKS):
        if task.folders:
            paired = (read_paired_path(file, task.folders) for file in files)
            if {each.folder for each in paired if each} == set(task.folders):
                return task
    return None


def find_pairs(data: Path, files: Sequence[FileEntry], task: type[Task], left_out: LeftOut) -> list[Candidate]:
    """List the images that have a target of the same stem; images and targets without the other are left out.

    Raises:
        UserError: if two targets have the same stem, or no image has a target.
    """
    assert task.folders is not None
    image_folder, target_folder = task.folders
    images: list[tuple[FileEntry, PairedFile]] = []
    targets: dict[tuple[str, ...], FileEntry] = {}
    for file in files:
        paired = read_paired_path(file, task.folders)
        if file.path in task.label_files:
            continue
        if file.archive and file.parts[-1] in task.label_files:
            left_out.add(f"{file.parts[-1]} in an archive (move it into the data folder)", file.path)
        elif paired is None:
            left_out.add(f"files outside of {image_folder}/ and {target_folder}/", file.path)
        elif not has_suffix(file, IMAGE_SUFFIXES):
            left_out.add_unknown(file.path, "images")
        elif paired.folder == image_folder:
            images.append((file, paired))
        elif paired.stem in targets:
            raise UserError(
                f"expected one file in {target_folder}/ for each image; got {targets[paired.stem].path} and "
                f"{file.path}; remove one of them"
            )
        else:
            targets[paired.stem] = file
    candidates = []
    for file, paired in images:
        if paired.stem in targets:
            candidates.append(Candidate(file, targets[paired.stem].path, paired.split))
        else:
            left_out.add(f"images without a file in {target_folder}/", file.path)
    if not candidates:
        check_other_layouts(data, files, task.name)
    for stem in sorted(targets.keys() - {paired.stem for _, paired in images}):
        left_out.add(f"files in {target_folder}/ without an image", targets[stem].path)
    return candidates


def check_other_layouts(data: Path, files: Sequence[FileEntry], task_name: str | None) -> None:
    """Check that images do not have masks beside them in a layout that is not read.

    Raises:
        UserError: if they have.
    """
    images = [file for file in files if has_suffix(file, IMAGE_SUFFIXES)]
    pair = find_mask(images)
    task = next(task for task in map(task_class, TASKS) if task.folders)
    if pair is None or task_name not in (None, task.name):
        return
    raise UserError(
        f"expected {describe_layout(task)} in {data}; got images whose masks are in another layout; write "
        f"{MANIFEST} with the columns path,mask and a line for each image that has a mask, such as "
        f"{','.join(file.path for file in pair)}, or set class_depth in configs/prepare.yaml if the folders are classes"
    )


def describe_layout(task: type[Task]) -> str:
    """Describe how data of a task is laid out."""
    folders = f"{task.folders[0]}/ and {task.folders[1]}/, or " if task.folders else ""
    return f"{folders}a {MANIFEST} of path,{task.columns[0]}"


def find_manifest(data: Path) -> str | None:
    """Return the name of the user's manifest.csv, in any case.

    Raises:
        UserError: if there are two.
    """
    with one_line_errors(data):
        names = sorted(path.name for path in data.iterdir() if path.name.lower() == MANIFEST)
    if len(names) > 1:
        raise UserError(f"expected one {MANIFEST} in {data}; got {shorten(names)}; remove one of them")
    return names[0] if names else None


def advise_on_one_class(candidates: Iterable[Candidate]) -> str:
    """Describe what to do if there is one folder only: the classes may be one level deeper."""
    levels = [candidate.file.parts for candidate in candidates]
    depth = min(map(len, levels)) - 1
    common = next((d for d in range(depth) if len({parts[d] for parts in levels}) > 1 and d), depth)
    inside = sorted({parts[common] for parts in levels}) if common < depth else []
    if not inside:
        return "give each class a folder"
    return f"if {shorten(inside)} inside it are the classes or the splits, move these up; give each class a folder"


def find_in_folders(
    data: Path, files: Sequence[FileEntry], task: type[Task], left_out: LeftOut, class_depth: int | None
) -> list[Candidate]:
    """List the images or the sequences in class folders, whichever are more; split folders may contain these."""
    entries = [entry for entry in files if entry.path not in task.label_files]
    files = select_files(entries, left_out)
    folders = {file.parts[0] for file in files}
    if class_depth != 1:
        check_splits(folders, data)
    has_splits = class_depth != 1 and bool(folders) and all(map(split_of, folders))
    candidates, level = [], class_depth - 1 if class_depth else int(has_splits)  # of the class folders
    if not class_depth:
        check_classes((file.parts for file in files if len(file.parts) > level + 1), level, data)
    for file in files:
        if len(file.parts) > level + 1:
            split = split_of(file.parts[0]) if has_splits else None
            candidates.append(Candidate(file, as_label(file.parts[level]), split))
        else:
            reason = "files in a split's folder without a class folder" if has_splits else OUTSIDE
            left_out.add(reason, file.path)
    check_labels({candidate.file.parts[level] for candidate in candidates})
    if candidates:
        count_unused_folders(data, entries, files, level, left_out)
    return candidates


def select_files(entries: Sequence[FileEntry], left_out: LeftOut) -> list[FileEntry]:
    """Return the images in folders, or the sequences if these are more, and count all other files as left out."""
    suffixes = {"images": IMAGE_SUFFIXES, "sequences": SEQUENCE_SUFFIXES}
    kinds = [next((kind for kind in suffixes if has_suffix(entry, suffixes[kind])), None) for entry in entries]
    counter = Counter(kind for entry, kind in zip(entries, kinds, strict=True) if len(entry.parts) > 1)
    selected = "images" if counter["images"] >= counter["sequences"] else "sequences"
    files = []
    for entry, kind in zip(entries, kinds, strict=True):
        if kind is None:
            left_out.add_unknown(entry.path, selected)
        elif kind != selected and has_suffix(entry, [".csv"]):
            left_out.add(f"tables (of them, only {MANIFEST} of path,label is read)", entry.path)
        elif kind != selected:
            left_out.add(f"{kind} beside more {selected}", entry.path)
        elif len(entry.parts) == 1:
            left_out.add(OUTSIDE, entry.path)
        else:
            files.append(entry)
    return files


def has_suffix(file: FileEntry, suffixes: Iterable[str]) -> bool:
    return file.parts[-1].lower().endswith(tuple(suffixes))


def count_unused_folders(
    data: Path, entries: Sequence[FileEntry], files: Sequence[FileEntry], level: int, left_out: LeftOut
) -> None:
    """Count the folders, down to a level, that hold none of the files."""
    levels = range(1, level + 2)
    used = {file.parts[:depth] for file in files for depth in levels if len(file.parts) > depth}
    filled = {entry.parts[:depth] for entry in entries for depth in levels if len(entry.parts) > depth}
    for folder in sorted((filled | set(list_folders(data, level))) - used):
        if len(folder) == 1 or folder[:-1] in used:
            reason = "class folders of other files only" if folder in filled else "empty class folders"
            left_out.add(reason, "/".join(folder))


def list_folders(data: Path, level: int, parts: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the visible folders of a folder, down to a level below it."""
    for path in data.iterdir():
        if path.is_dir() and not is_hidden(path.name):
            yield (*parts, path.name)
            if level:
                yield from list_folders(path, level - 1, (*parts, path.name))


def find_in_manifest(
    data: Path, manifest: str, files: Iterable[FileEntry], content: Manifest, left_out: LeftOut
) -> list[Candidate]:
    """List the files of the user's manifest.csv; all others are left out.

    Raises:
        UserError: if it is not readable, names a file outside of the folder, a missing one, or one twice.
    """
    index = FileIndex(file for file in files if file.path != manifest)
    candidates: dict[int, Candidate] = {}
    rows = content.rows
    if not rows:
        raise UserError(
            f"expected rows of path,{content.target_columns[0]} in {data / manifest}; got none; write some, or remove "
            "it to use class folders"
        )
    missing = []
    for row in rows:
        found = index.find(row.path)
        if found is None:
            check_inside(row.path, row.where)
            missing.append(row.path)
            continue
        if found in candidates:
            raise UserError(f"expected each file once; {row.where} names {row.path!r} again; remove one of the rows")
        label = find_target(index, row) if content.task.folders else row.label
        candidates[found] = Candidate(index.files[found], label, row.split, row.group)
    if missing:
        raise UserError(
            f"expected the files of {data / manifest} under {data}; {len(missing)} of {len(rows)} are missing "
            f"({', '.join(missing[:3])}{index.suggest(missing[0])}); add them, or correct or remove their rows"
        )
    if content.task.has_one_label:
        check_labels({row.label for row in rows})
    warn_of_similar({row.group for row in rows}, "groups")
    named = {candidate.label for candidate in candidates.values()} if content.task.folders else set()
    for position, file in enumerate(index.files):
        if position not in candidates and file.path not in {*named, *content.task.label_files}:
            left_out.add("files that the manifest does not name", file.path)
    return [candidates[position] for position in sorted(candidates)]  # in the order in which archives are read


def find_target(index: FileIndex, row: ManifestRow) -> str:
    """Return the path of the file that a row names as its target, such as a mask.

    Raises:
        UserError: if it is not a file of the data folder.
    """
    found = index.find(row.label)
    if found is None:
        check_inside(row.label, row.where)
        raise UserError(
            f"expected the file {row.label!r} that {row.where} names; not found{index.suggest(row.label)}; add it, or "
            "correct the row"
        )
    return index.files[found].path


def are_sequences(candidates: Iterable[Candidate]) -> bool:
    """Check whether all files are sequences; otherwise they are images."""
    return all(candidate.path.lower().endswith(tuple(SEQUENCE_SUFFIXES)) for candidate in candidates)


def check_has_training(candidates: Iterable[Candidate], noun: str) -> None:
    """Check that every label has an example that may become a training example."""
    learnable = {candidate.label for candidate in candidates if candidate.split in (None, "train")}
    for candidate in candidates:
        if candidate.label not in learnable:
            raise UserError(
                f"expected train examples of all {noun}; got {candidate.label!r} only in {candidate.split} "
                f"({candidate.path}); add train images of it, or remove it"
            )
