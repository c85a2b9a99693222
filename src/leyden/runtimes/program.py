"""Programs of torch.export (.pt2) as data: the graph is read from its JSON, and run operator by operator.

`torch.export.load` unpickles members, evaluates expressions, resolves operators and weights as attribute paths, and
generates source code that it runs: each lets the author of a file run code. Here, a name is a key of a dictionary and
nothing else.
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from leyden.errors import UserError, one_line
from leyden.runtimes.operators import MAX_INT64, find_operator
from leyden.trust.archives import check_archive

MODEL = "models/model.json"
PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
INPUTS = "data/sample_inputs/model.pt"
MEMBERS = re.compile(
    "|".join(map(re.escape, (MODEL, *PAYLOADS, INPUTS)))
    + r"|data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_format|archive_version|byteorder"
    r"|\.data/\w+",
    re.ASCII,
)
SCHEMA_VERSION = 8  # of torch 2.11 to 2.13; torch/_export/serde/schema.py defines the fields and numbers below
DTYPES = {
    **{1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 12: torch.bool},
    **{6: torch.float16, 7: torch.float32, 8: torch.float64, 13: torch.bfloat16},
}
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
STRIDED = 7
INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class NotDataError(Exception):
    """A program holds more than operators on tensors; the message describes what."""


class ValueName(NamedTuple):
    """A reference to a value that an input or an earlier step produces."""

    name: str


class Step(NamedTuple):
    """A call of one operator; in its arguments, a `ValueName` stands for a value."""

    call: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[Any]  # names; None for an output that is not used
    is_single: bool  # whether the operator returns one value instead of a sequence
    last_used: set[str]  # names of the values that no later step uses


class Graph:
    """The graph of a program, or of a branch or loop body within it."""

    def __init__(self, graph: dict[str, Any]) -> None:
        """Read the graph.

        Raises:
            NotDataError: if it holds more than operators on tensors.
        """
        self.inputs = [read_argument(each).name for each in graph["inputs"]]
        self.outputs = [read_argument(each) for each in graph["outputs"]]
        self.is_single = graph["is_single_tensor_return"] is True
        self.steps = [read_step(node) for node in graph["nodes"]]
        needed = find_names(self.outputs)
        for step in reversed(self.steps):  # so that a value's memory is freed after its last use
            used = find_names([step.args, step.kwargs, step.outputs])
            step.last_used.update(used - needed)
            needed |= used

    def __call__(self, *inputs: Any) -> Any:
        """Map the values of the inputs to those of the outputs, a tuple unless there is only one."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            result = step.call(*resolve(step.args, values), **resolve(step.kwargs, values))
            store_outputs(step.outputs, [result] if step.is_single else result, values)
            for name in step.last_used:
                values.pop(name, None)
        outputs = tuple(resolve(self.outputs, values))
        return outputs[0] if self.is_single else outputs


def load_program(path: Path) -> Callable[..., Tensor]:
    """Read a program that maps tensors to one tensor.

    Raises:
        UserError: if it holds more than operators on tensors, or was written by a different version of torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = read_members(archive, path)
            model = json.loads(members[MODEL])
            weights = read_weights(members)
        if model["schema_version"]["major"] != SCHEMA_VERSION:
            raise NotDataError("it was written by a different version of torch")
        graph, signature = Graph(model["graph_module"]["graph"]), model["graph_module"]["signature"]
        weight_names = [find_weight_name(each) for each in signature["input_specs"]]
        return bind_weights(graph, weight_names, weights, signature["output_specs"])
    except NotDataError as error:
        reason = str(error)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        reason = f"it cannot be read ({one_line(error)})"  # it is not as torch writes it
    raise UserError(
        f"refused {path}: {reason}; a file that is not trusted may only hold operators on tensors; "
        "export the model again, or add --trust (trust=True in Python) if you trust its source"
    )


def read_members(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """Read an archive's members by their names relative to its root; example inputs are checked, but not used."""
    root = archive.namelist()[0].partition("/")[0] + "/"
    members = {}
    for member in archive.namelist():
        name = member.removeprefix(root)
        if not member.startswith(root) or not MEMBERS.fullmatch(name):
            raise NotDataError(f"it has the member {member[:80]!r}")
        members[name] = archive.read(member)
    try:
        inputs = members.pop(INPUTS)
        check_archive(path, io.BytesIO(inputs))
        torch.load(io.BytesIO(inputs), weights_only=True)
    except Exception as error:  # torch's unpickler raises almost any exception on foreign bytes
        raise NotDataError("its example inputs are a pickle of more than tensors") from error
    return members


