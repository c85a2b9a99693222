"""Decoded masks on disk, so that each mask file is read once: to find the classes, to check it, and to pack it."""

import tempfile
import weakref

from leyden.imaging.images import UnreadableImageError
from leyden.imaging.masks import RawMask


class MaskCache:
    """Keeps masks by their path, compressed in an unnamed temporary file, which is removed when the process ends."""

    def __init__(self) -> None:
        self.contents: set[tuple[int | None, int | None]] = set()  # of all masks
        self._masks: dict[str, tuple[int, RawMask]] = {}  # position in the file, and the mask without its pixels
        self._reasons: dict[str, str] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the finalizer
        weakref.finalize(self, self._file.close)
        self._size = 0

    def put(self, path: str, mask: RawMask | str) -> None:
        """Add a mask, or the reason why its file is not usable."""
        if isinstance(mask, str):
            self._reasons[path] = mask
            return
        self.contents |= mask.contents
        self._masks[path] = self._size, mask._replace(packed_kinds=b"")
        self._size += self._file.write(len(mask.packed_kinds).to_bytes(8, "little") + mask.packed_kinds)

    def get(self, path: str) -> RawMask:
        """Return a mask.

        Raises:
            UnreadableImageError: with the reason, if its file is not usable.
        """
        if path in self._reasons:
            raise UnreadableImageError(self._reasons[path])
        position, mask = self._masks[path]
        self._file.seek(position)
        return mask._replace(packed_kinds=self._file.read(int.from_bytes(self._file.read(8), "little")))

    @property
    def first_unreadable(self) -> tuple[str, str]:
        """A path whose file is not usable, and the reason; there must be one."""
        return next(iter(self._reasons.items()))
