"""UserError, the one exception that is shown to users as a message, and the error numbers of a full disk."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """A mistake that the user can fix: one line on stderr with what was expected, what came and what to do."""
