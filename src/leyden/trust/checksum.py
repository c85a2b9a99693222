"""A checksum inside exported files whose format has none: ONNX, ExecuTorch, safetensors, OpenVINO's .xml with its .bin."""

import hashlib
import json
import mmap
import re
from pathlib import Path
from typing import NamedTuple

from leyden.errors import UserError

SUFFIXES = (".onnx", ".pte", ".safetensors", ".xml")
PLACEHOLDER = "0" * 64
# These formats keep the description as readable text: JSON, JSON inside a JSON text, or JSON in an attribute of XML.
CHECKSUM = re.compile(rb'checksum(?:\\?"|&quot;): (?:\\?"|&quot;)([0-9a-f]{64})(?:\\?"|&quot;)')


class EmbeddedChecksum(NamedTuple):
    """Where a file holds its checksum, what stands there, and what should."""

    place: int
    written: str
    expected: str


def with_checksum_placeholder(metadata: str) -> str:
    """Add the place of a checksum to a description (JSON)."""
    return json.dumps(json.loads(metadata) | {"checksum": PLACEHOLDER}, ensure_ascii=False, sort_keys=True)


def write_checksum(path: Path) -> None:
    """Write a file's checksum into it."""
    found = find_checksum(path)
    assert found is not None, path
    with open(path, "r+b") as file:
        file.seek(found.place)
        file.write(found.expected.encode())


def verify_checksum(path: Path) -> None:
    """Compare a file with the checksum that it holds, if it holds one.

    Raises:
        UserError: if they differ, or there is none in a .pte: damage there ends ExecuTorch's interpreter, and Python with it.
    """
    found = find_checksum(path) if path.suffix in SUFFIXES else None
    if found is None and path.suffix == ".pte":
        raise UserError(
            f"expected a file that `leyden export` wrote; {path} cannot be read: it holds no checksum; export it anew"
        )
    if found and found.written != found.expected:
        raise UserError(
            f"expected a whole model file; {path} was damaged or edited: its checksum is wrong; copy it again, or export it anew"
        )


def find_checksum(path: Path) -> EmbeddedChecksum | None:
    """Hash a file as it was before its checksum was written."""
    weights = path.with_suffix(".bin")
    if not path.stat().st_size:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if (found := CHECKSUM.search(content)) is None:
            return None
        start, end = found.span(1)
        written = found[1].decode()
        with memoryview(content) as view:
            digest = hashlib.sha256(view[:start])
            digest.update(PLACEHOLDER.encode())
            digest.update(view[end:])
    if path.suffix == ".xml" and weights.is_file():
        digest.update(weights.read_bytes())
    return EmbeddedChecksum(start, written, digest.hexdigest())
