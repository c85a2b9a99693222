"""The checkpoint format: read and checked without running code from the file, and rebuilt as a model."""

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.errors import UserError, one_line
from leyden.models.build import Model, rebuild_model
from leyden.trust.archives import check_archive
from leyden.trust.description import check_description

MAX_SHARING_RATIO = 32  # weights that layers share are in the state dict once for each layer, and in the file once


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it, and check it.

    Raises:
        UserError: see `unpickle_checkpoint` and `check_checkpoint`.
    """
    checkpoint = unpickle_checkpoint(path)
    check_checkpoint(checkpoint, path)
    return checkpoint


def check_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Check a checkpoint's description of its model, and its weights.

    Raises:
        UserError: if an entry is missing or invalid, or a weight is NaN.
    """
    check_description(checkpoint["leyden"], path, names_network=True)
    check_weights(checkpoint.get("state_dict"), path)


def unpickle_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it; its entries are not checked yet.

    Raises:
        UserError: if it is damaged, holds more than plain data, or was not made by `leyden fit`.
    """
    check_archive(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused {path}: it asks to run code when loaded, or is damaged; use only checkpoints made by `leyden fit`"
        ) from error
    except Exception as error:  # torch raises almost any exception on bytes that are not a checkpoint
        raise UserError(
            f"expected a checkpoint; {path} is damaged ({one_line(error)}); create it again with `leyden fit`"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("leyden"), dict):
        raise UserError(
            f"expected a checkpoint made by `leyden fit`; {path} has no 'leyden' entry that describes its network; "
            "create it with `leyden fit`"
        )
    return checkpoint


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, and wait until it is on the disk.

    Raises:
        OSError: if it cannot be written; torch reports a full disk as an error of its own, or ends the process.
    """
    with open(path, "wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())


def check_weights(weights: Any, path: Path) -> None:
    """Check that a state dict holds named dense tensors without NaN; buffers may be infinite, as masks are.

    A tensor may repeat one stored value any number of times, and many tensors may share their values: their sizes are
    checked before anything is computed from them.

    Raises:
        UserError: if it does not.
    """
    if isinstance(weights, Mapping):  # modules may store any objects under `_extra_state`
        weights = {name: value for name, value in weights.items() if not str(name).endswith("_extra_state")}
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and is_dense(value) for name, value in weights.items()
    ):
        raise UserError(
            f"expected a state_dict of names and dense tensors in {path}; it holds something else; "
            "create it again with `leyden fit`"
        )
    num_bytes = sum(value.numel() * value.element_size() for value in weights.values())
    if num_bytes > MAX_SHARING_RATIO * path.stat().st_size:
        raise UserError(
            f"expected tensors of at most {MAX_SHARING_RATIO} times the file's size in {path}; got {num_bytes:,} "
            "bytes, because they repeat the same values; create it again with `leyden fit`"
        )
    if invalid := [
        name for name, value in weights.items() if value.is_floating_point() and has_invalid_values(name, value)
    ]:
        raise UserError(
            f"expected finite weights in {path}; {len(invalid)} tensors hold NaN or infinity, {invalid[0]} first; "
            "train the model again"
        )


def is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_nested
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def has_invalid_values(name: str, value: Tensor) -> bool:
    """Return whether a weight or bias is not finite, or a buffer holds NaN."""
    value = value.float() if value.element_size() == 1 else value  # torch does not compare 8-bit floats
    is_learned = name.rpartition(".")[2] in ("weight", "bias")
    return bool((~value.isfinite() if is_learned else value.isnan()).any())


def load_checkpoint(
    path: Path, device: str = "cpu", trust: bool = False, allowed_class_paths: Iterable[str] = ()
) -> Model:
    """Load a checkpoint's model in evaluation mode.

    Args:
        path: The checkpoint.
        device: The device for its weights.
        trust: Whether it may name any class that can be imported.
        allowed_class_paths: Class paths that it may name because the user's command line or config does.

    Raises:
        UserError: if it is damaged, does not fit the current code, or is not trusted.
    """
    checkpoint = read_checkpoint(path)
    description, prefix = checkpoint["leyden"], "model."
    named = checkpoint["state_dict"].items()
    weights = {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}
    model = rebuild_model(description, weights, path, trust, allowed_class_paths)
    model.provenance = description.get("provenance", {})
    model.spec["temperature"] = description.get("temperature", 1.0)
    return model.to(device)
