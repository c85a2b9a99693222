"""Where the targets of the tests come from."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from leyden.tasks.targets import TargetFile, TargetSettings, TargetSource


def no_files(convert: Callable[[bytes], Any], paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
    raise AssertionError("these targets are not files")


SOURCE = TargetSource(Path("data"), ("target",), TargetSettings(), no_files)
FILE = TargetFile((8, 8), (8, 8))
