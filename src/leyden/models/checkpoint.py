"""The checkpoint format: read and checked without running code from the file, and rebuilt as a model."""

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.errors import UserError, one_line
from leyden.models.build import Model, has_invalid_values, rebuild_model
from leyden.trust.archives import check_archive
from leyden.trust.description import check_description, check_module_description

LIGHTNING_VERSION = re.compile(r"[2-9]\.\d+(\.\w+)*", re.ASCII)  # the format of 1.x had no entries for some loops
LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
NEVER_INFINITE = ("weight", "bias", "running_mean", "running_var")  # some buffers are: masks, limits
HALF_PRECISION = 0.01  # more than the relative error of numbers in bfloat16
MAX_NAME_LENGTH = 1000  # of a weight: messages name it
MAX_SHARING_RATIO = 32  # weights that layers share are in the state dict once for each layer, and in the file once


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it, and check it.

    Raises:
        UserError: see `unpickle_checkpoint` and `check_checkpoint`.
    """
    checkpoint = unpickle_checkpoint(path)
    check_checkpoint(checkpoint, path)
    return checkpoint


def read_supervised(path: Path) -> dict[str, Any]:
    """Read a checkpoint of leyden.SupervisedModule, which describes a network, labels and input, and check it.

    Raises:
        UserError: see `read_checkpoint`; or if it holds another LightningModule.
    """
    checkpoint = read_checkpoint(path)
    if "module" in checkpoint["leyden"]:
        class_path = checkpoint["leyden"]["module"]["class_path"]
        raise UserError(
            f"expected a checkpoint of leyden.SupervisedModule; {path} holds {class_path}; "
            "use one that `leyden fit` made without --model"
        )
    return checkpoint


def check_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Check a checkpoint's description of its model, and its weights.

    Raises:
        UserError: if an entry is missing or invalid, a weight is NaN, or the two disagree.
    """
    if "module" in checkpoint["leyden"]:
        check_module_description(checkpoint["leyden"], path)
        check_weights(checkpoint.get("state_dict"), path)
        return
    check_description(checkpoint["leyden"], path, names_network=True)
    check_weights(checkpoint.get("state_dict"), path)
    check_statistics(checkpoint["state_dict"], checkpoint["leyden"]["input"], path)


def check_lightning_entries(checkpoint: dict[str, Any], path: Path) -> None:
    """Check the entries that only Lightning reads, which assumes that it wrote them.

    Raises:
        UserError: if one is missing or invalid.
    """
    version, loops = checkpoint.get("pytorch-lightning_version"), checkpoint.get("loops", {key: {} for key in LOOPS})
    is_valid = (
        isinstance(version, str)
        and LIGHTNING_VERSION.fullmatch(version)
        and isinstance(loops, dict)
        and all(isinstance(loops.get(name), dict) for name in LOOPS)
        and isinstance(checkpoint.get("callbacks", {}), dict)
    )
    if not is_valid:
        raise UserError(
            f"expected the version, loops and callbacks that Lightning 2 writes into a checkpoint; {path} has others; "
            "create it again with `leyden fit`"
        )


def unpickle_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it; its entries are not checked yet.

    Raises:
        UserError: if it is damaged, holds more than plain data, or was not made by `leyden fit`.
    """
    check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of tensors, and of TorchScript, that are refused below
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
    """Check that a state dict holds named dense tensors without NaN; some buffers may be infinite, as masks are.

    A tensor may repeat one stored value any number of times, and many tensors may share their values: their sizes are
    checked before anything is computed from them.

    Raises:
        UserError: if it does not.
    """
    if isinstance(weights, Mapping):  # modules may store any objects under `_extra_state`
        weights = {name: value for name, value in weights.items() if not str(name).endswith("_extra_state")}
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and is_dense(value) for name, value in weights.items()
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
        name for name, value in weights.items() if has_invalid_values(value, name.rpartition(".")[2] in NEVER_INFINITE)
    ]:
        raise UserError(
            f"expected finite weights in {path}; {len(invalid)} tensors hold NaN or infinity, {invalid[0]} first; "
            "train the model again"
        )


def check_statistics(weights: Mapping[str, Any], input: Mapping[str, Any], path: Path) -> None:
    """Check that the mean and standard deviation among the weights are those of the description.

    Raises:
        UserError: if they are not.
    """
    for name in ("mean", "std"):
        value = weights.get(f"model.preprocess.{name}", weights.get(f"preprocess.{name}"))
        expected = torch.tensor(input[name], dtype=torch.float64)
        if value is None or not value.is_floating_point() or value.numel() != len(expected):
            continue  # then the weights do not fit the network
        if not torch.allclose(value.double().flatten(), expected, rtol=HALF_PRECISION):
            raise UserError(
                f"expected the {name} that {path} describes also among its weights; they hold a different one; "
                "the file is damaged or was edited: create it again with `leyden fit` or `leyden export`"
            )


def is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_nested
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.dtype != torch.float4_e2m1fn_x2  # torch stores such numbers, but cannot convert them
    )


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
    return rebuild_checkpoint(read_supervised(path), path, device, trust, allowed_class_paths)


def rebuild_checkpoint(
    checkpoint: dict[str, Any],
    path: Path,
    device: str = "cpu",
    trust: bool = False,
    allowed_class_paths: Iterable[str] = (),
) -> Model:
    """Rebuild the model of a checkpoint that `read_supervised` has read; see `load_checkpoint`."""
    description, prefix = checkpoint["leyden"], "model."
    named = checkpoint["state_dict"].items()
    weights = {name.removeprefix(prefix): value for name, value in named if name.startswith(prefix)}
    model = rebuild_model(description, weights, path, trust, allowed_class_paths)
    model.provenance = description.get("provenance", {})
    model.spec["temperature"] = description.get("temperature", 1.0)
    return model.to(device)
