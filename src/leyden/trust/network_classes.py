"""Which classes a model file may have imported when its model is built."""

import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from leyden.trust.records import require_trust

# Every model file may name networks of these packages.
LIBRARIES = (__name__.partition(".")[0] + ".models.", "torchvision.models.", "timm.models.", "timm.create_model")


class ModelSource(NamedTuple):
    """The file that a network is being built from."""

    path: Path
    trust: bool  # whether the user trusts the file: it may then name any class that can be imported
    allowed_class_paths: frozenset[str]  # those that the user's own command line or config names


current_source: ContextVar[ModelSource | None] = ContextVar("current_source", default=None)


@contextmanager
def building_from_file(path: Path, trust: bool, allowed_class_paths: Iterable[str] = ()) -> Iterator[None]:
    """Make `check_network_class` apply to a file, at any depth of its network's arguments, until the block ends."""
    token = current_source.set(ModelSource(path, trust, frozenset(allowed_class_paths)))
    try:
        yield
    finally:
        current_source.reset(token)


def check_network_class(class_path: str) -> None:
    """Check that a network class may be imported; outside of `building_from_file` any may.

    Raises:
        UserError: if only a file names the class, no known library has it, and the file is not trusted.
    """
    check_class(class_path, "network")


def check_class(class_path: str, kind: str = "class") -> None:
    """Check that any class or function may be imported, by the rules of `check_network_class`.

    Raises:
        UserError: if only a file names it, no known library has it, and the file is not trusted.
    """
    source = current_source.get()
    if source is None or class_path in source.allowed_class_paths:
        return
    if not is_in_library(class_path):
        require_trust(source.path, source.trust, f"the {kind} {class_path}")


def is_in_library(class_path: str) -> bool:
    return class_path.startswith(LIBRARIES) and is_installed(class_path.partition(".")[0])


def is_installed(package: str) -> bool:
    """Return whether a package is installed, or is this one: a folder of that name in the current folder is neither."""
    spec = importlib.util.find_spec(package)
    folders = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), Path(__file__).parents[2])
    return bool(spec and spec.origin and any(Path(spec.origin).is_relative_to(folder) for folder in folders))
