"""Errors of argument parsers, which span many lines with types and usage, shortened to one line."""

import argparse
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jsonargparse
import yaml

from leyden.class_paths import import_path
from leyden.errors import UserError, did_you_mean

UNKNOWN_KEY = re.compile(r"(?:unrecognized arguments: (?:--)?|does not accept option '|Option ')([\w.+-]+)")
EXPECTED_TYPE = re.compile(r"Expected an? (?:<class '([\w.]+)'>|([\w ]+))")
VALUE = re.compile(r"(?:Got value: |Given value: |, val=)(.+?)\)?$", re.MULTILINE)
MISSING_PACKAGE = re.compile(r"Requirement '(\w+)[^']*' not met|No module named '?(\w+)")
# Lines that jsonargparse prints around the actual mistake.
CONTEXT_LINE = re.compile(
    r"Does not validate against|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Expected a path but|"
    r"Problem with given class_path"
)

# The name of a file that is not UTF-8 is no YAML either, but a text.
jsonargparse.set_loader("yaml", jsonargparse.get_loader("yaml"), (yaml.YAMLError, UnicodeEncodeError))


@contextmanager
def one_line_errors(parser: Any) -> Iterator[None]:
    """Raise a parser's errors as UserError.

    Raises:
        UserError: for an unknown key, a wrong type, a missing file, or a class that rejects its arguments.
    """
    try:
        yield
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise UserError(summarize(str(error), parser)) from error


def summarize(message: str, parser: Any) -> str:
    """Summarise a parser's error message in one line."""
    if missing := MISSING_PACKAGE.search(message):
        name = missing[1] or missing[2]
        return (
            f"expected the package {name}, which is not installed; "
            f"run `uv pip install {name}`, remove the config that needs it, or correct the path"
        )
    if unknown := UNKNOWN_KEY.search(message):
        key = unknown[1]
        hint = did_you_mean(key.split(".")[-1], known_names(message, parser))
        return f"unknown key {key!r}{hint}; --help and --print_config list them"
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    types = [
        class_name or text
        for class_name, text in EXPECTED_TYPE.findall(message)
        if class_name != "NoneType" and not text.startswith("path")
    ]
    if types and (values := VALUE.findall(message)):
        nested = re.search(r"val='(.*?)'", values[-1])
        return f"{key}: expected {' or '.join(dict.fromkeys(types))}; got {nested[1] if nested else values[-1]}"
    lines = [re.sub(r'^Parser key "[^"]+":\s*', "", line.strip(" -")) for line in message.splitlines()]
    rest = "; ".join(line for line in lines if line and not CONTEXT_LINE.match(line))
    return f"{key}: {rest}" if key and key != "config" else rest


def known_names(message: str, parser: Any) -> set[str]:
    """Collect the parser's keys, and the arguments of the classes that a message names."""
    names = {action.dest.split(".")[-1] for action in parser._actions}
    for path in re.findall(r"'([\w.]+\.\w+)'", message):
        try:
            function = import_path(path)
        except ImportError:
            continue
        if callable(function):
            names |= set(argument_names(function))
    return names


def argument_names(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the names of a function's or class's arguments, and of the fields of those that are dataclasses."""
    for name, param in inspect.signature(function).parameters.items():
        yield name
        if dataclasses.is_dataclass(param.annotation):
            yield from (field.name for field in dataclasses.fields(param.annotation))
