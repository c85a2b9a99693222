"""The checkpoint format: read and checked without running code, and rebuilt as a model."""

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.errors import UserError
from leyden.models.build import Model, rebuild_model
from leyden.trust.archives import check_archive
from leyden.trust.description import check_description


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it, and check it.

    Raises:
        UserError: for the reasons of `unpickle` and `check_checkpoint`.
    """
    checkpoint = unpickle(path)
    check_checkpoint(checkpoint, path)
    return checkpoint


def check_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Check what a checkpoint says of its model, and its weights.

    Raises:
        UserError: if an entry is missing or senseless, or a weight is NaN.
    """
    check_description(checkpoint["leyden"], path, names_network=True)
    check_weights(checkpoint.get("state_dict"), path)


def unpickle(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running any code from it.

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
    except Exception as error:  # bytes that are no checkpoint make torch raise nearly anything
        reason = " ".join(str(error).split())[:80]
        raise UserError(
            f"expected a checkpoint; {path} is damaged ({reason}); make it anew with `leyden fit`"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("leyden"), dict):
        raise UserError(
            f"expected a checkpoint made by `leyden fit`; {path} has no 'leyden' entry that describes its network"
        )
    return checkpoint


def check_weights(weights: Any, path: Path) -> None:
    """Check that these are dense tensors by name, none of which holds NaN; infinity is used in masks.

    Raises:
        UserError: if they are not.
    """
    if isinstance(weights, Mapping):  # what a module keeps beside its tensors is its own affair
        weights = {name: value for name, value in weights.items() if not str(name).endswith("_extra_state")}
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and is_dense(value) for name, value in weights.items()
    ):
        raise UserError(
            f"expected a state_dict of names and dense tensors in {path}; it holds something else; make it anew with `leyden fit`"
        )
    if wrong := [name for name, value in weights.items() if value.is_floating_point() and has_gaps(name, value)]:
        raise UserError(
            f"expected numbers for weights in {path}; {len(wrong)} tensors hold NaN or infinity, {wrong[0]} first; train it again"
        )


def is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def has_gaps(name: str, value: Tensor) -> bool:
    numbers = value.float() if value.element_size() == 1 else value  # torch compares no 8-bit floats
    is_learned = name.rpartition(".")[2] in ("weight", "bias")
    return bool((~numbers.isfinite() if is_learned else numbers.isnan()).any())


def load_checkpoint(
    path: Path, device: str = "cpu", trust: bool = False, allowed_class_paths: Iterable[str] = ()
) -> Model:
    """Load a checkpoint's model in evaluation mode.

    Args:
        path: The checkpoint.
        device: Where its weights go.
        trust: Whether it may name any class that can be imported.
        allowed_class_paths: Class paths that the user's command line or config names.

    Raises:
        UserError: if it is damaged, of other code, or not trusted.
    """
    checkpoint = read_checkpoint(path)
    spec = checkpoint["leyden"]
    model = rebuild_model(spec, path, trust, allowed_class_paths)
    load_weights(
        model,
        {
            key.removeprefix("model."): value
            for key, value in checkpoint["state_dict"].items()
            if key.startswith("model.")
        },
        path,
    )
    model.provenance = spec.get("provenance", {})
    model.spec["temperature"] = spec.get("temperature", 1.0)
    return model.eval().to(device)


def load_weights(model: Model, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Raises:
        UserError: if they are those of another network.
    """
    own = model.state_dict()
    names = [name for name, value in own.items() if isinstance(value, Tensor) and name in weights]
    state = OrderedDict(weights)
    state._metadata = own._metadata  # type: ignore[attr-defined] # versions of layers, of which files keep none
    try:
        if any(kind_of_numbers(own[name]) != kind_of_numbers(weights[name]) for name in names):
            raise TypeError("other kinds of numbers")  # which torch would convert
        model.load_state_dict(state)
    except Exception as error:  # a network may load its weights by code of its own
        class_path = model.spec["network"]["class_path"]
        raise UserError(
            f"the weights in {path} do not fit {class_path} as it is now; use the code that trained it"
        ) from error


def kind_of_numbers(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()
