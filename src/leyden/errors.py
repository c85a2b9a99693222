"""UserError, the one exception whose message users see, parts of such messages, and error numbers of a full disk."""

import difflib
import errno
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Prefixes of the file names of code that is not the user's: what is installed or has no file, and this package.
INSTALLED = (*(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "purelib", "platlib")), "<")
NOT_OWN = (*INSTALLED, f"{Path(__file__).parent}/")


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
    """Raise what the user's own code raises, which may be anything, as UserError: a subject fails, and what to do.

    A full disk is not the code's fault: that error passes. The end of the program passes unless the code asks for it.
    The current folder is the same afterwards.
    """
    try:
        with chdir(Path.cwd()):
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        is_full = isinstance(error, OSError) and error.errno in DISK_FULL
        if is_full or (isinstance(error, SystemExit) and not own_line(error)):
            raise
        raise UserError(f"expected {expected}; {subject} fails with {describe_error(error)}; {advice}") from error


def describe_error(error: BaseException, not_own: tuple[str, ...] = NOT_OWN) -> str:
    """Describe in one line what the user's code raised: the type, the message and the line of the code, if known."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {' '.join(lines)}" if lines else type(error).__name__
    if any(line.startswith("Traceback (") or "Original Traceback" in line for line in lines):  # of a worker process
        text = lines[-1]
    return one_line(text, 200) + (f" ({line})" if (line := own_line(error, not_own)) else "")


def root_cause(error: BaseException) -> BaseException:
    """Return the exception that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def own_line(error: BaseException, not_own: tuple[str, ...] = NOT_OWN) -> str:
    """Return file and line of the user's code that raised an exception; an empty string if there is none."""
    frame = find_own_frame(traceback.extract_tb(error.__traceback__), not_own)
    return f"{Path(frame.filename).name}, line {frame.lineno}" if frame else ""


def find_own_frame(
    frames: Iterable[traceback.FrameSummary], not_own: tuple[str, ...] = NOT_OWN
) -> traceback.FrameSummary | None:
    """Return the innermost frame whose file name has none of these prefixes."""
    return next((frame for frame in reversed(list(frames)) if not frame.filename.startswith(not_own)), None)
