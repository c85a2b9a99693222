"""A folder or URL of litdata shards, each read as an array: whole batches are gathered without Python work per example.

Only litdata's file format and its clients of object storage are used. Its StreamingDataset orders examples by the number of
processes and workers, drops what does not divide, and asks a server whether a newer release is there.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from leyden.errors import UserError
from leyden.files import replaced_file

NUM_FETCHERS = 4  # threads of a process that fetch ahead
LABEL_BYTES = 8


class ShardFolder:
    """Shards where they lie; those behind a URL are kept in a cache that forgets the oldest."""

    def __init__(self, url: str, shape: tuple[int, int, int], cache_folder: Path, max_cache_bytes: int) -> None:
        """Read the list of the shards.

        Args:
            url: A folder, or a URL that litdata fetches from: s3://bucket/name, gs://, r2://.
            shape: Height, width and channels of the images.
            cache_folder: Where files from a URL are kept, under the name that the URL ends with.
            max_cache_bytes: Most that they may take.

        Raises:
            UserError: if there are no such shards, or litdata is missing.
        """
        self._url, self._shape, self._max_cache_bytes = url.rstrip("/"), shape, max_cache_bytes
        self._is_remote = "://" in url
        self._folder = cache_folder / self._url.rsplit("/", 1)[1] if self._is_remote else Path(url)
        self._files: list[dict[str, Any]] = []
        self._open: dict[int, np.ndarray] = {}
        self._fetchers: ThreadPoolExecutor | None = None
        self._wanted: set[int] = set()
        index = json.loads(self._fetched("index.json").read_text(encoding="utf-8"))
        if index["config"]["data_format"] != ["numpy", "int"] or index["config"]["compression"]:
            raise UserError(
                f"expected shards of arrays and labels as `leyden prepare --shards` writes them; {url} has others"
            )
        self._files = index["chunks"]
        self.counts = np.array([file["chunk_size"] for file in self._files])
        self._starts = np.cumsum(self.counts) - self.counts

    def check(self, num_examples: int, window: int) -> None:
        """Check that the shards are those of the report, and that the cache holds what is in use.

        Raises:
            UserError: if they are not, or it does not.
        """
        if self.counts.sum() != num_examples:
            raise UserError(
                f"expected {num_examples:,} training images in {self._url}; got {self.counts.sum():,}; run `leyden prepare` again"
            )
        sizes = sorted((file["chunk_bytes"] for file in self._files), reverse=True)
        needed = sum(sizes[: 2 * window])  # one window in use, the next on its way
        if self._is_remote and needed > self._max_cache_bytes:
            raise UserError(
                f"expected room for two windows of shards; max_cache_gb is {self._max_cache_bytes / 1e9:g}, they take {needed / 1e9:.3g}; "
                "raise it, or lower shuffle_window"
            )

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read examples by their sorted numbers: images uint8 (B, H, W, C), labels int64 (B,)."""
        images, labels = np.empty((len(rows), *self._shape), np.uint8), np.empty(len(rows), np.int64)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            first, last = np.searchsorted(shards, [shard, shard + 1])
            examples = self._examples(shard)[rows[first:last] - self._starts[shard]]
            images[first:last], labels[first:last] = examples["image"], examples["label"]
        return images, labels

    def prepare(self, needed: Sequence[int], ahead: Sequence[int]) -> None:
        """Close the shards that are not needed any more, and begin to fetch those that are or will be."""
        for shard in set(self._open) - set(needed):
            del self._open[shard]
        missing = [shard for shard in (*needed, *ahead) if shard not in self._wanted]
        self._wanted = {*needed, *ahead}
        if not self._is_remote or not missing:
            return
        self._fetchers = self._fetchers or ThreadPoolExecutor(NUM_FETCHERS)
        for shard in missing:  # an error comes up again when the shard is read
            self._fetchers.submit(self._fetched, self._files[shard]["filename"])

    def _examples(self, shard: int) -> np.ndarray:
        """Map a shard as an array of examples: count, offsets, then per example the leaves' sizes, the array's header, pixels, label."""
        if shard not in self._open:
            file = self._files[shard]
            path = self._fetched(file["filename"])
            header = 4 + 4 * (file["chunk_size"] + 1)
            item, rest = divmod(file["chunk_bytes"] - header, file["chunk_size"])
            pixels = int(np.prod(self._shape))
            if rest or item < pixels + LABEL_BYTES or path.stat().st_size != file["chunk_bytes"]:
                raise UserError(
                    f"expected {file['chunk_bytes']:,} bytes of images {self._shape} in {path}; it is damaged; write the shards again"
                )
            formats: Any = [("u1", self._shape), "<i8"]
            dtype = np.dtype(
                {
                    "names": ["image", "label"],
                    "formats": formats,
                    "offsets": [item - LABEL_BYTES - pixels, item - LABEL_BYTES],
                    "itemsize": item,
                }
            )
            self._open[shard] = np.memmap(path, dtype, mode="r", offset=header, shape=(file["chunk_size"],))
        return self._open[shard]

    def _fetched(self, name: str) -> Path:
        """Give a file's path, once it is there."""
        path = self._folder / name
        if not self._is_remote:
            if not path.is_file():
                raise UserError(
                    f"expected {path}, which is not there; run `leyden prepare --shards={self._folder.parent}` again"
                )
            return path
        if path.is_file():
            os.utime(path)  # the cache forgets what was not used for longest
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock")):  # another process of this machine may fetch it already
            if not path.is_file():
                with self._room_for(path):
                    fetch(f"{self._url}/{name}", path)
        return path

    @contextmanager
    def _room_for(self, path: Path) -> Iterator[None]:
        """Hold a place in the cache by an empty file of a shard's length, which takes no room itself."""
        place = path.with_name(f".{path.name}.room")
        with FileLock(self._folder / ".lock"):
            self._make_room()
            place.touch()
            os.truncate(place, self._largest)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove the shards used longest ago while there is too little room for another.

        One that is still mapped stays readable. Other files of the folder are the user's.
        """
        names = {file["filename"] for file in self._files}
        ours = {"index.json", *names, *(f".{name}.room" for name in names)}
        kept = {"index.json", *(self._files[shard]["filename"] for shard in self._wanted)}
        files = [path for path in self._folder.iterdir() if path.name in ours]
        found = [(status.st_mtime, status.st_size, path) for path in files if (status := status_of(path))]
        total = sum(size for _, size, _ in found) + self._largest
        for _, size, path in sorted(found):
            if total <= self._max_cache_bytes:
                return
            if path.name not in kept:
                path.unlink(missing_ok=True)
                total -= size

    @property
    def _largest(self) -> int:
        return max((file["chunk_bytes"] for file in self._files), default=0)


def status_of(path: Path) -> os.stat_result | None:
    """Tell a file's size and times, where no other process has removed it meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def fetch(url: str, path: Path) -> None:
    """Fetch a file from object storage; it appears whole.

    Raises:
        UserError: if litdata is missing, or the file cannot be had.
    """
    try:
        with replaced_file(path) as partial:
            storage(url.partition("://")[0], os.getpid()).download_file(url, str(partial))
    except UserError:
        raise
    except Exception as error:  # each storage has errors of its own
        raise UserError(
            f"expected to fetch {url}; got: {' '.join(str(error).split())[:200]}; the same command continues"
        ) from error


@cache
def storage(scheme: str, process: int) -> Any:
    """Give litdata's client of a kind of object storage, which a forked process must make for itself.

    Raises:
        UserError: if litdata is missing.
    """
    try:
        from litdata.streaming.fs_provider import _get_fs_provider
    except ImportError as error:
        raise UserError(
            f"expected litdata for {scheme}:// addresses; {error.name} is missing; install leyden[streaming]"
        ) from error
    return _get_fs_provider(f"{scheme}://")
