"""Programs of torch.export (.pt2) run none of what torch would evaluate in them, and load without trust."""

import contextlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

import leyden
from leyden import UserError
from leyden.runtimes.program import INPUTS, MODEL, PAYLOADS
from tests.trust.tampering import Bomb, assert_refused, edit_json, rewrite

CALL = "__import__('pathlib').Path('ran').touch()"


def test_an_unknown_program_loads_without_trust(folder):
    assert leyden.load(folder / "model.pt2")(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)


@pytest.mark.parametrize("content", [pickle.dumps(Bomb(), protocol=2), "saved"], ids=["raw", "torch.save"])
def test_example_inputs_whose_pickle_runs_code_are_refused(folder, content):
    if content == "saved":
        torch.save((Bomb(),), "inputs.pt")
        content = Path("inputs.pt").read_bytes()
    evil = rewrite(folder / "model.pt2", Path("evil.pt2"), lambda name, old: content if name == INPUTS else old)
    assert_refused(evil, "refused evil.pt2: its example inputs are a pickle of more than tensors")


@pytest.mark.parametrize("value", [True, "x", 1])
def test_pickled_weights_are_refused(folder, value):
    def change(config):
        next(iter(config["config"].values()))["use_pickle"] = value

    assert_refused(
        edit_json(folder / "model.pt2", Path("evil.pt2"), PAYLOADS[0], change),
        "refused evil.pt2: it has pickled weights",
    )


@pytest.mark.parametrize("name", ["custom_obj_0", "opaque_obj_0", "../x", "model_weights_config.json"])
def test_weights_that_are_not_tensors_are_refused(folder, name):
    def change(config):
        next(iter(config["config"].values()))["path_name"] = name

    assert_refused(
        edit_json(folder / "model.pt2", Path("evil.pt2"), PAYLOADS[0], change), "refused evil.pt2: it cannot be read"
    )


def update_node(program: dict, **changes: object) -> None:
    program["graph_module"]["graph"]["nodes"][0].update(changes)


def spec(kind: str, context: object) -> str:
    return json.dumps([1, {"type": kind, "context": json.dumps(context), "children_spec": []}])


def signature(program: dict) -> dict:
    return program["graph_module"]["module_call_graph"][0]["signature"]


def set_size(program: dict, text: str) -> None:
    program["graph_module"]["graph"]["sym_int_values"]["s0"] = {"as_expr": {"expr_str": text, "hint": None}}


# What torch would evaluate, but Leyden does not read.
IGNORED = {
    "line break in a size": lambda program: set_size(program, f"Symbol('a\\\n' # ' , {CALL}\n)"),
    "line break in a guard": lambda program: program.update(
        guards_code=[f"1 == 1 or L['\\\n' # ' \"' , {CALL}, ''\"\n] == 1"]
    ),
    "size that takes forever to evaluate": lambda program: set_size(
        program, "Pow(Integer(9), Pow(Integer(9), Integer(9)))"
    ),
    "number that takes forever to evaluate": lambda program: set_size(program, "9**9**9"),
    "symbol named by a string": lambda program: set_size(program, "Symbol('exec')"),
    "function of a string": lambda program: set_size(program, "Integer('1')"),
    "call of a call": lambda program: set_size(program, "Symbol('s0')()"),
    "comprehension": lambda program: set_size(program, "[Integer(1) for s0 in Integer(1)]"),
    "symbol with a huge number": lambda program: program["range_constraints"].update(
        u99999999999={"min_val": 1, "max_val": 2}
    ),
    "number beyond 64 bits": lambda program: program["range_constraints"].update(
        s0={"min_val": 10**30, "max_val": None}
    ),
    "unknown field": lambda program: update_node(program, code=CALL),
    "guard": lambda program: program.update(guards_code=[CALL]),
    "guard in a name": lambda program: program.update(guards_code=["L['x\" + exec(1) + \"'].size()[0] == 1"]),
    "size": lambda program: set_size(program, CALL),
    "hidden size": lambda program: set_size(program, f"Symbol({CALL})"),
    "name of a node": lambda program: update_node(program, name=f"x = {CALL} #"),
    "name of a value": lambda program: program["graph_module"]["graph"]["tensor_values"].update({f"x = {CALL} #": {}}),
    "class of inputs": lambda program: signature(program).update(
        in_spec=spec("collections.defaultdict", {"default_factory_module": "antigravity"})
    ),
    "enumeration of inputs": lambda program: signature(program).update(
        in_spec=spec("builtins.dict", [{"__enum__": True, "fqn": "antigravity:x", "name": "y"}])
    ),
    "name of an input": lambda program: signature(program).update(
        in_spec=spec("builtins.dict", [f"'] + {CALL} + L['"])
    ),
    "metadata of a node": lambda program: update_node(program, metadata={"source_fn_stack": "x,torch.os.system"}),
    "verifier": lambda program: program.update(verifiers=["antigravity"]),
}


