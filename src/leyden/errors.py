"""The one error that a user is meant to read, and those of the operating system that say: no room."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """What was expected, what came, what to do: one line on stderr, exit code 2."""
