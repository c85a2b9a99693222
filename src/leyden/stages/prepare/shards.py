"""Training images as litdata shards, in a folder or in object storage, for data larger than the disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import ArrayWriter
from leyden.errors import UserError
from leyden.files import replaced_folder, sha256
from leyden.files.outputs import check_apart, check_file
from leyden.stages.prepare.contact import PER_SIDE
from leyden.stages.prepare.discovery import Candidate, are_sequences
from leyden.stages.prepare.examples import Examples, Shape, label_indices
from leyden.stages.prepare.packing import count_levels, statistics_of, write_labels, write_pixels

HELD_OUT_SPLITS = ("val", "test")  # packed as arrays: later stages read them whole, and every epoch reads val
SAMPLE = "sample"
Reader = Callable[[Examples], Iterator[np.ndarray]]


def check_place(shards: str, others: Sequence[Path]) -> None:
    """Check before anything is read that shards may be written to a folder apart from `others`.

    Raises:
        UserError: if they may not.
    """
    if "://" not in shards:
        check_apart(Path(shards), others, "--shards")
        check_file(Path(shards, "index.json"))


def check_shards(
    shards: str, shard_mb: float, crop_margin: float, storage: str, candidates: Sequence[Candidate]
) -> None:
    """Check before any image is read that shards can be written.

    Raises:
        UserError: if litdata is missing, or the images lie in archives.
    """
    if shard_mb <= 0:
        raise UserError(f"prepare.shard_mb must be above 0; got {shard_mb}; set it in configs/prepare.yaml")
    if crop_margin != 1 or storage == "jpeg":
        raise UserError(
            f"expected crop_margin 1 and storage auto or pixels for shards; got {crop_margin} and {storage}; set them in configs/prepare.yaml"
        )
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"expected litdata to write shards to {shards}; {error.name} is missing; install leyden[streaming]"
        ) from error
    if are_sequences(candidates):
        raise UserError(
            "expected images for shards; the data holds sequences, which are packed; set shards to null in configs/prepare.yaml"
        )
    archive = next((candidate.file.archive for candidate in candidates if candidate.file.archive), None)
    if archive:
        raise UserError(
            f"expected image files, which are read in a random order for shards; got the archive {archive}; unpack it"
        )


def part(examples: Examples, splits: Sequence[str], training: bool) -> tuple[Examples, list[str]]:
    """Give the training examples in a random order, so that every shard holds all classes; or the others as they come."""
    chosen = np.array([number for number, split in enumerate(splits) if (split == "train") == training], np.int64)
    if training:
        chosen = np.random.default_rng(0).permutation(chosen)
    fields = (
        [values[number] for number in chosen] for values in (examples.candidates, examples.judged, examples.places)
    )
    return Examples(examples.labels, *fields), [splits[number] for number in chosen]


class ShardWriter:
    """Writes examples to shards as they come; memory holds one shard, and so does the disk where the shards go to a URL."""

    def __init__(self, folder: Path, url: str | None, shape: Shape, shard_mb: float) -> None:
        from litdata.streaming.writer import BinaryWriter

        self._writer = BinaryWriter(str(folder), chunk_size=max(1, int(shard_mb * 1e6) // int(np.prod(shape))))
        self._folder, self._url = folder, url
        self._digest = hashlib.sha256()
        self._levels = np.zeros((shape[2], 256), np.int64)
        self.num_rows = self.num_bytes = 0

    def append(self, image: np.ndarray, label: int) -> None:
        """Add an image uint8 (H, W, C)."""
        self._levels += count_levels(image)
        if path := self._writer.add_item(self.num_rows, (image, label)):
            self._publish(Path(path))
        self.num_rows += 1

    def close(self) -> dict[str, Any]:
        """Write the rest and the list of the shards; give the pixels' statistics, and the files' size and hash."""
        for path in self._writer.done():
            self._publish(Path(path))
        # The index of a single writer is the whole index; litdata's merge would add the time of day.
        self._publish((self._folder / "0.index.json").rename(self._folder / "index.json"))
        mean, deviation = statistics_of(self._levels)
        return {"mean": mean, "std": deviation, "bytes": self.num_bytes, "sha256": self._digest.hexdigest()}

    def _publish(self, path: Path) -> None:
        self.num_bytes += path.stat().st_size
        self._digest.update(sha256(path).encode())
        if self._url:
            upload(path, f"{self._url}/{path.name}")
            path.unlink()


def write_sharded(
    folder: Path, place: str, examples: Examples, splits: Sequence[str], read: Reader, shape: Shape, shard_mb: float
) -> dict[str, Any]:
    """Write training images to shards, the others to arrays; describe them."""
    held, held_splits = part(examples, splits, training=False)
    write_pixels(folder, read(held), held_splits, shape, HELD_OUT_SPLITS)
    write_labels(folder, label_indices(held), held_splits, HELD_OUT_SPLITS)
    training, _ = part(examples, splits, training=True)
    labels = label_indices(training)
    found = write_shards(folder, place, keep_sample(folder, read(training), labels, shape), labels, shape, shard_mb)
    arrays = [folder / f"{split}.{kind}.npy" for split in HELD_OUT_SPLITS for kind in ("images", "labels")]
    height, width, channels = shape
    return {
        "labels": examples.labels,
        "input": {"channels": channels, "image_size": [height, width], "mean": found["mean"], "std": found["std"]},
        "stored_size": [height, width],
        "bytes": found["bytes"] + sum(array.stat().st_size for array in arrays),
        "data_hash": hashlib.sha256((sha256(folder / "manifest.csv", *arrays) + found["sha256"]).encode()).hexdigest(),
        "shards": place,
    }


def keep_sample(folder: Path, rows: Iterator[np.ndarray], labels: Sequence[int], shape: Shape) -> Iterator[np.ndarray]:
    """Pass rows on, and write the first of each class to an array that the contact sheets are drawn from."""
    kept: list[int] = []
    taken: Counter[int] = Counter()
    with closing(ArrayWriter(folder / f"{SAMPLE}.images.npy", shape)) as writer:
        for row, label in zip(rows, labels, strict=True):
            if taken[label] < PER_SIDE**2:
                writer.append(row)
                kept.append(label)
                taken[label] += 1
            yield row
    np.save(folder / f"{SAMPLE}.labels.npy", np.array(kept, np.int64))


def drop_sample(folder: Path) -> None:
    """Remove what the contact sheets were drawn from."""
    for kind in ("images", "labels"):
        (folder / f"{SAMPLE}.{kind}.npy").unlink(missing_ok=True)


def write_shards(
    folder: Path, place: str, rows: Iterator[np.ndarray], labels: Sequence[int], shape: Shape, shard_mb: float
) -> dict[str, Any]:
    """Write shards to a place; the list of them comes last, so that they are there as a whole or not at all."""
    with written_to(folder, place) as (local, url):
        writer = ShardWriter(local, url, shape, shard_mb)
        for row, label in zip(rows, labels, strict=True):
            writer.append(row, label)
        return writer.close()


@contextmanager
def written_to(folder: Path, place: str) -> Iterator[tuple[Path, str | None]]:
    """Give the folder to write in, and the URL to move files to from there where the place is one."""
    if "://" not in place:
        with replaced_folder(Path(place), "shards") as partial:
            yield partial, None
        return
    local = folder / "shards"
    local.mkdir()
    yield local, place
    local.rmdir()


def place_of(shards: str, manifest: Path, shape: Shape, shard_mb: float) -> str:
    """Name the place of the shards by what decides their content: other data goes elsewhere, and a report finds its own."""
    digest = hashlib.sha256(manifest.read_bytes() + repr((shape, shard_mb)).encode()).hexdigest()
    return f"{shards.rstrip('/')}/{digest[:12]}"


def upload(path: Path, url: str) -> None:
    """Copy a file to object storage.

    Raises:
        UserError: if it cannot be written there.
    """
    from leyden.data.shards import storage_client

    try:
        storage_client(url.partition("://")[0], os.getpid()).upload_file(str(path), url)
    except Exception as error:  # each storage has errors of its own
        raise UserError(
            f"expected to write {url}; got: {' '.join(str(error).split())[:200]}; mend it and run `leyden prepare` again"
        ) from error
