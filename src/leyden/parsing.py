"""Parsers of config files and options, and their errors, which span many lines with types and usage, as one line."""

import argparse
import dataclasses
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import jsonargparse
import yaml

from leyden.class_paths import import_path
from leyden.errors import UserError, did_you_mean, one_line
from leyden.yaml_files import load_yaml, read_yaml

UNKNOWN_KEY = re.compile(r"(?:unrecognized arguments: (?:--)?|does not accept option '|Option ')([\w.+-]+)")
CLASS_PATH = re.compile(r"class_path '([\w.]+)'")
EXPECTED_TYPE = re.compile(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.+?)\]|([\w ]+))")
VALUE = re.compile(r"(?:Got value|Given value): ?(.*)$", re.MULTILINE)
NESTED_VALUE = re.compile(r"NestedArg\(key='[^']*', val='?(.*?)'?\)")
# Of a class path that is not text, or not of the form package.module.Name.
WRONG_CLASS_PATH = re.compile(r"unhashable type|is not iterable|Unexpected import path format")
NAMESPACE = re.compile(r"Namespace\(class_path='([^']*)'")  # of a class whose arguments are wrong
FLAG_VALUE = re.compile(r"argument (--\w+): ignored explicit argument (.+)")
MISSING_PACKAGE = re.compile(r"Requirement '(\w+)[^']*' not met|No module named '?(\w+)")
# Lines that jsonargparse prints around the actual mistake.
CONTEXT_LINE = re.compile(
    r"Does not validate against|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Expected a path but|"
    r"Problem with given class_path"
)


fill_in: ContextVar[Callable[[Any], Any]] = ContextVar("fill_in", default=lambda settings: settings)


@contextmanager
def filling_in(function: Callable[[Any], Any]) -> Iterator[None]:
    """Apply a function to the settings of each config file that is loaded until the block ends."""
    token = fill_in.set(function)
    try:
        yield
    finally:
        fill_in.reset(token)


def load_value(text: str, path: str = "") -> Any:
    """Load a config file, or a value of an option: there, a mapping without values, such as `note:`, is text."""
    value = load_yaml(text)
    if path:
        return fill_in.get()(value)
    has_no_value = isinstance(value, dict) and value and all(each is None for each in value.values())
    is_text = has_no_value and text.rstrip().endswith(":")  # not `note: null`
    return text if is_text else value


# The name of a file that is not UTF-8 is no YAML either, but a text.
jsonargparse.set_loader("yaml", load_value, (yaml.YAMLError, UnicodeEncodeError))


class ParserExit(SystemExit):
    """The end of the program after --help or --print_config."""


