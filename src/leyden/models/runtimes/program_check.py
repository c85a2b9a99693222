"""torch.export's .pt2 files, checked before torch reads them.

`torch.export.load` unpickles members, evaluates expressions of sizes and of guards as Python, resolves operators as attributes of torch
(`torch.os.system` is one), and writes names into the source code that it runs. So only what `leyden export` writes is let through:
tensors, operators on tensors, plain names, and expressions of integers.
"""

import ast
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from leyden.errors import UserError

MODEL = "models/model.json"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
INPUTS = "data/sample_inputs/model.pt"
MEMBERS = re.compile(
    "|".join(map(re.escape, (MODEL, *PAYLOADS, INPUTS)))
    + r"|data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_format|archive_version|byteorder|\.data/\w+",
    re.ASCII,
)
NAME = re.compile(r"(?!__)\w*", re.ASCII)
DOTTED = re.compile(r"(?!__)[\w-]*(\.(?!__)[\w-]+)*", re.ASCII)
TEXTS = {  # keys of texts that are no plain names
    "fqn": DOTTED,
    "parameter_name": DOTTED,
    "buffer_name": DOTTED,
    "tensor_constant_name": DOTTED,
    "path_name": re.compile(r"(weight|tensor)_\d+", re.ASCII),
    "torch_version": re.compile(r"[\w.+]*", re.ASCII),
}
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchao|leyden)\.[a-zA-Z_]\w*\.[a-zA-Z]\w*"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl)"
    r"|_operator\.(abs|add|and_|eq|floordiv|ge|getitem|gt|index|inv|invert|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv|xor)"
    r"|math\.(ceil|floor|trunc|sqrt|pow|log2)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)",
    re.ASCII,
)
FUNCTIONS = re.compile(
    "L|Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|And|Or|Not|Eq|Ne|Equality|Unequality|LessThan|StrictLessThan|GreaterThan|"
    "StrictGreaterThan|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|ModularIndexing|PythonMod|PowByNatural|CeilToInt|FloorToInt|ToFloat|Identity|true|false"
)
METHODS = frozenset(("size", "stride", "storage_offset"))
SYNTAX = (
    ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Attribute,
    ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop,
)  # fmt: skip


class NotDataError(Exception):
    """What in a program is more than data."""


def checked_program(path: Path) -> io.BytesIO:
    """Copy what was checked into a new archive, so that torch sees nothing else.

    Raises:
        UserError: if the file holds anything but a program on tensors.
    """
    written = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
            root = source.namelist()[0].partition("/")[0]
            for member in source.namelist():
                name = member.removeprefix(f"{root}/")  # of another root, it matches no member below
                target.writestr(f"model/{name}", checked_member(name, source.read(member)))
    except NotDataError as error:
        raise UserError(
            f"refused {path}: {error}, which `leyden export` does not write and which could run code; "
            "export the model anew, or add --trust (trust=True in Python) if you trust its source"
        ) from error
    written.seek(0)
    return written


def checked_member(name: str, content: bytes) -> bytes:
    """Return a member's content as torch is to see it."""
    if not MEMBERS.fullmatch(name):
        raise NotDataError(f"it has the member {name[:80]!r}")
    if name == INPUTS and content:
        check_pickle(content)
    if name not in (MODEL, *PAYLOADS):
        return content
    try:
        found = json.loads(content)
        check(found)
    except (ValueError, RecursionError) as error:
        raise NotDataError(f"its {name} cannot be read") from error
    return json.dumps(found).encode()


def check_pickle(content: bytes) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # torch's unpickler meets anything in foreign bytes; `torch.export.load` would then run them
        raise NotDataError("its example inputs are a pickle of more than tensors") from error


def check(value: Any, key: str = "") -> None:
    """Check a part of the program's JSON by the key that it stands under; remarks for people are taken out."""
    if isinstance(value, dict):
        if "metadata" in value:  # where each node came from: nothing that is run
            value["metadata"] = {}
        for name, part in value.items():
            matches(DOTTED, name, "the name")
            check(part, name)
    elif isinstance(value, list):
        for part in value:
            check(part, key)
    elif isinstance(value, str):
        check_text(value, key)
    elif key == "use_pickle" and value:
        raise NotDataError("it has pickled tensors")


def check_text(value: str, key: str) -> None:
    if key in ("target", "as_operator"):
        matches(OPERATORS, value, "the operator")
        check_schema(value)
    elif key in ("expr_str", "guards_code"):
        check_expression(value)
    elif key in ("in_spec", "out_spec"):
        check_tree(json.loads(value))
    else:
        matches(TEXTS.get(key, NAME), value, f"the {key}")


def matches(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.fullmatch(value):
        raise NotDataError(f"it has {what} {value[:80]!r}")


def check_schema(name: str) -> None:
    """Refuse operators that read or write files."""
    if not name.startswith("torch.ops.") or name.startswith("torch.ops.higher_order."):
        return
    _, _, namespace, packet, overload = name.split(".")
    operator = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload, None)
    if not isinstance(operator, torch._ops.OpOverload):
        raise NotDataError(f"it has the operator {name[:80]!r}, which is not known here")
    if any(argument.name in ("filename", "path") for argument in operator._schema.arguments):
        raise NotDataError(f"it has the operator {name[:80]!r}")


def check_expression(text: str) -> None:
    """Check an expression of sizes: `Mul(Integer(4), Symbol('s0'))`, or a guard, `L['values'].size()[0] == L['lengths'].size()[0]`."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotDataError(f"it has the expression {text[:80]!r}") from error
    for node in nodes:
        is_right = isinstance(node, SYNTAX)
        if isinstance(node, ast.Name):
            is_right = bool(FUNCTIONS.fullmatch(node.id))
        elif isinstance(node, ast.Attribute):
            is_right = node.attr in METHODS
        elif isinstance(node, ast.Constant):
            is_right = isinstance(node.value, int) or (isinstance(node.value, str) and bool(NAME.fullmatch(node.value)))
        if not is_right:
            raise NotDataError(f"it has the expression {text[:80]!r}")


def check_tree(spec: Any) -> None:
    """Check how inputs are nested, in tuples, lists and dicts: torch would import the class of any other."""
    version, *trees = spec
    if type(version) is not int:
        raise NotDataError("it has inputs that are nested in an unknown way")
    for tree in trees:
        context = json.loads(tree["context"]) if tree["context"] is not None else None
        names = context if isinstance(context, list) else []
        if tree["type"] not in (None, "builtins.tuple", "builtins.list", "builtins.dict") or context not in (None, names):
            raise NotDataError(f"it has inputs in {str(tree['type'])[:80]!r}")
        for name in names:
            matches(NAME, name if isinstance(name, str) else "?", "the input")
        check_tree([version, *tree["children_spec"]])
