"""Make files that try to run code, or that are damaged, from valid model files."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden
from leyden import UserError

# A module whose import creates the file `imported`.
NETWORK = """
from pathlib import Path
from torch import nn

Path("imported").touch()

class Net(nn.Module):
    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images):
        return self.layers(images)
"""


class Bomb:
    """Unpickling it creates the file `ran` in the current folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def assert_refused(path: Path, match: str, trust: bool = False) -> None:
    """Check that a file is refused with a message, before it runs any code."""
    with pytest.raises(UserError, match=match):
        leyden.load(path, trust=trust)
    assert not Path("ran").exists()


def rewrite(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None
) -> Path:
    """Copy an archive with changed and added members, whose names omit the archive's top folder."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name.removeprefix(f"{root}/"), old.read(name)))
        for name, content in (extra or {}).items():
            new.writestr(f"{root}/{name}", content)
    return target


def edit_json(source: Path, target: Path, member: str, change: Callable[[Any], Any]) -> Path:
    """Copy an archive after changing one of its JSON members in place."""

    def changed(name: str, content: bytes) -> bytes:
        if name != member:
            return content
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return rewrite(source, target, changed)


def edit_checkpoint(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    checkpoint = torch.load(source, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, target)
    return target


def set_network(class_path: str, **init_args: object) -> Callable[[dict[str, Any]], None]:
    """Return a change for `edit_checkpoint` that names a different network."""
    return lambda checkpoint: checkpoint["leyden"].update(network={"class_path": class_path, "init_args": init_args})


def flip_bit(source: Path, target: Path, position: int, bit: int = 1) -> Path:
    """Copy a file with one bit changed."""
    content = bytearray(source.read_bytes())
    content[position] ^= bit
    target.write_bytes(content)
    return target