class StrictParser(jsonargparse.ArgumentParser):
    """A parser that accepts no abbreviated keys; the parsers that it makes for arguments of classes are of its type."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"allow_abbrev": False})

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if message:
            self._print_message(message, sys.stderr)
        raise ParserExit(status)


def config_paths(args: Sequence[str]) -> Iterator[str]:
    """Yield the paths of the config files that a command line names."""
    for option, following in zip(args, [*args, ""][1:], strict=True):
        if option in ("-c", "--config"):
            yield following
        elif named := re.fullmatch(r"(?:--config=|-c=?)(.+)", option):
            yield named[1]


def check_configs(parser: Any, args: Sequence[str], links: Mapping[str, str] = MappingProxyType({})) -> None:
    """Check the config files of a command line, and those that their sections name, before they are parsed.

    Args:
        parser: The parser of the command line.
        args: The command line.
        links: Keys that may not be set, and what sets them.

    Raises:
        UserError: if one cannot be read, has sections or keys at the top that the parser does not know, or sets a key
            of `links`.
    """
    for key in links:
        if any(re.match(rf"--{re.escape(key)}(?:[.=+]|$)", arg) for arg in args):
            raise UserError(f"expected no --{key}, which {links[key]} sets; leave it out")
    known = {action.dest.split(".")[0] for action in parser._actions}
    for name in filter(None, config_paths(args)):
        path = Path(name).expanduser()
        if path.is_fifo() or (":" in name and not path.exists()):  # a shell's <(...), or settings instead of a path
            continue
        settings = read_yaml(path)
        if unknown := [key for key in settings if key.split(".")[0] not in known]:
            keys = ", ".join(f"{key[:40]!r}{did_you_mean(key, known)}" for key in unknown[:5])
            raise UserError(f"unknown key {keys} in {path}; --help and --print_config list them")
        check_sections(settings, path, parser)
        for key in links:
            if is_set(key, settings):
                raise UserError(f"expected no {key} in {path}, which {links[key]} sets; remove it")


def class_path_named_last(args: Sequence[str], section: str) -> Any:
    """Return the class path that options and config files name last for a section; None if there is none."""
    class_path: Any = None
    for value in settings_of(args, section):
        class_path = value.get("class_path", class_path) if isinstance(value, dict) else value
    return class_path


def class_named_last(args: Sequence[str], section: str) -> Any:
    """Return the class that options and config files name last for a section; None if it cannot be imported."""
    class_path = class_path_named_last(args, section)
    with suppress(ImportError):
        return import_path(class_path) if isinstance(class_path, str) else None
    return None


def settings_of(args: Sequence[str], section: str) -> Iterator[Any]:
    """Yield what config files and options set for a section (`model`), or its class path, from left to right."""
    for option, following in zip(args, [*args, ""][1:], strict=True):
        for name in filter(None, config_paths([option, following] if option in ("-c", "--config") else [option])):
            if (path := Path(name).expanduser()).is_file():
                yield read_yaml(path).get(section, {})
        if option == f"--{section}":
            yield following
        elif named := re.fullmatch(rf"--{section}(?:\.class_path)?=(.+)", option):
            yield named[1]


def names_setting(args: Sequence[str], section: str, name: str) -> bool:
    """Return whether a command line or its config files set an argument of a section's class."""
    is_option = any(re.match(rf"--{section}(?:\.init_args)?\.{name}(?:[.=+]|$)", arg) for arg in args)
    return is_option or any(is_set(f"init_args.{name}", settings) for settings in settings_of(args, section))


def is_set(key: str, settings: Any) -> bool:
    """Return whether nested settings hold a value of a dotted key."""
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return bool(settings)


def check_sections(settings: dict[str, Any], path: Path, parser: Any) -> None:
    """Check that sections hold settings or name a readable file of them, and that class paths are text."""
    groups = {action.dest.split(".")[0] for action in parser._actions if "." in action.dest} - {"network"}
    for key, value in settings.items():
        if isinstance(value, str) and value.endswith((".yaml", ".yml")) and (path.parent / value).is_file():
            read_yaml(path.parent / value)
        elif key in groups and not isinstance(value, dict | str):
            got = "nothing" if value is None else value
            raise UserError(f"expected settings below {key} in {path}; got {got}; write some, or remove {key}")
        check_class_paths(value, path)


def check_class_paths(value: Any, path: Path) -> None:
    """Raise UserError if a `class_path` is not text, at any depth."""
    if isinstance(value, dict) and not isinstance(value.get("class_path", ""), str):
        raise UserError(f"expected package.module.Name as class_path in {path}; got {value['class_path']}; correct it")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_class_paths(child, path)


def dropped_keys(args: Sequence[str], config: jsonargparse.Namespace, defaults: Path) -> Iterator[str]:
    """Yield the keys that a command line or its config files set, but that the parsed config does not have.

    Where a later file or option replaces a class, jsonargparse drops the arguments that the new class does not have.
    The file of defaults is not searched: what it sets is for the class that it names.
    """
    for name in filter(None, config_paths(args)):
        if (path := Path(name).expanduser()).is_file() and path != defaults:
            yield from missing_keys(read_yaml(path), config)
    for arg in args:
        if (option := re.match(r"--([\w.]+)[=+]", arg)) and ".init_args." in option[1] and option[1] not in config:
            yield option[1]


