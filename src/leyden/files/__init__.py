"""Files and folders that are written atomically: a reader sees the complete old one or the complete new one."""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from leyden.errors import UserError, one_line
from leyden.files.outputs import PRESERVED, check_file, check_folder, is_stream, one_line_errors, resolved, write_marker
from leyden.files.partials import create_partial, move_into_place
from leyden.files.tables import require_file


@contextmanager
def replaced_folder(folder: Path, owner: str, marked: bool = True) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` if the block succeeds, and is removed if it raises.

    Readers see the complete old folder or the complete new one, even if the process is killed or several processes
    write at once.

    Args:
        folder: The folder to replace; symlinks are followed.
        owner: The verb or stage that writes it. Folders written by other verbs or by the user are never replaced.
        marked: Write the owner's name and the names of its files into the folder. A folder without them is replaced
            later only if it is the stage's own under artifacts/.

    Raises:
        UserError: if something else exists there, or the folder cannot be created.
    """
    folder = Path(folder)
    target = resolved(folder)
    check_folder(folder, owner)
    with ExitStack() as stack:
        with one_line_errors(folder):
            partial = stack.enter_context(create_partial(target, Path.mkdir))
        yield partial
        with one_line_errors(folder):
            if marked:
                write_marker(partial, owner)
            with suppress(FileNotFoundError):
                shutil.copymode(target, partial)
                shutil.copy2(target / PRESERVED, partial)
            move_into_place(partial, target, functools.partial(check_folder, folder, owner))


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield an empty file that replaces `path` if the block succeeds, and is removed if it raises.

    Symlinks are followed and permissions are kept. For a pipe, a device or a descriptor (/dev/stdout), `path` itself is
    yielded: open it to append.

    Raises:
        UserError: if it is a folder, or cannot be created.
    """
    path = Path(path)
    check_file(path)
    if is_stream(path):
        yield path
        return
    target = resolved(path)
    with ExitStack() as stack:
        with one_line_errors(path):
            partial = stack.enter_context(create_partial(target, functools.partial(Path.touch, exist_ok=False)))
        yield partial
        with one_line_errors(path):
            if target.exists():
                shutil.copymode(target, partial)
            partial.replace(target)


def write_json(path: Path, value: Any) -> None:
    # Names that are not UTF-8 hold surrogates, which are JSON's own escapes with a backslash.
    with replaced_file(path) as partial, open(partial, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, verb: str) -> Any:
    """Read a JSON file that `leyden VERB` writes.

    Raises:
        UserError: if it does not exist or is not JSON; the message names the verb.
    """
    try:
        return json.loads(require_file(Path(path), verb).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"expected JSON in {path}; it is damaged ({one_line(error)}); run `leyden {verb}` again"
        ) from error


def sha256(*paths: Path) -> str:
    """Hash the concatenated contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
