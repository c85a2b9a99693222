"""Model files that try to run code, or that are damaged: made from good ones."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Bomb:
    """A pickle of it makes the file `ran` in the current folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def rewrite(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None
) -> Path:
    """Copy an archive with changed and added members; names are given without the folder around them."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name.removeprefix(f"{root}/"), old.read(name)))
        for name, content in (extra or {}).items():
            new.writestr(f"{root}/{name}", content)
    return target


def edit_json(source: Path, target: Path, member: str, change: Callable[[Any], Any]) -> Path:
    """Copy an archive, one of whose JSON members is changed in place."""

    def changed(name: str, content: bytes) -> bytes:
        if name != member:
            return content
        found = json.loads(content)
        change(found)
        return json.dumps(found).encode()

    return rewrite(source, target, changed)


def edit_checkpoint(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    checkpoint = torch.load(source, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, target)
    return target


def flip_bit(source: Path, target: Path, position: int, bit: int = 1) -> Path:
    """Copy a file with one bit changed."""
    content = bytearray(source.read_bytes())
    content[position] ^= bit
    target.write_bytes(content)
    return target
