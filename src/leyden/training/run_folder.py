"""The folder of a training in progress, named by a fingerprint of everything that decides its result."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_info

import leyden
from leyden.class_paths import class_paths_of
from leyden.files import sha256, write_json

RUNS = Path("runs")
NUM_SHOWN = 5  # changed settings that are told one by one
SOURCES = (
    "data",
    "models",
    "ops",
    "training",
)  # the code that decides a training's result; an edit elsewhere retrains nothing


@contextmanager
def locked(run: "Run", is_leader: bool) -> Iterator[None]:
    """Keep a second training out of a run folder.

    A training whose `dvc repro` was killed may still run as an orphan process; the second one waits and then resumes from it.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if not is_leader:
        yield
        return
    lock = FileLock(run.folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = run.owner.read_text() if run.owner.exists() else "unknown"
        rank_zero_info(f"fit: waits for process {owner}, which trains in {run.folder}; stop it to take over")
        lock.acquire()
    try:
        run.owner.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


class Run:
    """Paths under runs/<fingerprint>/."""

    def __init__(self, config: dict[str, Any], data_hash: str) -> None:
        plain = json.loads(json.dumps(config, default=str))
        self.identity = {"config": plain, "data": data_hash, "code": hash_sources(plain)}
        self.fingerprint = hashlib.sha256(
            json.dumps(list(self.identity.values()), sort_keys=True).encode()
        ).hexdigest()[:12]
        self.folder = RUNS / self.fingerprint

    def save_identity(self) -> None:
        """Write what decides this run, for later ones to compare themselves with."""
        write_json(self.folder / "identity.json", self.identity)

    def describe_changes(self) -> str:
        """Say what this run has that the newest other one has not, in one line."""
        others = sorted(RUNS.glob("*/identity.json"), key=lambda path: path.stat().st_mtime)
        earlier = next((path for path in reversed(others) if path.parent != self.folder), None)
        if earlier is None:
            return "the first run here"
        theirs = json.loads(earlier.read_text(encoding="utf-8"))
        changes = changed(theirs["config"], self.identity["config"])
        shown = [
            *changes[:NUM_SHOWN],
            *([f"{len(changes) - NUM_SHOWN} more settings"] if len(changes) > NUM_SHOWN else []),
        ]
        told = [*shown, *(f"the {part}" for part in ("data", "code") if theirs[part] != self.identity[part])]
        return f"since {earlier.parent} changed: {', '.join(told)}"

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


def changed(old: Any, new: Any, name: str = "") -> list[str]:
    """List the settings that differ, as `model.init_args.lr: 0.1 -> 0.2`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [line for key in keys for line in changed(old.get(key), new.get(key), f"{name}.{key}" if name else key)]
    return [] if old == new else [f"{name}: {json.dumps(old)} -> {json.dumps(new)}"]


def hash_sources(config: dict[str, Any]) -> str:
    """Hash the sources that a training runs: the package's, and those of the classes that its config names, a network of your own say."""
    root = Path(leyden.__file__).parent
    files = [
        path
        for part in SOURCES
        for path in (root / part, *(root / part).rglob("*"))
        if path.suffix in (".py", ".cpp", ".h")
    ]
    named = (
        getattr(sys.modules.get(name), "__file__", None)
        for name in sorted({path.rpartition(".")[0] for path in class_paths_of(config)})
        if name != "leyden"
    )
    return sha256(*sorted(files), *(Path(file) for file in named if file))


def describe_code() -> str:
    """Name the code: the package's version, and the commit where there is one ("-dirty" with uncommitted changes)."""
    try:
        root = Path(leyden.__file__).parent
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return leyden.__version__
    return f"{leyden.__version__}+{done.stdout.strip()}" if done.returncode == 0 else leyden.__version__
