"""Programs of torch.export (.pt2) as data: their graph is read from its JSON, and run operator by operator.

`torch.export.load` unpickles members, evaluates expressions, resolves operators and weights as paths of attributes, and generates
source code that it runs: each is a way to code for whoever writes the file. Here a name is a key of a dictionary and nothing else.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leyden.errors import UserError
from leyden.runtimes.operators import LARGEST, find_operator

MODEL = "models/model.json"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
INPUTS = "data/sample_inputs/model.pt"
MEMBERS = re.compile(
    "|".join(map(re.escape, (MODEL, *PAYLOADS, INPUTS)))
    + r"|data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_format|archive_version|byteorder|\.data/\w+",
    re.ASCII,
)
SCHEMA_VERSION = 8  # of torch 2.11 to 2.13: torch/_export/serde/schema.py, which names the fields and numbers below
DTYPES = {
    **{1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 12: torch.bool},
    **{6: torch.float16, 7: torch.float32, 8: torch.float64, 13: torch.bfloat16},
}
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
STRIDED = 7
INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class NotDataError(Exception):
    """A program holds more than operators on tensors; the message says what."""


class Name(NamedTuple):
    """A value that an input or an earlier step produces."""

    name: str


class Step(NamedTuple):
    """One operator: its arguments, in which names stand for values, and the names of its outputs, None for one that nothing uses."""

    call: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[Any]
    is_single: bool
    last_used: set[str]


class Graph:
    """A graph of the program, or the branch of an operator."""

    def __init__(self, graph: dict[str, Any]) -> None:
        """Read the graph.

        Raises:
            NotDataError: if it holds more than operators on tensors.
        """
        self.inputs = [read_argument(each).name for each in graph["inputs"]]
        self.outputs = [read_argument(each) for each in graph["outputs"]]
        self.is_single = graph["is_single_tensor_return"] is True
        self.steps = [read_step(node) for node in graph["nodes"]]
        needed = set(names_in(self.outputs))
        for step in reversed(self.steps):  # so that a value's memory is freed after its last use
            used = {*names_in(step.args), *names_in(step.kwargs), *names_in(step.outputs)}
            step.last_used.update(used - needed)
            needed |= used

    def __call__(self, *values: Any) -> Any:
        """Map the values of the inputs to those of the outputs, a tuple unless there is but one."""
        known = dict(zip(self.inputs, values, strict=True))
        for step in self.steps:
            result = step.call(*filled(step.args, known), **filled(step.kwargs, known))
            bind(step.outputs, [result] if step.is_single else result, known)
            for name in step.last_used:
                known.pop(name, None)
        found = tuple(filled(self.outputs, known))
        return found[0] if self.is_single else found


def load_program(path: Path) -> Callable[..., Tensor]:
    """Read a program that maps tensors to one tensor.

    Raises:
        UserError: if it is more than operators on tensors, or was written by another version of torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = read_members(archive)
            model = json.loads(members[MODEL])
            weights = read_weights(members)
        if model["schema_version"]["major"] != SCHEMA_VERSION:
            raise NotDataError("it was written by another version of torch")
        graph, specs = Graph(model["graph_module"]["graph"]), model["graph_module"]["signature"]
        return bound(graph, [weights_name(each) for each in specs["input_specs"]], weights, specs["output_specs"])
    except NotDataError as error:
        reason = str(error)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        reason = f"it cannot be read ({' '.join(str(error).split())[:80]})"  # of what is not as torch writes it
    raise UserError(
        f"refused {path}: {reason}; only operators on tensors are run of a file that is not trusted; "
        "export the model anew, or add --trust (trust=True in Python) if you trust its source"
    )


