"""Reading of the user's files with a limit: a link to a device never ends, and a pipe waits for another program."""

import errno
import os
import stat

MAX_FILE_BYTES = 10**9  # 100 million pixels of 8 bytes, which is RGBA with 16 bits per channel, take 800 MB
MIN_READ_BYTES = 1 << 16


def read_regular_file(path: str | os.PathLike[str], max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file.

    Raises:
        OSError: if it cannot be read, is not a regular file (a folder, pipe, socket or device), or has more than
            `max_bytes`; `strerror` is a short reason.
    """
    check_regular(path, os.stat(path), max_bytes)  # noqa: PTH116 - before opening: that alone can change a device
    # The file may have been replaced since: without O_NONBLOCK, opening a pipe would block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:  # without a file object, which takes longer than the rest for a small file
        check_regular(path, status := os.fstat(descriptor), max_bytes)
        content = os.read(descriptor, status.st_size + 1)
        # More than its size if it grows, or is in /proc.
        while len(content) > status.st_size and (more := os.read(descriptor, MIN_READ_BYTES)):
            content += more
            check_size(path, len(content), max_bytes)
    finally:
        os.close(descriptor)
    return content


def check_regular(path: str | os.PathLike[str], status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    check_size(path, status.st_size, max_bytes)


def check_size(path: str | os.PathLike[str], size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise OSError(errno.EOVERFLOW, larger_than(max_bytes), os.fspath(path))


def larger_than(max_bytes: int) -> str:
    """Return the reason why a file is not read, here and where files are in archives."""
    return f"larger than {max_bytes / 1e6:,.0f} MB"
