"""What the checkpoint of any LightningModule holds besides its weights, so that it can be rebuilt from it alone."""

import inspect
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from leyden.errors import UserError, one_line
from leyden.trust.description import MAX_BITS, is_class_spec, is_plain

DATA_ARGUMENTS = ("labels", "input", "task", "class_counts")  # that a module may take from the data's attributes
DATA_FACTS = ("labels", "input", "task")
NOT_SERIALIZABLE = "Unable to serialize instance"  # by jsonargparse: of defaults that are objects, such as nn.ReLU()


def describe_module(
    config: dict[str, Any], module: LightningModule, data: LightningDataModule, provenance: dict[str, Any]
) -> dict[str, Any]:
    """Return the entry `leyden` of a checkpoint: class paths and arguments of module and data, and facts of the data.

    Args:
        config: The resolved configuration as plain values.
        module: The module, whose arguments `labels`, `input` and `class_counts` come from the data.
        data: The data module.
        provenance: Where the model comes from.

    Raises:
        UserError: if an argument, or what the data passes to the module, is not a plain value, which a checkpoint can
            hold.
    """
    description = {"module": describe_class(config["model"]), "data": describe_class(config["data"])}
    for spec in description.values():
        if not is_plain(spec) or not is_class_spec(spec):
            raise UserError(
                f"expected arguments of {spec['class_path']} that a checkpoint can hold (no NaN, no integers of more "
                f"than {MAX_BITS} bits); got {one_line(str(spec['init_args']), 99)}; change them, or the defaults"
            )
    parameters = inspect.signature(type(module)).parameters
    for name in DATA_ARGUMENTS:
        if name not in parameters or name in (config["model"].get("init_args") or {}):
            continue
        if parameters[name].default is inspect.Parameter.empty and not hasattr(data, name):
            raise UserError(
                f"expected {type(data).__name__}.{name}, an argument of {type(module).__name__}; got none; "
                f"set it in the data, or --model.init_args.{name}"
            )
        if hasattr(data, name):
            value = getattr(data, name)
            if not is_plain(value):
                raise UserError(
                    f"expected plain values (numbers, texts, lists, dicts) as {type(data).__name__}.{name}, an "
                    f"argument of {type(module).__name__}; got {type(value).__name__}; convert it"
                )
            description["module"]["init_args"][name] = value
    facts = {name: getattr(data, name, None) for name in DATA_FACTS}
    return description | {"provenance": provenance} | {k: v for k, v in facts.items() if v is not None and is_plain(v)}


def describe_class(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a class's specification without the arguments whose defaults are objects: the class has them anyway."""
    return {**without_objects(spec), "init_args": without_objects(spec.get("init_args") or {})}


def without_objects(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_objects(each) for key, each in value.items() if not is_object(each)}
    return [without_objects(each) for each in value] if isinstance(value, list) else value


def is_object(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(NOT_SERIALIZABLE)