def missing_keys(settings: dict[str, Any], config: jsonargparse.Namespace, prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if key not in config:
            yield prefix + key
        elif isinstance(value, dict) and isinstance(config[key], jsonargparse.Namespace):
            yield from missing_keys(value, config[key], f"{prefix}{key}.")


@contextmanager
def one_line_errors(parser: Any) -> Iterator[None]:
    """Raise a parser's errors as UserError.

    Raises:
        UserError: for an unknown key, a wrong type, a missing file, a class that rejects its arguments, or a module
            that ends the program when it is imported.
    """
    try:
        yield
    except (argparse.ArgumentError, ModuleNotFoundError, TypeError, ValueError) as error:
        cause = error.__cause__
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from error
            cause = cause.__cause__
        raise UserError(summarize(str(error), parser)) from error
    except ParserExit:
        raise
    except SystemExit as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"expected modules that can be imported; got one that ends the program ({frame.filename}, line "
            f"{frame.lineno}); correct the class path, or the module's code"
        ) from error


def summarize(message: str, parser: Any) -> str:
    """Summarise a parser's error message in one line."""
    if missing := MISSING_PACKAGE.search(message):
        name = missing[1] or missing[2]
        return (
            f"expected the package {name}, which is not installed; "
            f"run `uv pip install {name}`, remove the config that needs it, or correct the path"
        )
    if flag := FLAG_VALUE.match(message):
        return f"expected no value of {flag[1]}, which alone means true; got {flag[2]}; leave the value out"
    if unknown := UNKNOWN_KEY.search(message):
        key = unknown[1]
        hint = did_you_mean(key.split(".")[-1], known_names(message, parser))
        if owner := CLASS_PATH.search(message):
            return f"unknown key {key!r}{hint}: {owner[1]} has no such argument; remove it if it was another class's"
        return f"unknown key {key!r}{hint}; --help and --print_config list them"
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    types = [
        class_name or literals.replace("'", "") or text
        for class_name, literals, text in EXPECTED_TYPE.findall(message)
        if class_name != "NoneType" and not text.startswith("path")
    ]
    values = VALUE.findall(message)
    nested = NESTED_VALUE.search(values[-1]) if values else None
    got = one_line(nested[1] if nested else values[-1]) or "nothing" if values else ""
    got = named[1] if (named := NAMESPACE.match(got)) else got
    if types and got:
        return f"{key}: expected {' or '.join(dict.fromkeys(types))}; got {got}"
    if nested and WRONG_CLASS_PATH.search(message):
        return f"{key}: expected package.module.Name as class_path; got {got}"
    lines = [re.sub(r'^Parser key "[^"]+":\s*', "", line.strip(" -")) for line in message.splitlines()]
    rest = "; ".join(dict.fromkeys(line for line in lines if line and not CONTEXT_LINE.match(line)))
    if got and got not in rest:
        rest += f"; got {got}"
    return f"{key}: {rest}" if key and key != "config" else rest


def known_names(message: str, parser: Any) -> set[str]:
    """Collect the parser's keys, and the arguments of the classes that a message names."""
    names = {action.dest.split(".")[-1] for action in parser._actions}
    for path in re.findall(r"'([\w.]+\.\w+)'", message):
        try:
            function = import_path(path)
        except ImportError:
            continue
        with suppress(ValueError):  # some built-in functions have no signature
            names |= set(argument_names(function)) if callable(function) else set()
    return names


def argument_names(function: Callable[..., Any]) -> Iterator[str]:
    """Yield the names of a function's or class's arguments, and of the fields of those that are dataclasses."""
    for name, param in inspect.signature(function).parameters.items():
        yield name
        if dataclasses.is_dataclass(param.annotation):
            yield from (field.name for field in dataclasses.fields(param.annotation))
