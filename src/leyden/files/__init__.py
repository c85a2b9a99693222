"""Files that appear whole or not at all."""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.files.outputs import KEPT, check_file, check_folder, is_stream, mark, one_line_errors, resolved
from leyden.files.partials import partial_of, put_in_place


@contextmanager
def replaced_folder(folder: Path, owner: str, marked: bool = True) -> Iterator[Path]:
    """Make an empty folder that takes the place of `folder` when the block ends well, and vanishes when it fails.

    A reader finds the whole old folder or the whole new one, even after a kill or with several writers.

    Args:
        folder: Where it goes; a symlink is followed.
        owner: What makes it, a verb or a stage: what another one made, or a user, is not replaced.
        marked: Leave the owner's name, and those of its files, in the folder; without, only a stage's own under artifacts/ is replaced later.

    Raises:
        UserError: if there is something else, or the folder cannot be made.
    """
    folder = Path(folder)
    target = resolved(folder)
    check_folder(folder, owner)
    with ExitStack() as stack:
        with one_line_errors(folder):
            partial = stack.enter_context(partial_of(target, Path.mkdir))
        yield partial
        with one_line_errors(folder):
            if marked:
                mark(partial, owner)
            with suppress(FileNotFoundError):
                shutil.copymode(target, partial)
                shutil.copy2(target / KEPT, partial)
            put_in_place(partial, target, functools.partial(check_folder, folder, owner))


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Make an empty file that takes the place of `path` when the block ends well, and vanishes when it fails.

    A symlink is followed, and permissions are kept. A pipe, a device or a descriptor (/dev/stdout) is yielded
    itself: open it to append.

    Raises:
        UserError: if it is a folder, or cannot be made.
    """
    path = Path(path)
    check_file(path)
    if is_stream(path):
        yield path
        return
    target = resolved(path)
    with ExitStack() as stack:
        with one_line_errors(path):
            partial = stack.enter_context(partial_of(target, functools.partial(Path.touch, exist_ok=False)))
        yield partial
        with one_line_errors(path):
            if target.exists():
                shutil.copymode(target, partial)
            partial.replace(target)


def write_json(path: Path, value: Any) -> None:
    with replaced_file(path) as partial, open(partial, "a", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, verb: str) -> Any:
    """Read a file that `leyden VERB` makes.

    Raises:
        UserError: if it is not there; the message names the verb.
    """
    if not Path(path).is_file():
        raise UserError(f"expected {path}, which is not there; run `leyden {verb}` first (or `make repro`)")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(*paths: Path) -> str:
    """Hash the contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
