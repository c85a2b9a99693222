"""The description that a model file holds (labels, input, temperature): one check for every format."""

import math
import re
import reprlib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leyden.errors import UserError

HALF_A_SURROGATE_PAIR = re.compile("[\ud800-\udfff]")  # cannot be written as UTF-8
CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
MAX_CLASS_PATH_LENGTH = 500
MAX_SIZE = 1 << 16  # number of channels or features; height and width in pixels
BIT_DEPTHS = (8, 10, 12, 14, 16)  # of sensors: how many of the 16 bits per channel images use
MAX_INPUT_VALUES = 1 << 28  # of one image
MAX_DEPTH, MAX_VALUES, MAX_BITS = 32, 1_000_000, 1024  # of a description, and of an integer in it
Checks = tuple[tuple[str, str, Callable[[Any], bool]], ...]  # key, what is expected, whether a value is valid
DEFAULTS = {"temperature": 1.0, "provenance": {}, "task": {"name": "classification"}}
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3  # `leyden fit` chooses between 1/16 and 16


def check_description(description: Any, path: Path, names_network: bool = False) -> None:
    """Check the entries that every stage relies on, in the description that a checkpoint or an exported file holds.

    `names_network`: whether the model is built from the entry `network`; an exported program holds its own.

    Raises:
        UserError: for the first entry that is missing or invalid, or if the description is not plain values.
    """
    check_plain(description, path)
    check_entries(description, CHECKS if names_network else CHECKS[:-1], path)


def check_module_description(description: Any, path: Path) -> None:
    """Check the description that the checkpoint of any LightningModule holds.

    Raises:
        UserError: for the first entry that is missing or invalid, or if the description is not plain values.
    """
    check_plain(description, path)
    check_entries(description, MODULE_CHECKS, path)


def check_entries(description: Any, checks: Checks, path: Path) -> None:
    for key, expected, is_valid in checks:
        value = description.get(key, DEFAULTS.get(key)) if isinstance(description, dict) else description
        if not is_valid(value):
            shown = " ".join(reprlib.repr(value).split())
            raise UserError(
                f"expected {expected} in {path}; got {key}: {shown[:80]}{'...' * (len(shown) > 80)}; "
                "the file is damaged or was edited: create it again with `leyden fit` or `leyden export`"
            )


def check_plain(description: Any, path: Path) -> None:
    if not is_plain(description):
        raise UserError(
            f"expected a description of plain values (numbers, strings, lists, dicts) in {path}; got other values, or "
            "too many or too deeply nested ones; the file is damaged or was edited: create it again with `leyden fit` "
            "or `leyden export`"
        )


def is_plain(description: Any) -> bool:
    """Return whether a description is a tree of plain values that is small enough to walk through and to print.

    Pickles can hold a list that contains itself, or one that contains the same list many times, at every level.
    """
    remaining = [(description, 0)]
    num_values = 0
    while remaining:
        value, depth = remaining.pop()
        num_values += 1
        if num_values > MAX_VALUES or depth > MAX_DEPTH:
            return False
        if isinstance(value, dict):
            if not all(type(key) is str for key in value):
                return False
            remaining += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list | tuple):
            remaining += [(each, depth + 1) for each in value]
        elif type(value) not in (str, int, float, bool, type(None)) or (
            type(value) is int and value.bit_length() > MAX_BITS
        ):
            return False
    return True


def are_labels(value: Any) -> bool:
    """Return whether a value is a list of texts that look different, as `leyden prepare` writes them."""
    if not is_list_of(str, value) or any(HALF_A_SURROGATE_PAIR.search(label) for label in value):
        return False
    seen = {unicodedata.normalize("NFC", label).strip() for label in value}
    return "" not in seen and 0 < len(seen) == len(value)


def is_input(value: Any) -> bool:
    """Return whether a value describes images or sequences."""
    if not isinstance(value, dict) or {"image_size", "features"} <= value.keys():
        return False
    has_images = "image_size" in value
    count, size = value.get("channels" if has_images else "features"), value.get("image_size", [1, 1])
    mean, std, max_batch = value.get("mean"), value.get("std"), value.get("max_batch")
    return (
        is_list_of(int, [count, *(size if isinstance(size, list | tuple) else [None])], above=0)
        and len(size) == 2
        and max(count, *size) <= MAX_SIZE
        and math.prod([count, *size]) <= MAX_INPUT_VALUES
        and is_list_of(float, mean, length=count)
        and is_list_of(float, std, length=count, above=0)
        and (max_batch is None or is_list_of(int, [max_batch], above=0))
        and is_reader(value.get("reader", {}))
    )


def is_reader(value: Any) -> bool:
    """Return whether a value describes how image files are read; keys of later versions may follow."""
    if not isinstance(value, dict):
        return False
    min_side, max_pixels = value.get("min_image_side", 1), value.get("max_pixels", 1)
    return (
        is_list_of(int, [min_side, value.get("bit_depth", 16)], above=-1)
        and is_list_of(int, [max_pixels], above=0)
        and min_side <= MAX_SIZE
        and value.get("bit_depth", 16) in BIT_DEPTHS
    )


def is_class_spec(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_path"), str)
        and len(value["class_path"]) <= MAX_CLASS_PATH_LENGTH
        and CLASS_PATH.fullmatch(value["class_path"]) is not None
        and (value.get("init_args") is None or isinstance(value["init_args"], dict))
        and not holds_nan(value)
    )


def holds_nan(value: Any) -> bool:
    """Return whether a value or a part of it is NaN: compared with it, a threshold is never reached."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return any(map(holds_nan, parts)) or (isinstance(value, float) and math.isnan(value))


def is_list_of(kind: type, values: Any, length: int | None = None, above: float = -math.inf) -> bool:
    """Return whether a value is a list of `str`, `int` or finite `float` (or `int`), of a length and above a bound."""
    if not isinstance(values, list | tuple) or (length is not None and len(values) != length):
        return False
    if kind is str:
        return all(isinstance(value, str) for value in values)
    kinds = (int, float) if kind is float else (int,)
    return all(
        isinstance(value, kinds) and not isinstance(value, bool) and above < value < math.inf for value in values
    )


CHECKS: Checks = (
    ("labels", "a list of different class names", are_labels),
    ("task", "the name of a task", lambda value: isinstance(value, dict) and isinstance(value.get("name"), str)),
    ("input", "channels, image_size, mean and std of images, or features, mean and std of sequences,", is_input),
    (
        "temperature",
        f"a temperature from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}",
        lambda value: is_list_of(float, [value]) and MIN_TEMPERATURE <= value <= MAX_TEMPERATURE,
    ),
    ("provenance", "a dict", lambda value: isinstance(value, dict)),
    ("network", "the class_path and init_args of a network", is_class_spec),
)
MODULE_CHECKS: Checks = (
    ("module", "the class_path and init_args of a LightningModule", is_class_spec),
    ("data", "the class_path and init_args of a LightningDataModule", is_class_spec),
    ("provenance", "a dict", lambda value: isinstance(value, dict)),
)