def read_members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Read an archive's members by their names below its root; example inputs are checked, and not used."""
    root = archive.namelist()[0].partition("/")[0] + "/"
    members = {}
    for member in archive.namelist():
        name = member.removeprefix(root)
        if not member.startswith(root) or not MEMBERS.fullmatch(name):
            raise NotDataError(f"it has the member {member[:80]!r}")
        members[name] = archive.read(member)
    try:
        torch.load(io.BytesIO(members.pop(INPUTS)), weights_only=True)
    except Exception as error:  # torch's unpickler meets anything in foreign bytes
        raise NotDataError("its example inputs are a pickle of more than tensors") from error
    return members


def read_weights(members: dict[str, bytes]) -> dict[str, Tensor]:
    """Read weights and constants by the names that the program calls them."""
    found: dict[str, Tensor] = {}
    for config in PAYLOADS:
        for name, meta in json.loads(members[config])["config"].items():
            if meta["use_pickle"] is not False:
                raise NotDataError("it has pickled weights")
            content = members[config.rpartition("/")[0] + "/" + meta["path_name"]]
            found[name] = read_tensor(content, **meta["tensor_meta"])
    return found


def read_tensor(
    content: bytes,
    dtype: int,
    sizes: list[Any],
    strides: list[Any],
    storage_offset: Any,
    device: Any,
    layout: int,
    **_: Any,
) -> Tensor:
    """Read a tensor from its bytes; torch refuses sizes and strides that lie beyond them."""
    if device["type"] != "cpu" or layout != STRIDED:
        raise NotDataError("it has tensors that are not dense or not of a CPU")
    shape = [read_int(size["as_int"]) for size in sizes]
    flat = torch.frombuffer(bytearray(content), dtype=DTYPES[dtype]) if content else torch.empty(0, dtype=DTYPES[dtype])
    return flat.as_strided(shape, [read_int(each["as_int"]) for each in strides], read_int(storage_offset["as_int"]))


def weights_name(spec: dict[str, Any]) -> str | None:
    """Return which weights an input of the graph stands for; None for an input of the model."""
    ((kind, content),) = spec.items()
    if kind == "user_input":
        return None
    key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}.get(kind)
    if key is None:
        raise NotDataError(f"it has the input {kind[:80]!r}")
    return content[key]


def bound(
    graph: Graph, sources: Sequence[str | None], weights: dict[str, Tensor], outputs: list[dict[str, Any]]
) -> Callable[..., Tensor]:
    """Make a function of the model's inputs alone."""
    if [*map(list, outputs)] != [["user_output"]] or len(sources) != len(graph.inputs):
        raise NotDataError("it changes its weights, or has not one output")
    state = {number: weights[name] for number, name in enumerate(sources) if name is not None}

    def run(*inputs: Tensor) -> Tensor:
        given = iter(inputs)
        values = [state[number] if number in state else next(given) for number in range(len(sources))]
        return graph(*values)[0]

    return run


def read_step(node: dict[str, Any]) -> Step:
    arguments = [(each["name"], each["kind"], read_argument(each["arg"])) for each in node["inputs"]]
    args = [value for _, kind, value in arguments if kind == 1]
    kwargs = {name: value for name, kind, value in arguments if kind != 1}
    outputs = [read_argument(each) for each in node["outputs"]]
    target = read_text(node["target"])
    call = CONTROL.get(target) or find_operator(target)
    if call is None:
        raise NotDataError(f"it has the operator {target[:80]!r}")
    is_single = (
        len(outputs) == 1 and isinstance(outputs[0], Name) and node.get("is_hop_single_tensor_return") is not False
    )
    return Step(
        call,
        args,
        kwargs,
        outputs[0] if len(outputs) == 1 and isinstance(outputs[0], list) else outputs,
        is_single,
        set(),
    )


def read_argument(argument: dict[str, Any]) -> Any:
    """Read an argument: a constant, a name, a list of these, or a graph."""
    ((kind, value),) = argument.items()
    reader = READERS.get(kind)
    if reader is None:
        raise NotDataError(f"it has an argument of the kind {kind[:80]!r}")
    return reader(value)