def read_weights(members: dict[str, bytes]) -> dict[str, Tensor]:
    """Read weights and constants by their names in the program."""
    weights: dict[str, Tensor] = {}
    for config in PAYLOADS:
        for name, meta in json.loads(members[config])["config"].items():
            if meta["use_pickle"] is not False:
                raise NotDataError("it has pickled weights")
            content = members[config.rpartition("/")[0] + "/" + meta["path_name"]]
            weights[name] = read_tensor(content, **meta["tensor_meta"])
    return weights


def read_tensor(
    content: bytes, dtype: int, sizes: Any, strides: Any, storage_offset: Any, device: Any, layout: int, **_: Any
) -> Tensor:
    """Read a tensor from its bytes; torch refuses sizes and strides that exceed them."""
    if device["type"] != "cpu" or layout != STRIDED:
        raise NotDataError("it has tensors that are not dense or not on the CPU")
    shape = [read_int(size["as_int"]) for size in sizes]
    flat = torch.frombuffer(bytearray(content), dtype=DTYPES[dtype]) if content else torch.empty(0, dtype=DTYPES[dtype])
    return flat.as_strided(shape, [read_int(each["as_int"]) for each in strides], read_int(storage_offset["as_int"]))


def find_weight_name(spec: dict[str, Any]) -> str | None:
    """Return the name of the weights that an input of the graph stands for; None for an input of the model."""
    ((kind, content),) = spec.items()
    if kind == "user_input":
        return None
    key = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}.get(kind)
    if key is None:
        raise NotDataError(f"it has the input {kind[:80]!r}")
    return content[key]


def bind_weights(
    graph: Graph, weight_names: Sequence[str | None], weights: dict[str, Tensor], outputs: list[dict[str, Any]]
) -> Callable[..., Tensor]:
    """Return a function of the model's inputs only, with the weights bound to the graph's other inputs."""
    if [*map(list, outputs)] != [["user_output"]] or len(weight_names) != len(graph.inputs):
        raise NotDataError("it changes its weights, or does not have exactly one output")
    bound = {number: weights[name] for number, name in enumerate(weight_names) if name is not None}

    def run(*inputs: Tensor) -> Tensor:
        remaining = iter(inputs)
        values = [bound[number] if number in bound else next(remaining) for number in range(len(weight_names))]
        return graph(*values)[0]

    return run


def read_step(node: dict[str, Any]) -> Step:
    arguments = [(each["name"], each["kind"], read_argument(each["arg"])) for each in node["inputs"]]
    args = [value for _, kind, value in arguments if kind == 1]
    kwargs = {name: value for name, kind, value in arguments if kind != 1}
    outputs = [read_argument(each) for each in node["outputs"]]
    target = read_string(node["target"])
    call = CONTROL_FLOW.get(target) or find_operator(target)
    if call is None:
        raise NotDataError(f"it has the operator {target[:80]!r}")
    returns_list = len(outputs) == 1 and isinstance(outputs[0], list)
    is_single = (
        len(outputs) == 1 and isinstance(outputs[0], ValueName) and node.get("is_hop_single_tensor_return") is not False
    )
    return Step(call, args, kwargs, outputs[0] if returns_list else outputs, is_single, set())


def read_argument(argument: dict[str, Any]) -> Any:
    """Read an argument: a constant, the name of a value, a list of these, or a graph."""
    ((kind, value),) = argument.items()
    if kind not in READERS:
        raise NotDataError(f"it has an argument of kind {kind[:80]!r}")
    return READERS[kind](value)


