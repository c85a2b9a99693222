"""Read labelled images, judge them, split them, pack them: the later stages read no image file again."""

import csv
import hashlib
import io
import statistics
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from leyden.data.images import SUFFIXES, UnreadableImageError, find_files, read_header, read_image
from leyden.data.packed import SPLITS, ArrayWriter
from leyden.errors import UserError
from leyden.files import replaced_folder, sha256, write_json


class Candidate(NamedTuple):
    """A file that may become an example; `split` is None where its hash decides."""

    path: Path
    label: str
    split: str | None


def prepare(
    data: Path = Path("data"),
    out: Path = Path("artifacts/prepare"),
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    max_image_size: int = 224,
    max_rejected_fraction: float = 0.05,
) -> None:
    """Read, check, split and pack labelled images.

    Args:
        data: Folder with one folder of images per class, optionally under train/, val/ and test/.
        out: Where manifest.csv, rejected.csv, labels.json, report.json and the packed arrays go.
        val_fraction: Share of the examples to validate on, in (0, 1).
        test_fraction: Share of the examples to test on, in (0, 1).
        seed: Decides, with each file's content, which split the file falls in.
        image_size: Height and width in pixels of the packed images; null takes the images' own (their median, where they differ).
        max_image_size: Longest side that the images' own size may lead to, in pixels.
        max_rejected_fraction: Share of unreadable files above which the stage stops, in [0, 1].
    """
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise UserError(
            "prepare.val_fraction and prepare.test_fraction must be above 0 and sum to less than 1; "
            f"got {val_fraction} and {test_fraction}; set them in configs/prepare.yaml"
        )
    candidates = find_candidates(data)
    labels = sorted({candidate.label for candidate in candidates})
    if len(labels) < 2:
        raise UserError(f"expected images of two classes or more in {data}; got only {labels[0]!r}; give each class a folder")
    channels, (height, width) = read_format(candidates, max_image_size)
    height, width = image_size or (height, width)
    given = {candidate.split for candidate in candidates}
    to_test = 0.0 if "test" in given else test_fraction
    bounds = to_test, to_test + (0.0 if "val" in given else val_fraction)

    with replaced_folder(out) as folder:
        packer = Packer(folder, labels, (height, width, channels))
        with packer:
            for candidate in tqdm(candidates, unit="image", desc="prepare", disable=not sys.stderr.isatty()):
                try:
                    content = candidate.path.read_bytes()
                    image = read_image(io.BytesIO(content), channels, (height, width))
                except (UnreadableImageError, OSError) as error:
                    packer.reject(candidate.path.relative_to(data), str(error))
                    continue
                digest = hashlib.sha256(content).hexdigest()
                packer.add(candidate, data, candidate.split or split_of(digest, seed, bounds), digest, image)
        check_rejected(packer.rejected, len(candidates), max_rejected_fraction)
        report = packer.report()
        check_counts(report["counts"])
        write_json(folder / "labels.json", labels)
        write_json(folder / "report.json", report)
    print(summary(report))


def find_candidates(data: Path) -> list[Candidate]:
    """List the image files of class folders; folders named train, val and test hold class folders of their own.

    Raises:
        UserError: if there is no folder or no image.
    """
    if not data.is_dir():
        raise UserError(f"expected a folder of images at {data}, which is not there; run `make repro`, or put a folder per class there")
    tops = {folder.name for folder in data.iterdir() if folder.is_dir() and not folder.name.startswith(".")}
    candidates = []
    for path in find_files(data):
        parts = path.relative_to(data).parts
        split = parts[0] if tops <= set(SPLITS) else None
        folders = parts[1:-1] if split else parts[:-1]
        if folders and path.suffix.lower() in SUFFIXES:
            drawn = split == "train" and not {"val", "test"} <= tops
            candidates.append(Candidate(path, folders[0], None if drawn else split))
    if not candidates:
        raise UserError(f"expected images in class folders under {data}; found none ({', '.join(sorted(SUFFIXES))}); see README, 'Your own data'")
    return candidates


def read_format(candidates: list[Candidate], max_image_size: int) -> tuple[int, tuple[int, int]]:
    """Derive channels (1 if every image is grey, else 3) and size (the common one or the median) from the files' headers."""
    headers = []
    for candidate in candidates:
        try:
            headers.append(read_header(candidate.path))
        except UnreadableImageError:
            continue  # rejected with its reason when it is decoded
    if not headers:
        raise UserError(f"expected readable images; none of {len(candidates)} files is one, {candidates[0].path} among them")
    height = statistics.median_low(header.height for header in headers)
    width = statistics.median_low(header.width for header in headers)
    scale = min(1.0, max_image_size / max(height, width))
    return max(header.channels for header in headers), (max(1, round(height * scale)), max(1, round(width * scale)))


def split_of(digest: str, seed: int, bounds: tuple[float, float]) -> str:
    """Draw a split from an example's content alone, so that adding or removing a file moves no other."""
    draw = hashlib.sha256(f"{seed}:{digest}".encode()).digest()
    unit = int.from_bytes(draw[:8], "big") / 2**64
    return "test" if unit < bounds[0] else "val" if unit < bounds[1] else "train"


