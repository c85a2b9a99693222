"""The folder of a training in progress, named by a fingerprint of everything that decides its result."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import leyden
from leyden.files import sha256

RUNS = Path("runs")
SOURCES = ("data", "models", "ops", "stages/train")  # what a training runs; an edit elsewhere leaves it valid


class Run:
    """Paths under runs/<fingerprint>/."""

    def __init__(self, config: dict[str, Any], data_hash: str) -> None:
        key = json.dumps([config, data_hash, hash_sources()], sort_keys=True, default=str)
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()[:12]
        self.folder = RUNS / self.fingerprint

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def previous(self) -> Path:
        return self.folder / "previous.ckpt"

    @property
    def owner(self) -> Path:
        return self.folder / "pid"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"


def hash_sources() -> str:
    """Hash the package's sources that a training runs."""
    root = Path(leyden.__file__).parent
    return sha256(*sorted(path for part in SOURCES for path in (root / part).rglob("*.py")))


def describe_code() -> str:
    """Name the code: the package's version, and the commit where there is one ("-dirty" with uncommitted changes)."""
    try:
        root = Path(leyden.__file__).parent
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return leyden.__version__
    return f"{leyden.__version__}+{done.stdout.strip()}" if done.returncode == 0 else leyden.__version__
