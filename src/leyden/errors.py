"""UserError, the one exception whose message users see, parts of such messages, and error numbers of a full disk."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(Exception):
    """A mistake that the user can fix: one line on stderr with what was expected, what came and what to do."""


def one_line(error: Exception | str, max_length: int = 80) -> str:
    """Return an exception's message, or a text, on one line, cut to `max_length` characters."""
    return " ".join(str(error).split())[:max_length]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or the first that begins with it; else an empty string."""
    names = sorted(known) if word else []
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.68) or [
        name for name in names if name.startswith(word)
    ]
    return f" (did you mean {matches[0]!r}?)" if matches else ""


@contextmanager
def own_code_errors(
    expected: str, subject: str = "it", advice: str = "correct it (LEYDEN_DEBUG=1 shows the traceback)"
) -> Iterator[None]:
    """Raise what the user's own code raises, which may be anything, as UserError: a subject fails, and what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"expected {expected}; {subject} fails with {type(error).__name__}: {one_line(error, 200)}; {advice}"
        ) from error