class Packer:
    """Write examples as they come, and keep the counts and sums that the report needs."""

    def __init__(self, folder: Path, labels: list[str], shape: tuple[int, int, int]) -> None:
        self._folder, self._shape = folder, shape
        self._indices = {label: index for index, label in enumerate(labels)}
        self._stack = ExitStack()
        self.rejected: list[tuple[str, str]] = []
        self.counts = {split: Counter(dict.fromkeys(labels, 0)) for split in SPLITS}
        self._rows: dict[str, list[int]] = {split: [] for split in SPLITS}
        self._sums = np.zeros((2, shape[2]))

    def __enter__(self) -> "Packer":
        manifest = self._stack.enter_context(open(self._folder / "manifest.csv", "w", newline="", encoding="utf-8"))
        rejected = self._stack.enter_context(open(self._folder / "rejected.csv", "w", newline="", encoding="utf-8"))
        self._manifest, self._rejected = csv.writer(manifest), csv.writer(rejected)
        self._manifest.writerow(["path", "label", "split", "sha256"])
        self._rejected.writerow(["path", "reason"])
        self._images = {split: ArrayWriter(self._folder / f"{split}.images.npy", self._shape) for split in SPLITS}
        for writer in self._images.values():
            self._stack.callback(writer.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for split, rows in self._rows.items():
            np.save(self._folder / f"{split}.labels.npy", np.array(rows, dtype=np.int64))

    def add(self, candidate: Candidate, data: Path, split: str, digest: str, image: np.ndarray) -> None:
        self._images[split].append(image)
        self._rows[split].append(self._indices[candidate.label])
        self.counts[split][candidate.label] += 1
        self._manifest.writerow([candidate.path.relative_to(data).as_posix(), candidate.label, split, digest])
        if split == "train":  # the mean and deviation of other splits are not the model's to know
            pixels = image.reshape(-1, image.shape[2]) / 255.0
            self._sums += pixels.mean(axis=0), (pixels**2).mean(axis=0)

    def reject(self, path: Path, reason: str) -> None:
        self.rejected.append((path.as_posix(), reason))
        self._rejected.writerow([path.as_posix(), reason])

    def report(self) -> dict[str, Any]:
        """Describe what was packed; `input` and `labels` are what a model needs to know."""
        mean, square = self._sums / max(1, self.counts["train"].total())
        deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
        height, width, channels = self._shape
        arrays = [self._folder / f"{split}.{kind}.npy" for split in SPLITS for kind in ("images", "labels")]
        return {
            "labels": list(self._indices),
            "input": {
                "channels": channels,
                "image_size": [height, width],
                "mean": [round(value, 6) for value in mean.tolist()],
                "std": [round(value, 6) for value in deviation.tolist()],
            },
            "counts": {split: dict(counts) for split, counts in self.counts.items()},
            "rejected": len(self.rejected),
            "bytes": sum(array.stat().st_size for array in arrays),
            "data_hash": sha256(self._folder / "manifest.csv", *arrays),
        }


def check_rejected(rejected: list[tuple[str, str]], total: int, limit: float) -> None:
    """Stop where too many files are unreadable, naming the first few.

    Raises:
        UserError: if the share is above the limit.
    """
    if len(rejected) > limit * total:
        named = "; ".join(f"{path}: {reason}" for path, reason in rejected[:3])
        raise UserError(
            f"expected at most {limit:.0%} unreadable files; got {len(rejected)} of {total} ({named}); "
            "mend or remove them, or raise max_rejected_fraction in configs/prepare.yaml"
        )


def check_counts(counts: dict[str, dict[str, int]]) -> None:
    """Stop where a class cannot be learned or a split is empty; warn where a class is absent from val or test.

    Raises:
        UserError: if a split is empty, or a class has no training example.
    """
    for split, by_label in counts.items():
        absent = [label for label, count in by_label.items() if not count]
        if len(absent) == len(by_label) or (absent and split == "train"):
            what = "any class" if len(absent) == len(by_label) else f"class {absent[0]!r}"
            raise UserError(
                f"expected {split} examples of every class; got none of {what}; "
                "add images, or change the fractions or the seed in configs/prepare.yaml"
            )
        if absent:
            print(f"prepare: warning: no {split} example of {', '.join(absent)}: too few images to be in every split", file=sys.stderr)


def summary(report: dict[str, Any]) -> str:
    counts = {split: sum(by_label.values()) for split, by_label in report["counts"].items()}
    height, width = report["input"]["image_size"]
    total = " + ".join(f"{count:,} {split}" for split, count in counts.items())
    return (
        f"prepare: {len(report['labels'])} classes, {total} images of {height}x{width}, {report['input']['channels']} channel(s), "
        f"{report['bytes'] / 1e6:.1f} MB packed; {report['rejected']} rejected"
    )