def read_int(value: Any) -> int:
    if type(value) is not int or abs(value) > LARGEST:
        raise NotDataError(f"it has {str(value)[:80]!r} for a number")
    return value


def read_float(value: Any) -> float:
    return INFINITIES[value] if isinstance(value, str) else float(value)


def read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise NotDataError(f"it has {str(value)[:80]!r} for true or false")
    return value


def read_text(value: Any) -> str:
    if type(value) is not str:
        raise NotDataError(f"it has {str(value)[:80]!r} for a text")
    return value


def read_name(value: dict[str, Any]) -> Name:
    return Name(read_text(value["name"]))


def read_symbol(value: dict[str, Any]) -> Any:
    """Read a number that is known, or is computed from sizes."""
    ((kind, content),) = value.items()
    return Name(read_text(content)) if kind == "as_name" else READERS[kind](content)


def read_device(value: dict[str, Any]) -> torch.device:
    if value["type"] != "cpu":
        raise NotDataError(f"it has the device {str(value['type'])[:80]!r}")
    return torch.device("cpu")


def read_layout(value: int) -> torch.layout:
    if value != STRIDED:
        raise NotDataError("it has tensors that are not dense")
    return torch.strided


def list_of(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [reader(value) for value in values]


READERS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": read_name,
    "as_tensors": list_of(read_name),
    "as_optional_tensors": list_of(read_argument),
    "as_int": read_int,
    "as_ints": list_of(read_int),
    "as_float": read_float,
    "as_floats": list_of(read_float),
    "as_bool": read_bool,
    "as_bools": list_of(read_bool),
    "as_string": read_text,
    "as_sym_int": read_symbol,
    "as_sym_ints": list_of(read_symbol),
    "as_sym_float": read_symbol,
    "as_sym_bool": read_symbol,
    "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": MEMORY_FORMATS.__getitem__,
    "as_layout": read_layout,
    "as_device": read_device,
    "as_graph": lambda value: Graph(value["graph"]),
}


def names_in(argument: Any) -> Iterator[str]:
    if isinstance(argument, Name):
        yield argument.name
    elif isinstance(argument, list | dict):
        for part in argument.values() if isinstance(argument, dict) else argument:
            yield from names_in(part)


def filled(argument: Any, known: dict[str, Any]) -> Any:
    """Put values in the place of names."""
    if isinstance(argument, Name):
        return known[argument.name]
    if isinstance(argument, list):
        return [filled(part, known) for part in argument]
    return {key: filled(part, known) for key, part in argument.items()} if isinstance(argument, dict) else argument


def bind(outputs: list[Any], values: Sequence[Any], known: dict[str, Any]) -> None:
    """Store an operator's results under their names."""
    if not outputs:
        return
    for output, value in zip(outputs, values, strict=True):
        if isinstance(output, Name):
            known[output.name] = value
        elif isinstance(output, list):
            bind(output, value, known)


def choose(condition: Any, yes: Any, no: Any, operands: Sequence[Any] = ()) -> Any:
    """Run one of two graphs."""
    return check_graph(yes if bool(condition) else no)(*operands)


def scan(combine: Any, carried: Sequence[Tensor], rows: Sequence[Tensor], others: Sequence[Any] = ()) -> list[Tensor]:
    """Run a graph over the first dimension, each time with what it returned before; return the last of that, and the rest stacked."""
    results = []
    for number in range(len(rows[0])):
        found = check_graph(combine)(*carried, *(each[number] for each in rows), *others)
        carried, rest = found[: len(carried)], found[len(carried) :]
        results.append(rest)
    return [*carried, *(torch.stack(parts) for parts in zip(*results, strict=True))]


def check_graph(value: Any) -> Graph:
    if not isinstance(value, Graph):
        raise TypeError("expected a graph")
    return value


CONTROL = {"torch.ops.higher_order.cond": choose, "torch.ops.higher_order.scan": scan}
