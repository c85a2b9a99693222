"""What folder names mean: which are splits, which are classes, and layouts that could mean either."""

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from leyden.data.packed import SPLITS
from leyden.errors import UserError
from leyden.files.names import printable

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "tst"),
}
SPLIT_NAME = re.compile(rf"({'|'.join(sum(SPELLINGS.values(), ()))})([ _-]?(set|split|data|images))?")
SPLIT_WORD = re.compile(r"[a-z]+")
NOT_CLASSES = {"image", "images", "img", "imgs", "jpegimages"}
INVISIBLE = "\u200b\u2060\ufeff"  # spaces of width zero, which str.strip() keeps
MAX_NAMED = 6
MANIFEST = "manifest.csv"
HOW_TO_LABEL = f"or write a {MANIFEST} of path,label,split"


def split_of(name: str) -> str | None:
    """Return which of the splits a name means, in any case, such as Training, validation or test_set."""
    match = SPLIT_NAME.fullmatch(name.strip().lower())
    return next((split for split in SPLITS if match[1] in SPELLINGS[split]), None) if match else None


def split_words_of(name: str) -> set[str]:
    """Return the splits that words in a name mean, as in asl_train or test2017."""
    splits = map(split_of, SPLIT_WORD.findall(name.lower()))
    return {split for split in splits if split}


def as_label(name: str) -> str:
    """Return the label that a name stands for: without spaces at its ends, and in Unicode's composed form (NFC)."""
    text = unicodedata.normalize("NFC", name)
    return printable(re.sub(rf"^[\s{INVISIBLE}]+|[\s{INVISIBLE}]+$", "", text))


def check_splits(names: Collection[str], data: Path) -> None:
    """Check that the top folders are all splits, each with one spelling, or all classes.

    Raises:
        UserError: if they are mixed, since images of a split would silently become a class.
    """
    spellings = {split: sorted(name for name in names if split_of(name) == split) for split in SPLITS}
    splits = sorted(name for names_of_split in spellings.values() for name in names_of_split)
    others = sorted(set(names) - set(splits))
    if splits and others:
        raise UserError(
            f"expected folders of classes or of splits in {data}; got both: {shorten(splits)} beside "
            f"{shorten(others)}; move away what is not part of the data, or rename what is not a split, {HOW_TO_LABEL}"
        )
    for split, found in spellings.items():
        if len(found) > 1:
            raise UserError(f"expected one {split} folder in {data}; got {shorten(found)}; merge them or move one away")
    hints = list(map(split_words_of, others))
    if others and all(hints) and len(set().union(*hints)) > 1:
        raise UserError(
            f"expected folders of classes or of splits in {data}; got {shorten(others)}, which look like splits; name "
            f"them train, val and test, {HOW_TO_LABEL}"
        )


def check_classes(files: Iterable[Sequence[str]], level: int, data: Path) -> None:
    """Check that the folders at a level are classes, given the parts of the files' paths.

    Raises:
        UserError: if one is named like a split or images/, or if the folders inside look like the classes, as in
            fold1/cat, fold1/dog, fold2/cat, fold2/dog; not if the outer ones have images of their own, too.
    """
    outer: set[str] = set()
    has_files: set[str] = set()
    inside: dict[int, dict[str, set[str]]] = {}  # names of folders by their depth and their outer folder
    for parts in files:
        outer.add(parts[level])
        for depth, name in enumerate(parts[level + 1 : -1]):
            inside.setdefault(depth, {}).setdefault(parts[level], set()).add(name)
        if len(parts) == level + 2:
            has_files.add(parts[level])
    for name in sorted(outer):
        if len(outer) > 1 and (name.lower() in NOT_CLASSES or (level and split_of(name))):
            raise UserError(
                f"expected one folder for each class in {data}; got {quoted(name)}, which is no name of a class; "
                f"rename it, move its content up or away, {HOW_TO_LABEL}"
            )
    for names_by_outer in inside.values():
        shared = find_shared(names_by_outer, len(outer))
        tops = sorted(top for top, names in names_by_outer.items() if names & shared)
        if len(shared) > 1 and not has_files.issuperset(tops):
            raise UserError(
                f"expected one folder for each class in {data}; got {shorten(tops)} with the same folders inside "
                f"({shorten(sorted(shared))}), which look like the classes; move these up, name the outer folders "
                f"train, val and test if they are splits, {HOW_TO_LABEL}"
            )


def find_shared(names_by_outer: dict[str, set[str]], num_outer: int) -> set[str]:
    """Return the names that are in most of the outer folders, or all if each outer has some and each is in several."""
    counter = Counter(name for names in names_by_outer.values() for name in names)
    if len(names_by_outer) == num_outer and min(counter.values()) > 1:
        return set(counter)
    return {name for name, count in counter.items() if count > max(1, num_outer / 2)}


def check_labels(names: Iterable[str]) -> None:
    """Warn of names that became one label, and of labels that differ only by case.

    Raises:
        UserError: if a name consists of spaces.
    """
    by_label: dict[str, set[str]] = {}
    for name in names:
        by_label.setdefault(as_label(name), set()).add(name)
    if "" in by_label:
        raise UserError(f"expected names of classes; got {by_label[''].pop()!r}; rename this folder")
    for label, merged in by_label.items():
        if len(merged) > 1:
            names_of_label = shorten(sorted(merged), ascii)  # shows in what they differ
            warn(f"{names_of_label} became one class, {label!r}: they differ only by spaces or Unicode's normal form")
    by_folded: dict[str, list[str]] = {}
    for label in sorted(by_label):
        by_folded.setdefault(label.casefold(), []).append(label)
    for similar in by_folded.values():
        if len(similar) > 1:
            warn(f"classes {shorten(similar)} differ only by case; they stay different classes")


def quoted(name: str) -> str:
    return f"'{printable(name)}'"


def shorten(names: Sequence[str], quote: Callable[[str], str] = quoted) -> str:
    """List the first names."""
    return ", ".join(map(quote, names[:MAX_NAMED])) + ", ..." * (len(names) > MAX_NAMED)


def warn(message: str) -> None:
    print(printable(f"prepare: warning: {message}"), file=sys.stderr)
