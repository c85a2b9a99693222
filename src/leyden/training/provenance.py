"""Where a model comes from: the configuration, data, code and package versions of its training."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import lightning
import torch

import leyden


def describe_provenance(config: dict[str, Any], data_hash: str, input_files: dict[str, str]) -> dict[str, Any]:
    """Return the provenance that checkpoints store; `input_files` has the SHA-256 of each file that the model reads."""
    return {
        "config": config,
        "data_hash": data_hash,
        "input_files": input_files,
        "code_version": describe_code(),
        "versions": {"python": platform.python_version()}
        | {package.__name__: str(package.__version__) for package in (torch, lightning, leyden)},
    }


def describe_code() -> str:
    """Return the package's version, and the commit where there is one ("-dirty" with uncommitted changes)."""
    command, folder = ["git", "describe", "--always", "--dirty"], Path(leyden.__file__).parent
    try:
        commit = subprocess.check_output(command, cwd=folder, stderr=subprocess.DEVNULL, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return leyden.__version__
    return f"{leyden.__version__}+{commit.strip()}"
