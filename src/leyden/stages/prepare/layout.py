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
INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufe0f\ufeff"  # of width zero: str.strip() keeps them
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
            f"{shorten(others)}; move away what is not part of the data, rename what is not a split, set "
            f"class_depth: 1 in configs/prepare.yaml if all of them are classes, {HOW_TO_LABEL}"
        )
    for split, found in spellings.items():
        if len(found) > 1:
            raise UserError(f"expected one {split} folder in {data}; got {shorten(found)}; merge them or move one away")
    hints = list(map(split_words_of, others))
    if others and all(hints) and len(set().union(*hints)) > 1:
        raise UserError(
            f"expected folders of classes or of splits in {data}; got {shorten(others)}, which look like splits; name "
            "them train, val and test if they are, set class_depth: 1 in configs/prepare.yaml if they are classes, "
            f"{HOW_TO_LABEL}"
        )


def check_classes(files: Iterable[Sequence[str]], level: int, data: Path) -> None:
    """Check that the folders at a level are classes, given the parts of the files' paths.

    Raises:
        UserError: if one is named like a split or images/, if one has splits inside, or if the folders inside look like
            the classes, as in fold1/cat, fold1/dog, fold2/cat, fold2/dog; not if the outer ones have images of their
            own, too.
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
                f"rename it, move its content up or away, set class_depth: {level + 1} in configs/prepare.yaml if it "
                f"is a class, {HOW_TO_LABEL}"
            )
    for depth, names_by_outer in inside.items():
        if len(outer) > 1:
            check_no_splits(names_by_outer, level, data)
        shared = find_shared(names_by_outer, len(outer))
        tops = sorted(top for top, names in names_by_outer.items() if names & shared)
        if len(shared) > 1 and not has_files.issuperset(tops):
            to_inner = "to 2 if these are" if (level, depth) == (0, 0) else "move these up if they are"
            raise UserError(
                f"expected one folder for each class in {data}; got {shorten(tops)} with the same folders inside "
                f"({shorten(sorted(shared))}), which look like the classes; set class_depth in configs/prepare.yaml to "
                f"{level + 1} if the outer folders are the classes, {to_inner}, name the outer folders train, val and "
                f"test if they are splits, {HOW_TO_LABEL}"
            )


def check_no_splits(names_by_outer: dict[str, set[str]], level: int, data: Path) -> None:
    """Check that no class has several splits inside, as in cat/train and cat/test: they would be mixed.

    Raises:
        UserError: if one has.
    """
    splits = {top: sorted(filter(split_of, names)) for top, names in names_by_outer.items()}
    tops = [top for top, names in sorted(splits.items()) if len(set(map(split_of, names))) > 1]
    if tops:
        raise UserError(
            f"expected folders of splits around those of classes in {data}; got {shorten(splits[tops[0]])} inside of "
            f"{shorten(tops)}; move the splits to the top (train/{printable(tops[0])}), set "
            f"class_depth: {level + 1} in configs/prepare.yaml to draw new splits, {HOW_TO_LABEL}"
        )


def find_shared(names_by_outer: dict[str, set[str]], num_outer: int) -> set[str]:
    """Return the names that are in most of the outer folders, or all if each outer has some and each is in several."""
    counter = Counter(name for names in names_by_outer.values() for name in names)
    if len(names_by_outer) == num_outer and min(counter.values()) > 1:
        return set(counter)
    return {name for name, count in counter.items() if count > max(1, num_outer / 2)}


def check_labels(names: Iterable[str]) -> None:
    """Warn of names that became one label, and of labels that look alike.

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
    warn_of_similar(by_label, "classes")


def warn_of_similar(names: Iterable[str], noun: str) -> None:
    """Warn of names that look alike: they differ only by case, spaces, invisible characters or ligatures."""
    by_look: dict[str, list[str]] = {}
    for name in sorted(names):
        look = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        by_look.setdefault(re.sub(f"[{INVISIBLE}]", "", look), []).append(name)
    for similar in by_look.values():
        is_case = len(set(map(str.lower, similar))) == 1
        shown, difference = (quoted, "case") if is_case else (ascii, "spaces or characters that look alike")
        if len(similar) > 1:
            warn(f"{noun} {shorten(similar, shown)} differ only by {difference}; they stay different {noun}")


def quoted(name: str) -> str:
    return f"'{printable(name)}'"


def shorten(names: Sequence[str], quote: Callable[[str], str] = quoted) -> str:
    """List the first names."""
    return ", ".join(map(quote, names[:MAX_NAMED])) + ", ..." * (len(names) > MAX_NAMED)


def warn(message: str) -> None:
    print(printable(f"prepare: warning: {message}"), file=sys.stderr)
