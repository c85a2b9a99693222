"""A checksum inside exported files whose format has none: ONNX, ExecuTorch, safetensors, OpenVINO's .xml and .bin."""

import hashlib
import json
import mmap
import re
from pathlib import Path
from typing import NamedTuple

from leyden.errors import UserError

SUFFIXES = (".onnx", ".pte", ".safetensors", ".xml")
PLACEHOLDER = "0" * 64
# These formats store the description as readable text: JSON, JSON inside a JSON string, or JSON in an XML attribute.
CHECKSUM = re.compile(rb'checksum(?:\\?"|&quot;): (?:\\?"|&quot;)([0-9a-f]{64})(?:\\?"|&quot;)')


class EmbeddedChecksum(NamedTuple):
    """Byte offset of the checksum in a file, the stored value, and the value computed from the file's content."""

    offset: int
    stored: str
    computed: str


def with_checksum_placeholder(metadata: str) -> str:
    """Add a placeholder for the checksum to a description (JSON)."""
    return json.dumps(json.loads(metadata) | {"checksum": PLACEHOLDER}, ensure_ascii=False, sort_keys=True)


def write_checksum(path: Path) -> None:
    """Replace the placeholder in a file with the file's checksum."""
    checksum = find_checksum(path)
    assert checksum is not None, path
    with open(path, "r+b") as file:
        file.seek(checksum.offset)
        file.write(checksum.computed.encode())


def verify_checksum(path: Path) -> str | None:
    """Compare a file with the checksum stored in it, and return that, or None if there is none.

    Raises:
        UserError: if they differ, or a .pte has none: reading a damaged one crashes ExecuTorch, and Python with it.
    """
    checksum = find_checksum(path) if path.suffix in SUFFIXES else None
    if checksum is None and path.suffix == ".pte":
        raise UserError(
            f"expected a file that `leyden export` wrote; {path} cannot be read: it has no checksum; export it again"
        )
    if checksum and checksum.stored != checksum.computed:
        raise UserError(
            f"expected an intact model file; {path} was damaged or edited: its checksum is wrong; "
            "copy it again, or export it again"
        )
    return checksum and checksum.stored


def find_checksum(path: Path) -> EmbeddedChecksum | None:
    """Find the checksum stored in a file, and compute it from the content with the placeholder in its place."""
    if not path.stat().st_size:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if (match := CHECKSUM.search(content)) is None:
            return None
        start, end = match.span(1)
        stored = match[1].decode()
        with memoryview(content) as view:
            digest = hashlib.sha256(view[:start])
            digest.update(PLACEHOLDER.encode())
            digest.update(view[end:])
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights.is_file():
        digest.update(weights.read_bytes())
    return EmbeddedChecksum(start, stored, digest.hexdigest())
