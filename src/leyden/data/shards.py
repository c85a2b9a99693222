"""A folder or URL of litdata shards, read as arrays, so that batches are gathered without Python work per example.

Only litdata's file format and its object storage clients are used. Its StreamingDataset makes the order of examples
depend on the number of processes and workers, drops examples that do not divide evenly, and asks a server for newer
releases.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from leyden.errors import UserError, one_line
from leyden.files import replaced_file

NUM_DOWNLOAD_THREADS = 4  # per process
LABEL_BYTES = 8


class ShardFolder:
    """Shards in a folder, or at a URL with a local cache that evicts the least recently used."""

    def __init__(self, url: str, shape: tuple[int, int, int], cache_folder: Path, max_cache_bytes: int) -> None:
        """Read the index of the shards.

        Args:
            url: A folder, or a URL that litdata downloads from: s3://bucket/name, gs://, r2://.
            shape: Height, width and channels of the images.
            cache_folder: Where files from a URL are kept, in a folder named like the last part of the URL.
            max_cache_bytes: Largest size of the cache.

        Raises:
            UserError: if the shards do not exist or are of a different kind, or litdata is missing.
        """
        self._url, self._shape, self._max_cache_bytes = url.rstrip("/"), shape, max_cache_bytes
        self._is_remote = "://" in url
        self._folder = cache_folder / self._url.rsplit("/", 1)[1] if self._is_remote else Path(url)
        self._files: list[dict[str, Any]] = []
        self._max_shard_bytes = 0
        self._open: dict[int, np.ndarray] = {}
        self._download_pool: ThreadPoolExecutor | None = None
        self._in_use: set[int] = set()
        index = json.loads(self._local_path("index.json").read_text(encoding="utf-8"))
        if index["config"]["data_format"] != ["numpy", "int"] or index["config"]["compression"]:
            raise UserError(
                f"expected shards that `leyden prepare --shards` wrote; {url} has a different format; run it again"
            )
        self._files = index["chunks"]
        self._max_shard_bytes = max((file["chunk_bytes"] for file in self._files), default=0)
        self.counts = np.array([file["chunk_size"] for file in self._files])
        self._starts = np.cumsum(self.counts) - self.counts

    def check(self, num_examples: int, window: int) -> None:
        """Check that the shards have the expected number of examples, and that the cache has room for two windows."""
        if self.counts.sum() != num_examples:
            raise UserError(
                f"expected {num_examples:,} training images in {self._url}; got {self.counts.sum():,}; "
                "run `leyden prepare` again"
            )
        sizes = sorted((file["chunk_bytes"] for file in self._files), reverse=True)
        needed = sum(sizes[: 2 * window])  # one window in use, the next on its way
        if self._is_remote and needed > self._max_cache_bytes:
            raise UserError(
                f"expected room for two windows of shards, {needed / 1e9:.3g} GB; got max_cache_gb "
                f"{self._max_cache_bytes / 1e9:g}; raise it, or lower shuffle_window"
            )

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read examples by their sorted indices: images uint8 (B, H, W, C), labels int64 (B,)."""
        images, labels = np.empty((len(rows), *self._shape), np.uint8), np.empty(len(rows), np.int64)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            start, stop = np.searchsorted(shards, [shard, shard + 1])
            examples = self._examples(shard)[rows[start:stop] - self._starts[shard]]
            images[start:stop], labels[start:stop] = examples["image"], examples["label"]
        return images, labels

    def prefetch(self, needed: Sequence[int], upcoming: Sequence[int]) -> None:
        """Close shards that are not needed any more, and start to download those that are needed now or next."""
        for shard in set(self._open) - set(needed):
            del self._open[shard]
        missing = [shard for shard in (*needed, *upcoming) if shard not in self._in_use]
        self._in_use = {*needed, *upcoming}
        if not self._is_remote or not missing:
            return
        self._download_pool = self._download_pool or ThreadPoolExecutor(NUM_DOWNLOAD_THREADS)
        for shard in missing:  # an error here is raised again when the shard is read
            self._download_pool.submit(self._local_path, self._files[shard]["filename"])

    def _examples(self, shard: int) -> np.ndarray:
        """Memory-map a shard as an array of examples.

        Format: number of examples and their offsets, uint32; then for each example the sizes of its two fields, the
        image's header and pixels, and the label.
        """
        if shard not in self._open:
            file = self._files[shard]
            path = self._local_path(file["filename"])
            header_bytes = 4 + 4 * (file["chunk_size"] + 1)
            item_bytes, rest = divmod(file["chunk_bytes"] - header_bytes, file["chunk_size"])
            image_bytes = int(np.prod(self._shape))
            if rest or item_bytes < image_bytes + LABEL_BYTES or path.stat().st_size != file["chunk_bytes"]:
                raise UserError(
                    f"expected {file['chunk_bytes']:,} bytes of images {self._shape} in {path}; it is damaged; "
                    "write the shards again"
                )
            formats: Any = [("u1", self._shape), "<i8"]
            offsets = [item_bytes - LABEL_BYTES - image_bytes, item_bytes - LABEL_BYTES]
            dtype = np.dtype(
                {"names": ["image", "label"], "formats": formats, "offsets": offsets, "itemsize": item_bytes}
            )
            self._open[shard] = np.memmap(path, dtype, mode="r", offset=header_bytes, shape=(file["chunk_size"],))
        return self._open[shard]

    def _local_path(self, name: str) -> Path:
        """Return a file's path, after downloading it if necessary."""
        path = self._folder / name
        if not self._is_remote:
            if not path.is_file():
                raise UserError(
                    f"expected {path}; not found; run `leyden prepare --shards={self._folder.parent}` again"
                )
            return path
        if path.is_file():
            os.utime(path)  # the cache evicts the least recently used
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock")):  # another process of this machine may be downloading it
            if not path.is_file():
                with self._reserve_space(path):
                    download(f"{self._url}/{name}", path)
        return path

    @contextmanager
    def _reserve_space(self, path: Path) -> Iterator[None]:
        """Reserve space in the cache with a sparse file of a shard's length, which takes no space on disk."""
        reservation = path.with_name(f".{path.name}.room")
        with FileLock(self._folder / ".lock"):
            self._evict()
            reservation.touch()
            os.truncate(reservation, self._max_shard_bytes)
        try:
            yield
        finally:
            reservation.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Remove the least recently used shards until one more fits in the cache.

        A removed shard that is still mapped stays readable. Files that are not of the cache belong to the user and
        stay.
        """
        names = {file["filename"] for file in self._files}
        cached = {"index.json", *names, *(f".{name}.room" for name in names)}
        kept = {"index.json", *(self._files[shard]["filename"] for shard in self._in_use)}
        files: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another process has just removed it
                if path.name in cached:
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in files) + self._max_shard_bytes
        for _, size, path in sorted(files):
            if total <= self._max_cache_bytes:
                return
            if path.name not in kept:
                path.unlink(missing_ok=True)
                total -= size


def download(url: str, path: Path) -> None:
    """Download a file from object storage; `path` appears when it is complete."""
    try:
        with replaced_file(path) as partial:
            storage_client(url.partition("://")[0], os.getpid()).download_file(url, str(partial))
    except UserError:
        raise
    except Exception as error:  # the exceptions depend on the kind of storage
        raise UserError(
            f"expected to download {url}; got: {one_line(error, 200)}; run the same command again to continue"
        ) from error


@cache
def storage_client(scheme: str, process: int) -> Any:
    """Return litdata's client for a kind of object storage, one for each process: clients do not survive a fork."""
    try:
        from litdata.streaming.fs_provider import _get_fs_provider
    except ImportError as error:
        raise UserError(
            f"expected litdata for {scheme}:// addresses; {error.name} is missing; install leyden[streaming]"
        ) from error
    return _get_fs_provider(f"{scheme}://")
