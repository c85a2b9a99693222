"""Parsers' errors, pages of types and usage included, as one line with the nearest valid key."""

import argparse
import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from leyden.errors import UserError

UNKNOWN = re.compile(r"(?:unrecognized arguments: (?:--)?|does not accept option '|Option ')([\w.+-]+)")
EXPECTED = re.compile(r"Expected an? (?:<class '([\w.]+)'>|([\w ]+))")
GOT = re.compile(r"(?:Got value: |Given value: |, val=)(.+?)\)?$", re.MULTILINE)
MISSING = re.compile(r"Requirement '(\w+)[^']*' not met|No module named '?(\w+)")
# What jsonargparse prints around the one thing that is wrong.
FRAME = re.compile(
    r"Does not validate against|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Expected a path but|Problem with given class_path"
)


@contextmanager
def one_line_errors(parser: Any) -> Iterator[None]:
    """Raise a parser's errors as UserError.

    Raises:
        UserError: for an unknown key, a wrong type, a missing file, or a class that refuses its arguments.
    """
    try:
        yield
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise UserError(explain(str(error), parser)) from error


def explain(message: str, parser: Any) -> str:
    """Say what is wrong in one line."""
    if missing := MISSING.search(message):
        name = missing[1] or missing[2]
        return f"expected the package {name}, which is not installed; `uv pip install {name}`, leave its config away, or correct the path"
    if unknown := UNKNOWN.search(message):
        word = unknown[1]
        return f"unknown key {word!r}{did_you_mean(word.split('.')[-1], known_names(message, parser))}; --help and --print_config list them"
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    types = [
        named or text
        for named, text in EXPECTED.findall(message)
        if named != "NoneType" and not text.startswith("path")
    ]
    if types and (got := GOT.findall(message)):
        nested = re.search(r"val='(.*?)'", got[-1])
        return f"{key}: expected {' or '.join(dict.fromkeys(types))}; got {nested[1] if nested else got[-1]}"
    lines = [re.sub(r'^Parser key "[^"]+":\s*', "", line.strip(" -")) for line in message.splitlines()]
    rest = "; ".join(line for line in lines if line and not FRAME.match(line))
    return f"{key}: {rest}" if key and key != "config" else rest


def known_names(message: str, parser: Any) -> set[str]:
    """Collect the parser's keys, and the arguments of the classes that a message names."""
    names = {action.dest.split(".")[-1] for action in parser._actions}
    for path in re.findall(r"'([\w.]+\.\w+)'", message):
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        if callable(found):
            names |= set(argument_names(found))
    return names


def argument_names(found: Any) -> Iterator[str]:
    for name, param in inspect.signature(found).parameters.items():
        yield name
        if dataclasses.is_dataclass(param.annotation):
            yield from (field.name for field in dataclasses.fields(param.annotation))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
