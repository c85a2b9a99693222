"""Batches from litdata shards, 128 x 128 RGB in shards of 16 MB, shuffled.

Ours gathers whole batches in an order of its own. The usual way is litdata's StreamingDataset behind its StreamingDataLoader, with
`batch_decode=0`: its default decodes arrays several times over, and is slower still. Cold
reads, the page cache emptied of the shards before each turn, are against reading the same files from front to back.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from timing import Row, Skip

SHAPE = (128, 128, 3)
NUM_IMAGES, SHARD_MB, BATCH_SIZE, REPEATS = 8_000, 16, 64, 5


def measure() -> list[Row]:
    os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"  # it asks a server otherwise
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise Skip("litdata is missing; install leyden[streaming]") from error
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        write_shards(folder)
        warm = in_turns(lambda: our_epoch(folder), lambda: usual_epoch(folder), lambda: None)
        cold = in_turns(lambda: our_epoch(folder), lambda: read_through(folder), lambda: forget(folder))
    rows = []
    for title, (ours, other), goal in (
        ("streaming", warm, "at least 1x of litdata's loader"),
        ("streaming_cold", cold, "at least 0.3x of plain reading"),
    ):
        rows.append(
            Row(
                title,
                round(NUM_IMAGES / ours),
                "images/s",
                round(NUM_IMAGES / other),
                round(other / ours, 2),
                goal,
                REPEATS,
            )
        )
    return rows


def write_shards(folder: Path) -> None:
    from leyden.stages.prepare.shards import ShardWriter

    generator = np.random.default_rng(0)
    writer = ShardWriter(folder, None, SHAPE, SHARD_MB)
    for number in range(NUM_IMAGES):
        writer.append(generator.integers(0, 256, SHAPE, np.uint8), number % 10)
    writer.close()


def in_turns(ours: Callable[[], None], other: Callable[[], None], before: Callable[[], None]) -> tuple[float, float]:
    """Give the median seconds of two ways that take turns, the first turn not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(REPEATS + 1):
        for kept, way in zip(times, (ours, other), strict=True):
            before()
            started = time.perf_counter()
            way()
            if turn:
                kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def our_epoch(folder: Path) -> None:
    from leyden.data.loader import Loader
    from leyden.data.shards import ShardFolder
    from leyden.data.streaming import ShardedImages, ShardSampler

    shards = ShardFolder(str(folder), SHAPE, folder, 0)
    sampler = ShardSampler(shards.counts, 8, BATCH_SIZE, 0)
    assert (
        sum(len(labels) for _, labels, _ in Loader(ShardedImages(shards), batch_size=None, sampler=sampler))
        == NUM_IMAGES
    )


def usual_epoch(folder: Path) -> None:
    from litdata import StreamingDataLoader, StreamingDataset

    loader = StreamingDataLoader(StreamingDataset(str(folder), shuffle=True, batch_decode=0), batch_size=BATCH_SIZE)
    assert sum(len(labels) for _, labels in loader) == NUM_IMAGES


def read_through(folder: Path) -> None:
    for path in sorted(folder.glob("*.bin")):
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def forget(folder: Path) -> None:
    """Take the shards out of the page cache."""
    for path in folder.glob("*.bin"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
