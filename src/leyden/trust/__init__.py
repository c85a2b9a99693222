"""Which model files may run code: those that the user trusts, and those that this project has published.

docs/trust.md lists what each format holds. Nothing here imports torch: `leyden predict` of an ONNX file needs none.
"""

import importlib.util
import json
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from leyden.errors import UserError
from leyden.files import sha256

# All relative to the current folder: a record that lies beside a downloaded file proves nothing.
RECORDS = Path("artifacts/published")  # an empty file for each, by its hash
PROVENANCE = Path("artifacts/train/provenance.json")
EXPORT_REPORT = Path("artifacts/export/report.json")
# A file may name their networks.
LIBRARIES = ("torchvision.models.", "timm.models.", "timm.create_model", __name__.partition(".")[0] + ".")


def record_published(hashes: Iterable[str]) -> None:
    """Record the SHA-256 of model files before they are published.

    The stages' own reports hold them too, and come with `dvc pull`; the records remember what later runs replaced, and files that
    were published elsewhere. So they are left out where they cannot be written.
    """
    with suppress(OSError):
        RECORDS.mkdir(parents=True, exist_ok=True)
        for digest in hashes:
            (RECORDS / digest).touch()


def is_published(path: Path) -> bool:
    """Return whether this project has published a file."""
    digest = sha256(path)
    rows = [read_record(PROVENANCE, {}), *read_record(EXPORT_REPORT, [])]
    return (RECORDS / digest).is_file() or any(digest in (row.get("model_sha256"), row.get("sha256")) for row in rows)


def read_record(path: Path, missing: Any) -> Any:
    """Read a report; one that is missing or damaged vouches for nothing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return missing


def is_trusted(path: Path, trust: bool) -> bool:
    """Return whether the user trusts a file, or this project has published it."""
    return trust or is_published(path)


def require_trust(path: Path, trust: bool, part: str) -> None:
    """Refuse a file that would run code, unless the user trusts it or this project has published it.

    Args:
        path: The file.
        trust: Whether the user trusts it.
        part: What in the file is code.

    Raises:
        UserError: if it is neither trusted nor published.
    """
    if not is_trusted(path, trust):
        raise UserError(
            f"expected data, or a file that this project has published; {path} holds {part}, which is code; "
            "add --trust (trust=True in Python) if you trust its source"
        )


class Reader(NamedTuple):
    """A file that a network is being built from, whether the user trusts it, and the class paths that the user names."""

    path: Path
    trust: bool
    named: frozenset[str]


reader: ContextVar[Reader | None] = ContextVar("reader", default=None)


@contextmanager
def reading(path: Path, trust: bool, named: Iterable[str] = ()) -> Iterator[None]:
    """Import only what a file may name, at any depth of its arguments, until the block ends.

    Args:
        path: The file.
        trust: Whether the user trusts it: it may then name any class that can be imported.
        named: Class paths that the user's command line or config names.
    """
    token = reader.set(Reader(path, trust, frozenset(named)))
    try:
        yield
    finally:
        reader.reset(token)


def check_class(class_path: str) -> None:
    """Refuse to import a network that only a file names.

    Raises:
        UserError: if it belongs to no known library, and the file is neither trusted nor published.
    """
    file = reader.get()
    if file is None or class_path in file.named:
        return
    if not (class_path.startswith(LIBRARIES) and is_installed(class_path.partition(".")[0])):
        require_trust(file.path, file.trust, f"the network {class_path}")


def class_paths_of(spec: Any) -> set[str]:
    """Return the class paths in a config or a network's specification, at any depth."""
    parts = list(spec.values()) if isinstance(spec, dict) else spec if isinstance(spec, list) else []
    own = {spec["class_path"]} if isinstance(spec, dict) and isinstance(spec.get("class_path"), str) else set()
    return own.union(*map(class_paths_of, parts))


def is_installed(package: str) -> bool:
    """Return whether a package is this one or an installed one, and not a folder of its name in the current folder."""
    spec = importlib.util.find_spec(package)
    folders = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), Path(__file__).parents[2])
    return bool(spec and spec.origin and any(Path(spec.origin).is_relative_to(folder) for folder in folders))
