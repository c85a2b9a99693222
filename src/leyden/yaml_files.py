"""The one YAML loader: for config files, for values on the command line, and for configs that stages wrote.

It follows YAML 1.2, where yes, no, on, off, dates and 007 are text, and 1e-3 is a number; keys are always text, so that
labels such as `no` or `1.0` keep their names. PyYAML's own loaders follow YAML 1.1, keep the last of two equal keys,
and expand aliases and recurse without limit.
"""

import re
import stat
from pathlib import Path
from typing import Any, ClassVar

import yaml

from leyden.errors import UserError, one_line

MAX_BYTES = 1_000_000
MAX_DEPTH = 100  # libyaml crashes at some tens of thousands
MAX_NODES = 100_000  # with every alias expanded
TAG = "tag:yaml.org,2002:"
STRING, MERGE = f"{TAG}str", f"{TAG}merge"
KNOWN_TAGS = {f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str", "merge", "seq", "map")}


class ConfigLoader(yaml.CSafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, Any]]]] = {}  # type: ignore[misc]


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    ConfigLoader.add_implicit_resolver(f"{TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), _first)


def load_yaml(text: str) -> Any:
    """Load one YAML document.

    Raises:
        yaml.YAMLError: if it is not valid, repeats a key, contains itself, is larger than a config can be, or holds
            values that are not plain.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"more than {MAX_BYTES:,} characters")
    try:
        return construct(text)
    except (ValueError, LookupError) as error:  # `!!int x`, a number of 5,000 digits, an argument that is not UTF-8
        raise yaml.YAMLError(f"a value that cannot be read: {one_line(error)}") from error


def construct(text: str) -> Any:
    check_depth(text)
    loader = ConfigLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        count_nodes(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def check_depth(text: str) -> None:
    """Raise YAMLError if lists and mappings are nested too deeply to be composed."""
    depth = 0
    for event in yaml.parse(text, Loader=ConfigLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_DEPTH} levels of lists or mappings")


def count_nodes(node: yaml.Node, counts: dict[yaml.Node, int]) -> int:
    """Count the nodes that a node expands to, and check the keys of its mappings; `counts` are those of earlier ones.

    Raises:
        yaml.YAMLError: if there are more than MAX_NODES, or if a value contains an alias of itself.
    """
    if node in counts:
        if not counts[node]:  # its own nodes are being counted
            raise yaml.YAMLError(f"an alias of a value that contains it, in line {node.start_mark.line + 1}")
        return counts[node]
    if node.tag not in KNOWN_TAGS:
        raise yaml.YAMLError(f"a value of the type {node.tag.replace(TAG, '!!')}, in line {node.start_mark.line + 1}")
    counts[node] = 0
    total = 1
    if isinstance(node, yaml.MappingNode):
        check_keys(node)
        total += sum(1 + count_nodes(value, counts) for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(count_nodes(value, counts) for value in node.value)
    if total > MAX_NODES:
        raise yaml.YAMLError(f"more than {MAX_NODES:,} values once its aliases are expanded")
    counts[node] = total
    return total


def check_keys(mapping: yaml.MappingNode) -> None:
    """Turn a mapping's keys into text, and raise YAMLError for a repeated key or one that is a list or mapping."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.YAMLError(f"a key that is not text, in line {line}")
        if key.value in lines:
            raise yaml.YAMLError(f"the key {key.value!r} twice, in lines {lines[key.value]} and {line}")
        lines[key.value] = line
        if key.tag != MERGE:
            key.tag = STRING


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        UserError: if it is missing, not a regular file, too large, not UTF-8, not valid YAML, or holds no settings.
    """
    text = read_text(path)
    try:
        settings = load_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"expected valid YAML in {path}; got: {describe(error, text)}; correct it") from error
    if not isinstance(settings, dict):
        got = "an empty file" if settings is None else "a list" if isinstance(settings, list) else "a single value"
        raise UserError(f"expected settings in {path}, as `key: value`; got {got}; write some, or leave the file out")
    return settings


def read_text(path: Path) -> str:
    """Read a text file that is small enough for settings."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a device or pipe"
            raise UserError(f"expected a config file; got {kind}: {path}; name a .yaml file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"expected a config file at {path}; got: {error.strerror}; correct the path or the file's permissions"
        ) from error
    if len(content) > MAX_BYTES:
        raise UserError(f"expected a config file of at most {MAX_BYTES // 10**6} MB; {path} is larger; name another")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"expected UTF-8 text in {path}; got other bytes in line {line}; save it as UTF-8") from error


def describe(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong with a document, and in which line, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    number = error.problem_mark.line
    line = (text.splitlines() or [""])[min(number, text.count("\n"), len(text.splitlines()) - 1)]
    hint = " (indent with spaces, not with tabs)" if "\t" in line[: len(line) - len(line.lstrip())] else ""
    return f"{str(error.problem).removeprefix('but ')}, in line {number + 1}{hint}"