@pytest.mark.parametrize("forgery", IGNORED)
def test_what_torch_would_evaluate_in_a_program_is_not_read(folder, forgery):
    evil = edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, IGNORED[forgery])
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(leyden.load(evil)(images), leyden.load(folder / "model.pt2")(images))
    assert not Path("ran").exists()


REFUSED = {
    "string instead of a number": lambda program: program["schema_version"].update(major="8"),
    "number instead of a string": lambda program: update_node(program, target=1),
    "two values in one argument": lambda program: first_inputs(program)[0]["arg"].update(as_int=1),
    "operator that trusts its arguments": lambda program: update_node(
        program, target="torch.ops.aten.segment_reduce.default"
    ),
    "operator that changes torch": lambda program: update_node(program, target="torch.ops.aten.manual_seed.default"),
    "operator that prints": lambda program: update_node(program, target="torch.ops.aten._print.default"),
    "operator that writes to a tensor of any size": lambda program: update_node(
        program, target="torch.ops.aten.add.out"
    ),
    "operator of a package": lambda program: update_node(program, target="torch.ops.torchvision.nms.default"),
    "attribute of torch": lambda program: update_node(program, target="torch.os.system"),
    "method of torch": lambda program: update_node(program, target="torch.hub.load"),
    "operator that calls": lambda program: update_node(program, target="_operator.methodcaller"),
    "operator that writes a file": lambda program: update_node(program, target="torch.ops.aten.from_file.default"),
    "operator of the JIT that writes a file": lambda program: update_node(
        program, target="torch.ops.aten.save.default"
    ),
    "attribute that is not an operator": lambda program: update_node(program, target="torch.ops.aten.__class__.mro"),
    "operator as an argument": lambda program: add_argument(program, as_operator="torch.os.system"),
    "string as an input": lambda program: program["graph_module"]["signature"]["input_specs"].append(
        {"constant_input": {"name": "x", "value": {"as_string": f"' + {CALL} + '"}}}
    ),
    "custom object": lambda program: add_argument(program, as_custom_obj={"name": "x", "class_fqn": "__torch__.x y"}),
    "weights that do not exist": lambda program: weights_of(program).update(
        parameter_name="network.forward.__globals__"
    ),
    "operator that calls its argument": lambda program: update_node(program, target="torch.ops.higher_order.map_impl"),
    "dictionary of arguments": lambda program: add_argument(program, as_string_to_argument={}),
    "unknown device": lambda program: add_argument(program, as_device={"type": "hpu", "index": None}),
    "weights changed by the program": lambda program: program["graph_module"]["signature"]["output_specs"].append(
        {"buffer_mutation": {}}
    ),
    "unsupported version": lambda program: program["schema_version"].update(major=9),
    "recursion": lambda program: update_node(program, target=nested(500)),
}


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "x"


def first_inputs(program: dict) -> list:
    return program["graph_module"]["graph"]["nodes"][0]["inputs"]


def add_argument(program: dict, **arg: object) -> None:
    first_inputs(program).append({"name": "", "arg": arg, "kind": 1})


def weights_of(program: dict) -> dict:
    return program["graph_module"]["signature"]["input_specs"][0]["parameter"]


@pytest.mark.parametrize("forgery", REFUSED)
def test_a_program_with_more_than_tensor_operators_is_refused(folder, forgery):
    assert_refused(edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, REFUSED[forgery]), "refused evil.pt2: it ")


def test_an_invalid_argument_of_an_operator_is_one_error_line(folder, error_of):
    """The branches of `cond` are read from the file, and checked only when they are called."""
    cond = {"target": "torch.ops.higher_order.cond", "inputs": [{"name": "", "arg": {"as_bool": True}, "kind": 1}] * 3}
    edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, lambda program: update_node(program, **cond))
    Image.new("L", (8, 8)).save("image.png")
    assert "expected a model that runs on these examples; it failed (expected a graph)" in error_of(
        "predict", "evil.pt2", "image.png"
    )


@pytest.mark.parametrize(
    "name", ["data/weights/model.pt", "models/other.json", "code/x.py", "data/constants/custom_obj_0", "extra/a/b"]
)
def test_members_that_export_does_not_write_are_refused(folder, name):
    assert_refused(
        rewrite(folder / "model.pt2", Path("evil.pt2"), lambda _, old: old, {name: b"{}"}),
        "refused evil.pt2: it has the member",
    )


def test_a_trusted_program_may_run_code(folder):
    torch.save((Bomb(),), "inputs.pt")
    evil = rewrite(
        folder / "model.pt2",
        Path("evil.pt2"),
        lambda name, old: Path("inputs.pt").read_bytes() if name == INPUTS else old,
    )
    with contextlib.suppress(UserError):  # torch fails while it formats its own log message
        leyden.load(evil, trust=True)
    assert Path("ran").exists()
