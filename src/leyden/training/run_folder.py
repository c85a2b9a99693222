"""The folder of a training in progress, named by a fingerprint of everything that determines its result."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch.utilities.rank_zero import rank_zero_info

import leyden
from leyden.class_paths import class_paths_of
from leyden.files import sha256, write_json
from leyden.files.outputs import one_line_errors, resolved
from leyden.trust.network_classes import is_installed

RUNS = Path("runs")
MAX_LISTED_CHANGES = 5
# Packages, and modules, whose code determines a training's result; an edit elsewhere retrains nothing.
SOURCES = (
    *("data", "models", "ops", "tasks", "training"),
    # By which tasks choose thresholds, temperatures and intervals after each epoch:
    *(f"statistics/{name}.py" for name in ("conformal", "label_temperature", "measures", "resampling", "thresholds")),
)
# Settings of the Trainer that show a training without changing its result: changing them resumes an interrupted one.
NON_DETERMINING_KEYS = {"logger", "profiler", "enable_progress_bar", "enable_model_summary", "log_every_n_steps"}


class Run:
    """A training, and the paths of its files in runs/<fingerprint>/."""

    def __init__(self, config: dict[str, Any], data_hash: str) -> None:
        """Compute the fingerprint of the settings that determine the result, the prepared data and the code."""
        plain = json.loads(json.dumps(config, default=str))
        self.identity = {"config": plain, "data": data_hash, "code": hash_sources(plain)}
        serialized = json.dumps(list(self.identity.values()), sort_keys=True)
        self.fingerprint = hashlib.sha256(serialized.encode()).hexdigest()[:12]
        self.folder = Path.cwd() / RUNS / self.fingerprint  # also after the user's code has changed the folder
        self.best, self.last, self.previous = (self.folder / f"{name}.ckpt" for name in ("best", "last", "previous"))

    def __str__(self) -> str:
        return str(RUNS / self.fingerprint)

    def save_identity(self) -> None:
        """Write what determines this run, so that later runs can list what they changed."""
        write_json(self.folder / "identity.json", self.identity)

    def describe_changes(self) -> str:
        """Describe in one line how this run differs from the previous one."""
        identities = sorted(RUNS.glob("*/identity.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        others = ((path, read_identity(path)) for path in identities if path.parent.name != self.fingerprint)
        previous, old = next(((path, identity) for path, identity in others if identity), (None, {}))
        if previous is None:
            return "the first run here"
        settings = diff_settings(old["config"], self.identity["config"])
        changes = settings[:MAX_LISTED_CHANGES]
        if len(settings) > MAX_LISTED_CHANGES:
            changes.append(f"{len(settings) - MAX_LISTED_CHANGES} more settings")
        changes += [f"the {part}" for part in ("data", "code") if old[part] != self.identity[part]]
        return f"since {previous.parent} changed: {', '.join(changes)}"


def read_identity(path: Path) -> dict[str, Any]:
    """Read what determined an earlier run; empty if the file is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        identity = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(identity, dict) and identity.keys() >= {"config", "data", "code"}:
            return identity
    return {}


@contextmanager
def locked(run: Run, is_global_zero: bool) -> Iterator[None]:
    """Keep other trainings out of a run's folder.

    A training whose `dvc repro` was killed may still run as an orphaned process: the next one waits for it to end, and
    then resumes. Only rank 0 holds the lock.
    """
    with one_line_errors(Path(str(run))):
        resolved(run.folder).mkdir(parents=True, exist_ok=True)  # runs/ may be a link to a folder on another disk
    if not is_global_zero:
        yield
        return
    pid_file = run.folder / "pid"
    lock = FileLock(run.folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = pid_file.read_text() if pid_file.exists() else "unknown"
        rank_zero_info(f"fit: waits for process {pid}, which trains in {run}; stop it to take over")
        lock.acquire()
    try:
        pid_file.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def result_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved configuration that determines a training's result."""
    trainer = {key: value for key, value in config["trainer"].items() if key not in NON_DETERMINING_KEYS}
    return {key: trainer if key == "trainer" else value for key, value in config.items() if key != "resume"}


def diff_settings(old: Any, new: Any, name: str = "") -> list[str]:
    """List the settings that differ, as `model.init_args.lr: 0.1 -> 0.2`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [
            line for key in keys for line in diff_settings(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [f"{name}: {json.dumps(old)} -> {json.dumps(new)}"]


def hash_sources(config: dict[str, Any]) -> str:
    """Hash the sources that a training runs: the package's, and the modules of the classes that its config names."""
    root = Path(leyden.__file__).parent
    paths = (path for name in SOURCES for path in (root / name, *(root / name).rglob("*")))
    files = [path for path in paths if path.suffix in (".py", ".cpp", ".h")]
    module_names = {path.rpartition(".")[0] for path in class_paths_of(config)} - {"leyden"}
    named = {file for name in module_names for file in source_files(name)}
    return sha256(*sorted(files), *sorted(named))


def source_files(module_name: str) -> Iterable[Path]:
    """Return the file of a module; in a package that is not installed, all its files, which the module may import."""
    package = module_name.partition(".")[0]
    folders = getattr(sys.modules.get(package), "__path__", ())
    if folders and not is_installed(package):
        return (path for folder in folders for path in Path(folder).rglob("*.py"))
    file = getattr(sys.modules.get(module_name), "__file__", None)
    return [Path(file)] if file else []
