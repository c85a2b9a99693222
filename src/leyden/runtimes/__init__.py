"""Exported files, each run by its own runtime: one small file per runtime, imported when a file of its kind is opened.

Nothing here imports torch unless the runtime does, so that measured memory and start-up time match those of the file's
users.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leyden.errors import UserError
from leyden.trust.checksum import verify_checksum
from leyden.trust.description import check_description

ModelFunction = Callable[..., np.ndarray]  # takes one array for each input of the model, returns its outputs

DEFAULT_OUTPUT = {"name": "logits"}
INPUTS = (["images"], ["values", "lengths"])
MAX_SHOWN = 80  # characters of names in messages

# suffix: (module with `read(path, trust) -> (run, description)`, the package that it needs)
RUNTIMES = {
    ".ckpt": ("checkpoint", "torch"),
    ".onnx": ("onnx_runtime", "onnxruntime"),
    ".pt2": ("torch_package", "torch"),
    ".torchscript": ("torchscript", "torch"),
    ".pte": ("executorch", "executorch"),
    ".xml": ("openvino", "openvino"),
    ".safetensors": ("safetensors", "safetensors"),
}


class OpenedModel(NamedTuple):
    """A model file ready to run.

    `run` maps uint8 images (B, C, H, W), or values (B, T, F) and lengths (B,), to the task's outputs: float32 (B, K) or
    (B, K, H, W).
    """

    run: ModelFunction
    description: dict[str, Any]  # the metadata in the file


def open_model(path: Path, trust: bool = False) -> OpenedModel:
    """Open a model file in its own runtime; one that runs code must be trusted or published by this project.

    Raises:
        UserError: if its runtime is not installed, or the file is damaged, is code that is not trusted, or was not
            written by `leyden export`.
    """
    runtime = import_runtime(path)
    check_companion(path)
    checksum = verify_checksum(path)
    run, description = runtime.read(path, trust)
    if not description:
        raise UserError(f"expected a file written by `leyden export`; {path} has no labels; export the model again")
    description = json.loads(description) if isinstance(description, str) else description
    check_not_own_module(description, path)
    check_description(description, path)
    if description.get("checksum") != checksum:  # it was not recognised as one, or another text in the file was
        raise UserError(
            f"expected an intact model file; {path} was damaged or edited: its checksum is unreadable; "
            "copy it again, or export it again"
        )
    return OpenedModel(split_batches(run, description["input"].get("max_batch")), description)


def import_runtime(path: Path) -> Any:
    """Import the runtime of a file by its suffix.

    Raises:
        UserError: if there is none, or the package that it needs is not installed.
    """
    if path.suffix not in RUNTIMES:
        raise UserError(f"expected a model file ({', '.join(RUNTIMES)}); got {path.name}")
    module, package = RUNTIMES[path.suffix]
    try:
        return importlib.import_module(f"leyden.runtimes.{module}")
    except ImportError as error:
        raise UserError(
            f"expected {package} to run {path.name}; it is not installed ({error}); "
            "run `make`, or install leyden[export]"
        ) from error


def check_companion(path: Path) -> None:
    """Check that OpenVINO's weights lie beside the .xml, in a file: opening a pipe would wait for another program.

    Raises:
        UserError: if they do not.
    """
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise UserError(f"expected the weights of {path} in {weights}; not found; copy both files")


def check_signature(path: Path, inputs: Sequence[str], outputs: Sequence[str], description: str) -> None:
    """Check the names of a model's inputs, and that its only output is the one that its description (JSON) names.

    Raises:
        UserError: if it is not a model of images or sequences.
    """
    described = json.loads(description or "{}")
    check_not_own_module(described, path)
    name = described.get("output", DEFAULT_OUTPUT)["name"]
    if list(inputs) not in INPUTS or list(outputs) != [name]:
        got, result = (", ".join(names)[:MAX_SHOWN] for names in (inputs, outputs))
        raise UserError(
            f"expected a model from images, or values and lengths, to {name}; {path} maps {got} to {result}; "
            "export it with `leyden export`"
        )


def check_not_own_module(description: dict[str, Any], path: Path) -> None:
    """Raise UserError if a file holds a LightningModule of the user's, whose outputs have no known meaning."""
    if "module" in description:
        _, package = RUNTIMES[path.suffix]
        how = {".onnx": "onnxruntime.InferenceSession", ".pt2": "torch.export.load"}.get(path.suffix, package)
        names = (", ".join(str(each["name"]) for each in description[key])[:MAX_SHOWN] for key in ("inputs", "outputs"))
        raise UserError(
            f"expected a model of a task; {path} holds {description['module']}.forward, from {' to '.join(names)}; "
            f"run it with {how}, or load its checkpoint"
        )


def split_batches(run: ModelFunction, max_batch: int | None) -> ModelFunction:
    """Return a function that splits batches if the file limits their size."""
    if not max_batch:
        return run

    def run_in_parts(*inputs: np.ndarray) -> np.ndarray:
        starts = range(0, len(inputs[0]), max_batch)
        return np.concatenate([run(*(each[start : start + max_batch] for each in inputs)) for start in starts])

    return run_in_parts