def constant_reader(kind: type[Any], description: str) -> Callable[[Any], Any]:
    """Return a function that checks the type of a constant from the file, and returns the constant."""

    def read(value: Any) -> Any:
        if type(value) is not kind or (kind is int and abs(value) > MAX_INT64):
            raise NotDataError(f"it has {str(value)[:80]!r} instead of {description}")
        return value

    return read


read_int = constant_reader(int, "a number")
read_bool = constant_reader(bool, "true or false")
read_string = constant_reader(str, "a string")


def read_float(value: Any) -> float:
    return INFINITIES[value] if isinstance(value, str) else float(value)


def read_name(value: dict[str, Any]) -> ValueName:
    return ValueName(read_string(value["name"]))


def read_symbol(value: dict[str, Any]) -> Any:
    """Read a number that is constant, or the name of one that is computed from sizes."""
    ((kind, content),) = value.items()
    return ValueName(read_string(content)) if kind == "as_name" else READERS[kind](content)


def read_device(value: dict[str, Any]) -> torch.device:
    if value["type"] != "cpu":
        raise NotDataError(f"it has the device {str(value['type'])[:80]!r}")
    return torch.device("cpu")


def read_layout(value: int) -> torch.layout:
    if value != STRIDED:
        raise NotDataError("it has tensors that are not dense")
    return torch.strided


def list_reader(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [reader(value) for value in values]


READERS: dict[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": read_name,
    "as_tensors": list_reader(read_name),
    "as_optional_tensors": list_reader(read_argument),
    "as_int": read_int,
    "as_ints": list_reader(read_int),
    "as_float": read_float,
    "as_floats": list_reader(read_float),
    "as_bool": read_bool,
    "as_bools": list_reader(read_bool),
    "as_string": read_string,
    "as_sym_int": read_symbol,
    "as_sym_ints": list_reader(read_symbol),
    "as_sym_float": read_symbol,
    "as_sym_bool": read_symbol,
    "as_scalar_type": DTYPES.__getitem__,
    "as_memory_format": MEMORY_FORMATS.__getitem__,
    "as_layout": read_layout,
    "as_device": read_device,
    "as_graph": lambda value: Graph(value["graph"]),
}


def find_names(argument: Any) -> set[str]:
    leaves = tree_leaves(argument, is_leaf=lambda part: isinstance(part, ValueName))
    return {leaf.name for leaf in leaves if isinstance(leaf, ValueName)}


def resolve(argument: Any, values: dict[str, Any]) -> Any:
    """Replace names by their values."""
    if isinstance(argument, ValueName):
        return values[argument.name]
    if isinstance(argument, list):
        return [resolve(part, values) for part in argument]
    return {key: resolve(part, values) for key, part in argument.items()} if isinstance(argument, dict) else argument


def store_outputs(outputs: list[Any], results: Sequence[Any], values: dict[str, Any]) -> None:
    if not outputs:
        return
    for output, result in zip(outputs, results, strict=True):
        if isinstance(output, ValueName):
            values[output.name] = result
        elif isinstance(output, list):
            store_outputs(output, result, values)


def run_cond(condition: Any, if_true: Any, if_false: Any, operands: Sequence[Any] = ()) -> Any:
    """Run one of two graphs, as torch.cond does."""
    return check_graph(if_true if bool(condition) else if_false)(*operands)


def run_scan(
    combine: Any, carried: Sequence[Tensor], steps: Sequence[Tensor], constants: Sequence[Any] = ()
) -> list[Tensor]:
    """Run a graph along the first dimension of `steps`, as torch's scan does.

    Returns:
        The last of the values carried from step to step, followed by the stacked outputs of all steps.
    """
    outputs = []
    for number in range(len(steps[0])):
        results = check_graph(combine)(*carried, *(each[number] for each in steps), *constants)
        outputs.append(results[len(carried) :])
        carried = results[: len(carried)]
    return [*carried, *(torch.stack(each) for each in zip(*outputs, strict=True))]


def check_graph(value: Any) -> Graph:
    if not isinstance(value, Graph):
        raise TypeError("expected a graph")
    return value


CONTROL_FLOW = {"torch.ops.higher_order.cond": run_cond, "torch.ops.higher_order.scan": run_scan}
