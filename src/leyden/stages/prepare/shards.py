"""Writing of training images as litdata shards, to a folder or to object storage, for data larger than the disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import MANIFEST, ArrayWriter
from leyden.errors import UserError, one_line
from leyden.files import replaced_folder, sha256
from leyden.files.outputs import check_file, check_no_overlap
from leyden.stages.prepare.contact import PER_SIDE
from leyden.stages.prepare.discovery import Candidate, are_sequences
from leyden.stages.prepare.examples import Example, Shape
from leyden.stages.prepare.packing import count_values, statistics_of_counts, write_pixels, write_targets
from leyden.tasks.task import Task

HELD_OUT_SPLITS = ("val", "test")  # packed as arrays: later stages read all of them, and every epoch reads val
SAMPLE = "sample"  # name of the arrays that contact sheets are drawn from
RowReader = Callable[[Sequence[Example]], Iterator[np.ndarray]]


def check_location(shards: str, others: Sequence[Path]) -> None:
    """Check before anything is read that shards can be written, and not to one of `others`."""
    if "://" not in shards:
        check_no_overlap(Path(shards), others, "--shards")
        check_file(Path(shards, "index.json"))


def check_shards(shards: str, crop_margin: float, storage: str, candidates: Sequence[Candidate], task: Task) -> None:
    """Check before any image is read that litdata is installed, and that settings and data are suitable for shards."""
    if not task.has_one_label:
        raise UserError(
            f"expected one label for each example in shards; got the task {task.name}; set shards to null in "
            "configs/prepare.yaml"
        )
    if crop_margin != 1 or storage == "jpeg":
        raise UserError(
            f"expected crop_margin 1 and storage auto or pixels for shards; got {crop_margin} and {storage}; "
            "set them in configs/prepare.yaml"
        )
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"expected litdata to write shards to {shards}; {error.name} is missing; install leyden[streaming]"
        ) from error
    if are_sequences(candidates):
        raise UserError(
            "expected images for shards; the data holds sequences, which are packed; "
            "set shards to null in configs/prepare.yaml"
        )
    archive = next((candidate.file.archive for candidate in candidates if candidate.file.archive), None)
    if archive:
        raise UserError(
            f"expected image files, since shards are written in a random order; got the archive {archive}; unpack it"
        )


class ShardWriter:
    """Writes examples to shards; memory holds one shard at a time, and so does the disk if the shards go to a URL."""

    def __init__(self, folder: Path, url: str | None, shape: Shape, shard_mb: float) -> None:
        from litdata.streaming.writer import BinaryWriter

        self._writer = BinaryWriter(str(folder), chunk_size=max(1, int(shard_mb * 1e6) // int(np.prod(shape))))
        self._folder, self._url = folder, url
        self._digest = hashlib.sha256()
        self._counts = np.zeros((shape[2], 256), np.int64)
        self.num_rows = self.num_bytes = 0

    def append(self, image: np.ndarray, label: int) -> None:
        """Add an image uint8 (H, W, C)."""
        self._counts += count_values(image)
        if path := self._writer.add_item(self.num_rows, (image, label)):
            self._publish(Path(path))
        self.num_rows += 1

    def close(self) -> dict[str, Any]:
        """Write the last shard and the index; return statistics of the pixels, and size and hash of the files."""
        for path in self._writer.done():
            self._publish(Path(path))
        # The index of a single writer is the whole index; litdata's merge would add the time of day.
        self._publish((self._folder / "0.index.json").rename(self._folder / "index.json"))
        mean, deviation = statistics_of_counts(self._counts)
        return {"mean": mean, "std": deviation, "bytes": self.num_bytes, "sha256": self._digest.hexdigest()}

    def _publish(self, path: Path) -> None:
        self.num_bytes += path.stat().st_size
        self._digest.update(sha256(path).encode())
        if self._url:
            upload(path, f"{self._url}/{path.name}")
            path.unlink()


def write_sharded(
    folder: Path,
    location: str,
    examples: Sequence[Example],
    read_rows: RowReader,
    shape: Shape,
    shard_mb: float,
    task: Task,
) -> dict[str, Any]:
    """Write training images to shards and the others to arrays, and return their description for report.json."""
    held_out = [example for example in examples if example.split != "train"]
    write_pixels(folder, read_rows(held_out), held_out, shape, HELD_OUT_SPLITS)
    write_targets(folder, held_out, task, splits=HELD_OUT_SPLITS)
    training = [example for example in examples if example.split == "train"]
    # In a random order, so that every shard holds all classes.
    training = [training[index] for index in np.random.default_rng(0).permutation(len(training))]
    labels = [task.labels.index(example.label) for example in training]
    with shard_folder(folder, location) as (local, url):
        writer = ShardWriter(local, url, shape, shard_mb)
        for row, label in zip(keep_sample(folder, read_rows(training), labels, shape), labels, strict=True):
            writer.append(row, label)
        written = writer.close()  # writes the index last, so that shards are complete or not readable
    arrays = [folder / f"{split}.{kind}.npy" for split in HELD_OUT_SPLITS for kind in ("images", "targets")]
    height, width, channels = shape
    data_hash = hashlib.sha256((sha256(folder / MANIFEST, *arrays) + written["sha256"]).encode()).hexdigest()
    return {
        "input": {"channels": channels, "image_size": [height, width], "mean": written["mean"], "std": written["std"]},
        "stored_size": [height, width],
        "bytes": written["bytes"] + sum(array.stat().st_size for array in arrays),
        "data_hash": data_hash,
        "shards": location,
    }


def keep_sample(folder: Path, rows: Iterator[np.ndarray], labels: Sequence[int], shape: Shape) -> Iterator[np.ndarray]:
    """Yield the rows, and write the first ones of each class to an array that contact sheets are drawn from."""
    sample_labels: list[int] = []
    counts: Counter[int] = Counter()
    with closing(ArrayWriter(folder / f"{SAMPLE}.images.npy", shape)) as writer:
        for row, label in zip(rows, labels, strict=True):
            if counts[label] < PER_SIDE**2:
                writer.append(row)
                sample_labels.append(label)
                counts[label] += 1
            yield row
    np.save(folder / f"{SAMPLE}.targets.npy", np.array(sample_labels, np.int64))


def remove_sample(folder: Path) -> None:
    """Remove what contact sheets were drawn from, if it exists."""
    for kind in ("images", "targets"):
        (folder / f"{SAMPLE}.{kind}.npy").unlink(missing_ok=True)


@contextmanager
def shard_folder(folder: Path, location: str) -> Iterator[tuple[Path, str | None]]:
    """Yield the folder to write to, and the URL to move files to, or None if the location is a folder."""
    if "://" not in location:
        with replaced_folder(Path(location), "shards") as partial:
            yield partial, None
        return
    local = folder / "shards"
    local.mkdir()
    yield local, location
    local.rmdir()


def shard_location(shards: str, manifest: Path, shape: Shape, shard_mb: float) -> str:
    """Return a location named by a hash of what decides the shards' content, so that other data is not replaced."""
    digest = hashlib.sha256(manifest.read_bytes() + repr((shape, shard_mb)).encode()).hexdigest()
    return f"{shards.rstrip('/')}/{digest[:12]}"


def upload(path: Path, url: str) -> None:
    """Copy a file to object storage."""
    from leyden.data.shards import storage_client

    try:
        storage_client(url.partition("://")[0], os.getpid()).upload_file(str(path), url)
    except Exception as error:  # the exceptions depend on the kind of storage
        raise UserError(
            f"expected to write {url}; got: {one_line(error, 200)}; "
            "correct the URL or its credentials and run `leyden prepare` again"
        ) from error
