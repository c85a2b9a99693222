"""Batches from litdata shards, 128 x 128 RGB in shards of 16 MB, shuffled.

Leyden gathers whole batches, in its own order. The baseline is litdata's StreamingDataset with its
StreamingDataLoader and `batch_decode=0`: its default decodes arrays several times, and is even slower. Cold reads,
with the shards evicted from the page cache before each repeat, are compared with reading the same files sequentially.
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
    os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"  # otherwise it queries a server
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise Skip("litdata is missing; install leyden[streaming]") from error
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        write_shards(folder)
        warm = alternate(lambda: leyden_epoch(folder), lambda: litdata_epoch(folder), lambda: None)
        cold = alternate(lambda: leyden_epoch(folder), lambda: read_through(folder), lambda: evict(folder))
    rows = []
    for title, (seconds, baseline), goal in (
        ("streaming", warm, "at least 1x of litdata's loader"),
        ("streaming_cold", cold, "at least 0.3x of plain reading"),
    ):
        rows.append(
            Row(
                title,
                round(NUM_IMAGES / seconds),
                "images/s",
                round(NUM_IMAGES / baseline),
                round(baseline / seconds, 2),
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


def alternate(first: Callable[[], None], second: Callable[[], None], setup: Callable[[], None]) -> tuple[float, float]:
    """Return the median seconds of two functions that alternate, without the first run."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for seconds, function in zip(times, (first, second), strict=True):
            setup()
            started = time.perf_counter()
            function()
            if repeat:
                seconds.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def leyden_epoch(folder: Path) -> None:
    from leyden.data.loader import Loader
    from leyden.data.shards import ShardFolder
    from leyden.data.streaming import ShardedImages, ShardSampler

    shards = ShardFolder(str(folder), SHAPE, folder, 0)
    sampler = ShardSampler(shards.counts, 8, BATCH_SIZE, 0)
    assert (
        sum(len(labels) for _, labels, _ in Loader(ShardedImages(shards), batch_size=None, sampler=sampler))
        == NUM_IMAGES
    )


def litdata_epoch(folder: Path) -> None:
    from litdata import StreamingDataLoader, StreamingDataset

    loader = StreamingDataLoader(StreamingDataset(str(folder), shuffle=True, batch_decode=0), batch_size=BATCH_SIZE)
    assert sum(len(labels) for _, labels in loader) == NUM_IMAGES


def read_through(folder: Path) -> None:
    for path in sorted(folder.glob("*.bin")):
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def evict(folder: Path) -> None:
    """Evict the shards from the page cache."""
    for path in folder.glob("*.bin"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
