"""torch.export's .pt2 files, checked before torch reads them.

`torch.export.load` unpickles members, evaluates expressions of sizes and of guards as Python, resolves operators as attributes of
torch (`torch.os.system` is one), and writes names into source code that it runs. So a file is copied as torch's own schema describes
it, value by value, and torch reads the copy.
"""

import dataclasses
import enum
import functools
import io
import json
import re
import types
import typing
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch._export.serde import schema
from torch._export.serde.union import _Union

from leyden.errors import UserError
from leyden.models.runtimes.program_text import LARGEST, NotDataError, checked_expression, checked_tree, matches, operator_name

MODEL = "models/model.json"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
INPUTS = "data/sample_inputs/model.pt"
MEMBERS = re.compile(
    "|".join(map(re.escape, (MODEL, *PAYLOADS, INPUTS)))
    + r"|data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_format|archive_version|byteorder|\.data/\w+",
    re.ASCII,
)
NAME = re.compile(r"(?!__)\w*", re.ASCII)  # it becomes a variable in the source code that torch generates
DOTTED = re.compile(r"(?!__)[\w-]*(\.(?!__)[\w-]+)*", re.ASCII)
TEXTS = {  # where a text, or the keys of a dictionary, are no plain names
    "ModuleCallEntry.fqn": DOTTED,
    "InputToParameterSpec.parameter_name": DOTTED,
    "InputToBufferSpec.buffer_name": DOTTED,
    "InputToTensorConstantSpec.tensor_constant_name": DOTTED,
    "BufferMutationSpec.buffer_name": DOTTED,
    "PayloadConfig.config": DOTTED,
    "PayloadMeta.path_name": re.compile(r"(weight|tensor)_\d+", re.ASCII),
    "ExportedProgram.torch_version": re.compile(r"[\w.+]*", re.ASCII),
    "ExportedProgram.range_constraints": re.compile(r"[a-z]{1,3}\d{1,6}", re.ASCII),
    "Argument.as_string": re.compile(r"[\w ,.>-]*", re.ASCII),  # torch writes it with its quotes and escapes
}
REWRITTEN = {
    "Node.target": operator_name,
    "Argument.as_operator": operator_name,
    "SymExpr.expr_str": checked_expression,
    "ExportedProgram.guards_code": checked_expression,
    "ModuleCallSignature.in_spec": checked_tree,
    "ModuleCallSignature.out_spec": checked_tree,
}
REMARKS = ("Node.metadata", "GraphModule.metadata")  # where a node came from: left out, since nothing runs it
OBJECTS = ("Argument.as_custom_obj", "InputSpec.custom_obj")


def checked_program(path: Path) -> io.BytesIO:
    """Copy a program to a new archive, which holds nothing that was not checked.

    Raises:
        UserError: if the file holds anything but a program on tensors.
    """
    written = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as target:
            root = source.namelist()[0].partition("/")[0]
            for member in source.namelist():
                name = member.removeprefix(f"{root}/")  # of another root, it matches no member below
                matches(MEMBERS, name, "the member")
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
    if name == INPUTS:
        return checked_inputs(content)
    if name not in (MODEL, *PAYLOADS):
        return content
    try:
        kind = schema.ExportedProgram if name == MODEL else schema.PayloadConfig
        return json.dumps(checked(kind, json.loads(content), name)).encode()
    except (ValueError, RecursionError) as error:
        raise NotDataError(f"its {name} cannot be read") from error


def checked_inputs(content: bytes) -> bytes:
    """Unpickle the example inputs, and pickle anew what they may be: tensors, in order and by name."""
    if not content:
        return content
    try:
        args, kwargs = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # torch's unpickler meets anything in foreign bytes, all of which `torch.export.load` would then run
        raise NotDataError("its example inputs are a pickle of more than tensors") from error
    is_plain = type(args) is tuple and type(kwargs) is dict and all(isinstance(key, str) for key in kwargs)
    if not is_plain or any(type(value) is not torch.Tensor for value in (*args, *kwargs.values())):
        raise NotDataError("its example inputs are more than tensors")
    for key in kwargs:
        matches(NAME, key, "the input")
    written = io.BytesIO()
    torch.save((args, kwargs), written)
    return written.getvalue()


def checked(kind: Any, value: Any, place: str) -> Any:
    """Copy a value of the program's JSON.

    Args:
        kind: Its type in torch's schema.
        value: The value.
        place: Class and field that it stands in.

    Raises:
        NotDataError: if it is of another type, or could be more than data.
    """
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return None if value is None else checked(typing.get_args(kind)[0], value, place)
    if typing.get_origin(kind) is list:
        return [checked(typing.get_args(kind)[0], part, place) for part in of_type(value, list, place)]
    if typing.get_origin(kind) is dict:
        parts = {} if place in REMARKS else of_type(value, dict, place)
        return {matches(TEXTS.get(place, NAME), key, "the name"): checked(typing.get_args(kind)[1], part, place) for key, part in parts.items()}
    if dataclasses.is_dataclass(kind):
        return checked_fields(kind, of_type(value, dict, place))
    return checked_value(kind, value, place)


def checked_fields(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    hints = types_of(kind)
    if fields.keys() - hints or (issubclass(kind, _Union) and len(fields) != 1):
        raise NotDataError(f"it has a {kind.__name__} of {', '.join(fields)[:80]}")
    return {name: checked(hints[name], part, f"{kind.__name__}.{name}") for name, part in fields.items()}


@functools.cache
def types_of(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, vars(schema))


def checked_value(kind: Any, value: Any, place: str) -> Any:
    if place in OBJECTS or (place == "PayloadMeta.use_pickle" and value is not False):
        raise NotDataError("it has pickled objects")
    if kind is str:
        text = of_type(value, str, place)
        return REWRITTEN[place](text) if place in REWRITTEN else matches(TEXTS.get(place, NAME), text, f"the {place}")
    if kind is float:
        return value if value in ("Infinity", "-Infinity", "NaN") else of_type(value, float, place)
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        return int(kind(of_type(value, int, place)))
    if kind is int and abs(of_type(value, int, place)) > LARGEST:
        raise NotDataError(f"it has a number beyond 64 bits in {place}")
    return of_type(value, kind, place)


def of_type(value: Any, kind: type, place: str) -> Any:
    if type(value) is not kind:
        raise NotDataError(f"it has {repr(value)[:80]} for a {kind.__name__} in {place}")
    return value
