"""Where the targets of the tests come from."""

from pathlib import Path

from leyden.tasks.targets import TargetFile, TargetSettings, TargetSource

SOURCE = TargetSource(Path("data"), ("target",), TargetSettings())
FILE = TargetFile(Path("data"), (8, 8), (8, 8))
