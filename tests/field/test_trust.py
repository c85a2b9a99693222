"""A model file runs no code that the user did not trust, and a trusted one loads."""

import contextlib
import json
import pickle
import shutil
import socket
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.checkpoint import load_checkpoint
from leyden.runtimes import RUNTIMES
from leyden.runtimes.program import INPUTS, MODEL, PAYLOADS
from leyden.stages.export import describe
from tests.conftest import REPO
from tests.field.hostile import Bomb, edit_checkpoint, edit_json, flip_bit, rewrite

CKPT = Path("artifacts/train/model.ckpt")
CALL = "__import__('pathlib').Path('ran').touch()"


@pytest.fixture
def folder(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder; of the model files beside it, it has no record."""
    shutil.copytree(files, tmp_path / "given")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "given"


def refuse(path: Path, match: str, trust: bool = False) -> None:
    """Load a file, which must be refused before it runs anything."""
    with pytest.raises(UserError, match=match):
        leyden.load(path, trust=trust)
    assert not Path("ran").exists()


# --- programs of torch.export


def test_a_program_of_anothers_loads_without_trust(folder):
    assert leyden.load(folder / "model.pt2")(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)


@pytest.mark.parametrize("content", [pickle.dumps(Bomb(), protocol=2), "saved"], ids=["raw", "torch.save"])
def test_example_inputs_that_are_a_pickle_of_code_are_refused(folder, content):
    if content == "saved":
        torch.save((Bomb(),), "inputs.pt")
        content = Path("inputs.pt").read_bytes()
    evil = rewrite(folder / "model.pt2", Path("evil.pt2"), lambda name, old: content if name == INPUTS else old)
    refuse(evil, "refused evil.pt2: its example inputs are a pickle of more than tensors")


@pytest.mark.parametrize("value", [True, "x", 1])
def test_pickled_weights_are_refused(folder, value):
    def change(config):
        next(iter(config["config"].values()))["use_pickle"] = value

    refuse(
        edit_json(folder / "model.pt2", Path("evil.pt2"), PAYLOADS[0], change),
        "refused evil.pt2: it has pickled weights",
    )


@pytest.mark.parametrize("name", ["custom_obj_0", "opaque_obj_0", "../x", "model_weights_config.json"])
def test_weights_are_read_from_tensors_alone(folder, name):
    def change(config):
        next(iter(config["config"].values()))["path_name"] = name

    refuse(
        edit_json(folder / "model.pt2", Path("evil.pt2"), PAYLOADS[0], change), "refused evil.pt2: it cannot be read"
    )


def node(program: dict, **changes: object) -> None:
    program["graph_module"]["graph"]["nodes"][0].update(changes)


def spec(kind: str, context: object) -> str:
    return json.dumps([1, {"type": kind, "context": json.dumps(context), "children_spec": []}])


def signature(program: dict) -> dict:
    return program["graph_module"]["module_call_graph"][0]["signature"]


def size(program: dict, text: str) -> None:
    program["graph_module"]["graph"]["sym_int_values"]["s0"] = {"as_expr": {"expr_str": text, "hint": None}}


# What torch would run, and Leyden does not read.
IGNORED = {
    "line break in a size": lambda program: size(program, f"Symbol('a\\\n' # ' , {CALL}\n)"),
    "line break in a guard": lambda program: program.update(
        guards_code=[f"1 == 1 or L['\\\n' # ' \"' , {CALL}, ''\"\n] == 1"]
    ),
    "endless size": lambda program: size(program, "Pow(Integer(9), Pow(Integer(9), Integer(9)))"),
    "endless number": lambda program: size(program, "9**9**9"),
    "symbol of a text": lambda program: size(program, "Symbol('exec')"),
    "function of a text": lambda program: size(program, "Integer('1')"),
    "call of a call": lambda program: size(program, "Symbol('s0')()"),
    "comprehension": lambda program: size(program, "[Integer(1) for s0 in Integer(1)]"),
    "endless range": lambda program: program["range_constraints"].update(u99999999999={"min_val": 1, "max_val": 2}),
    "number beyond 64 bits": lambda program: program["range_constraints"].update(
        s0={"min_val": 10**30, "max_val": None}
    ),
    "unknown field": lambda program: node(program, code=CALL),
    "guard": lambda program: program.update(guards_code=[CALL]),
    "guard in a name": lambda program: program.update(guards_code=["L['x\" + exec(1) + \"'].size()[0] == 1"]),
    "size": lambda program: program["graph_module"]["graph"]["sym_int_values"].update(
        s0={"as_expr": {"expr_str": CALL, "hint": None}}
    ),
    "hidden size": lambda program: program["graph_module"]["graph"]["sym_int_values"].update(
        s0={"as_expr": {"expr_str": f"Symbol({CALL})", "hint": None}}
    ),
    "name of a node": lambda program: node(program, name=f"x = {CALL} #"),
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
    "remarks": lambda program: node(program, metadata={"source_fn_stack": "x,torch.os.system"}),
    "verifier": lambda program: program.update(verifiers=["antigravity"]),
}


@pytest.mark.parametrize("forgery", IGNORED)
def test_what_torch_would_evaluate_in_a_program_is_not_even_read(folder, forgery):
    evil = edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, IGNORED[forgery])
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(leyden.load(evil)(images), leyden.load(folder / "model.pt2")(images))
    assert not Path("ran").exists()


REFUSED = {
    "text for a number": lambda program: program["schema_version"].update(major="8"),
    "number for a text": lambda program: node(program, target=1),
    "two values at once": lambda program: program["graph_module"]["graph"]["nodes"][0]["inputs"][0]["arg"].update(
        as_int=1
    ),
    "operator that trusts its arguments": lambda program: node(program, target="torch.ops.aten.segment_reduce.default"),
    "operator that changes torch": lambda program: node(program, target="torch.ops.aten.manual_seed.default"),
    "operator that prints": lambda program: node(program, target="torch.ops.aten._print.default"),
    "operator that writes to a tensor of any size": lambda program: node(program, target="torch.ops.aten.add.out"),
    "operator of a package": lambda program: node(program, target="torch.ops.torchvision.nms.default"),
    "attribute of torch": lambda program: node(program, target="torch.os.system"),
    "method of torch": lambda program: node(program, target="torch.hub.load"),
    "operator that calls": lambda program: node(program, target="_operator.methodcaller"),
    "operator that writes a file": lambda program: node(program, target="torch.ops.aten.from_file.default"),
    "operator of the JIT that writes a file": lambda program: node(program, target="torch.ops.aten.save.default"),
    "no operator": lambda program: node(program, target="torch.ops.aten.__class__.mro"),
    "operator as an argument": lambda program: program["graph_module"]["graph"]["nodes"][0]["inputs"].append(
        {"name": "", "arg": {"as_operator": "torch.os.system"}, "kind": 1}
    ),
    "text": lambda program: program["graph_module"]["signature"]["input_specs"].append(
        {"constant_input": {"name": "x", "value": {"as_string": f"' + {CALL} + '"}}}
    ),
    "object": lambda program: program["graph_module"]["graph"]["nodes"][0]["inputs"].append(
        {"name": "", "arg": {"as_custom_obj": {"name": "x", "class_fqn": "__torch__.x y"}}, "kind": 1}
    ),
    "weights that are not there": lambda program: weights_of(program).update(
        parameter_name="network.forward.__globals__"
    ),
    "operator that calls its argument": lambda program: node(program, target="torch.ops.higher_order.map_impl"),
    "arguments by name": lambda program: first_inputs(program).append(
        {"name": "", "arg": {"as_string_to_argument": {}}, "kind": 1}
    ),
    "device": lambda program: first_inputs(program).append(
        {"name": "", "arg": {"as_device": {"type": "hpu", "index": None}}, "kind": 1}
    ),
    "changed weights": lambda program: program["graph_module"]["signature"]["output_specs"].append(
        {"buffer_mutation": {}}
    ),
    "other version": lambda program: program["schema_version"].update(major=9),
    "recursion": lambda program: node(program, target=nested(500)),
}


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "x"


def first_inputs(program: dict) -> list:
    return program["graph_module"]["graph"]["nodes"][0]["inputs"]


def weights_of(program: dict) -> dict:
    return program["graph_module"]["signature"]["input_specs"][0]["parameter"]


@pytest.mark.parametrize("forgery", REFUSED)
def test_a_program_of_more_than_operators_on_tensors_is_refused(folder, forgery):
    refuse(edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, REFUSED[forgery]), "refused evil.pt2: it ")


def test_an_argument_that_an_operator_does_not_take_fails_in_one_line(folder, error_of):
    """A branch or a function is what the file says; it is checked when it is called."""
    cond = {"target": "torch.ops.higher_order.cond", "inputs": [{"name": "", "arg": {"as_bool": True}, "kind": 1}] * 3}
    edit_json(folder / "model.pt2", Path("evil.pt2"), MODEL, lambda program: node(program, **cond))
    Image.new("L", (8, 8)).save("image.png")
    assert "expected a model that runs on these examples; it failed (expected a graph)" in error_of(
        "predict", "evil.pt2", "image.png"
    )


@pytest.mark.parametrize(
    "name", ["data/weights/model.pt", "models/other.json", "code/x.py", "data/constants/custom_obj_0", "extra/a/b"]
)
def test_members_that_export_does_not_write_are_refused(folder, name):
    refuse(
        rewrite(folder / "model.pt2", Path("evil.pt2"), lambda _, old: old, {name: b"{}"}),
        "refused evil.pt2: it has the member",
    )


def test_trust_is_the_users_word(folder):
    torch.save((Bomb(),), "inputs.pt")
    evil = rewrite(
        folder / "model.pt2",
        Path("evil.pt2"),
        lambda name, old: Path("inputs.pt").read_bytes() if name == INPUTS else old,
    )
    with contextlib.suppress(UserError):  # torch stumbles over its own log message
        leyden.load(evil, trust=True)
    assert Path("ran").exists()


# --- archives


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\\..\\x", "C:x"])
@pytest.mark.parametrize("source", ["model.ckpt", "model.pt2", "model.torchscript"])
def test_a_member_that_leaves_its_folder_is_refused_with_trust_too(folder, source, name):
    evil = Path(f"evil{Path(source).suffix}")
    with zipfile.ZipFile(shutil.copy(folder / source, evil), "a") as archive:
        archive.writestr(name, b"x")
    for trust in (False, True):
        refuse(evil, "could be written or read elsewhere", trust)


@pytest.mark.parametrize("source", ["model.ckpt", "model.pt2", "model.torchscript"])
def test_a_member_that_is_marked_as_a_folder_is_refused(folder, source):
    """torch would read nothing from it, and compute with whatever lies in memory."""
    with zipfile.ZipFile(folder / source) as archive:
        entry = archive.start_dir
    flip_bit(folder / source, Path(f"evil{Path(source).suffix}"), entry + 38, 0x10)
    refuse(Path(f"evil{Path(source).suffix}"), "the checksum or the size of .* is wrong", trust=True)


def test_a_member_that_inflates_beyond_measure_is_refused_unread(folder):
    with zipfile.ZipFile(shutil.copy(folder / "model.ckpt", "evil.ckpt"), "a") as archive:
        archive.writestr("x", bytes(64 << 20), zipfile.ZIP_DEFLATED)
    refuse(Path("evil.ckpt"), "the checksum or the size of all of it is wrong")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("spelling", [str, str.upper])
def test_two_members_of_one_name_are_refused(folder, spelling):
    with zipfile.ZipFile(shutil.copy(folder / "model.pt2", "evil.pt2"), "a") as archive:
        archive.writestr(spelling(archive.namelist()[-1]), b"x")
    refuse(Path("evil.pt2"), "could be written or read elsewhere", trust=True)


# --- code


LIBRARY = '#include <cstdio>\nstruct Run { Run() { fclose(fopen("ran", "w")); } } run;\n'


@pytest.fixture
def compiled(folder: Path) -> Path:
    """An AOTInductor package whose library runs code when it is loaded."""
    Path("evil.cpp").write_text(LIBRARY)
    subprocess.run(["c++", "-shared", "-fPIC", "evil.cpp", "-o", "evil.so"], check=True)
    with zipfile.ZipFile("evil.aoti.pt2", "w") as archive:
        for name, content in {"wrapper.so": Path("evil.so").read_bytes(), "wrapper_metadata.json": b"{}"}.items():
            archive.writestr(f"model/data/aotinductor/model/model.{name}", content)
        archive.writestr("model/archive_format", b"pt2")
        archive.writestr("model/archive_version", b"0")
        archive.writestr("model/extra/leyden.json", b"{}")
    return Path("evil.aoti.pt2")


@pytest.mark.parametrize("name", ["evil.aoti.pt2", "evil.pt2"])
def test_a_compiled_library_needs_trust_whatever_its_name(compiled, name):
    compiled.rename(name)
    refuse(Path(name), "holds AOTInductor's library, which is code; add --trust")


class Writes(nn.Module):
    """A TorchScript program that writes a file when it is called."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.save(images, "ran")
        return images.flatten(1)[:, :10].float()


def test_torchscript_needs_trust(folder, error_of):
    metadata = zipfile.ZipFile(folder / "model.torchscript").read("model/extra/leyden.json").decode()
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(Writes()), "evil.torchscript", _extra_files={"leyden.json": metadata})
    refuse(Path("evil.torchscript"), "holds a TorchScript program, which is code; add --trust")
    assert "add --trust" in error_of("predict", "evil.torchscript", ".")


def test_trusted_code_loads(folder):
    for trust in ("argument", "record"):
        model = leyden.load(folder / "model.torchscript", trust=trust == "argument")
        assert model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 10)
        digest = leyden.files.sha256(folder / "model.torchscript")
        Path("artifacts/export").mkdir(parents=True, exist_ok=True)
        Path("artifacts/export/report.json").write_text(json.dumps([{"sha256": digest}]))


def test_a_record_beside_the_file_proves_nothing(folder):
    digest = leyden.files.sha256(folder / "model.torchscript")
    for name in ("report.json", "provenance.json"):
        (folder / name).write_text(json.dumps([{"sha256": digest, "model_sha256": digest}]))
    (folder / "published").mkdir()
    (folder / "published" / digest).touch()
    refuse(folder / "model.torchscript", "add --trust")


# --- classes that a checkpoint names


NETWORK = """
    from pathlib import Path
    from torch import nn

    Path("imported").touch()

    class Net(nn.Module):
        def __init__(self, num_classes: int, in_channels: int = 1) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

        def forward(self, images):
            return self.layers(images)
"""


def names(class_path: str, **init_args: object):
    return lambda checkpoint: checkpoint["leyden"].update(network={"class_path": class_path, "init_args": init_args})


@pytest.mark.parametrize(
    ("class_path", "init_args"),
    [
        ("unittest.__main__.X", {}),
        ("evil.Net", {}),
        ("timm.evil.Net", {}),
        ("timm.models.evil.Net", {}),
        ("torch.nn.Linear", {}),
        ("leydenevil.Net", {}),
        ("leyden.models.channel_pruning.narrow_network", {"network": {"class_path": "evil.Net"}}),
    ],
)
def test_a_class_that_only_the_file_names_is_not_imported(folder, class_path, init_args, monkeypatch):
    for path in ("evil.py", "timm/evil.py", "timm/models/evil.py", "leydenevil.py"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(textwrap.dedent(NETWORK))
    monkeypatch.syspath_prepend(".")
    evil = edit_checkpoint(folder / "model.ckpt", Path("evil.ckpt"), names(class_path, **init_args))
    before = set(sys.modules)
    refuse(evil, "holds the network .*, which is code; add --trust")
    assert not Path("imported").exists()
    assert "unittest.__main__" not in set(sys.modules) - before


def test_the_same_of_safetensors(folder, monkeypatch):
    from safetensors.torch import load_file, save_file

    model = load_checkpoint(folder / "model.ckpt")
    assert leyden.load(folder / "model.safetensors").labels == model.labels
    Path("evil.py").write_text(textwrap.dedent(NETWORK))
    monkeypatch.syspath_prepend(".")
    metadata = json.loads(describe(model, "fp32", "MIT")) | {"network": {"class_path": "evil.Net"}}
    save_file(load_file(folder / "model.safetensors"), "evil.safetensors", {"leyden": json.dumps(metadata)})
    refuse(Path("evil.safetensors"), "holds the network evil.Net, which is code")
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("class_path", "init_args", "message"),
    [
        ("torchvision.models.resnet18", {"weights": "DEFAULT"}, "do not fit"),  # it was built, from nothing
        ("torchvision.models.get_model", {"name": "resnet18", "weights": "DEFAULT"}, "do not fit"),
        ("torchvision.models.segmentation.fcn_resnet50", {}, "do not fit"),
        (
            "torchvision.models.get_model",
            {"name": "fasterrcnn_resnet50_fpn"},
            r"cannot be built: it tries to download weights from download\.pytorch\.org",
        ),
    ],
)
def test_a_checkpoint_starts_no_download(folder, class_path, init_args, message):
    labels = [str(number) for number in range(1000)]  # as many as the pretrained weights have

    def change(checkpoint):
        checkpoint["leyden"].update(labels=labels, network={"class_path": class_path, "init_args": init_args})

    refuse(edit_checkpoint(folder / "model.ckpt", Path("evil.ckpt"), change), message)


def test_connections_are_refused_only_while_a_network_is_built(folder):
    from leyden.trust.offline import offline

    with offline() as asked, pytest.raises(ConnectionRefusedError, match="nothing is downloaded"):
        socket.create_connection(("127.0.0.1", 1))
    assert asked == ["127.0.0.1"]
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname()).close()


# --- what the user's own project published


FIT = ["fit", "--trainer.max_epochs=1", "--network=mine.Net", "--trainer.precision=32-true"]


@pytest.fixture
def project(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has trained a network of its own, in a file in the current folder."""
    Path("mine.py").write_text(textwrap.dedent(NETWORK))
    monkeypatch.syspath_prepend(".")
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert main(FIT) == 0
    return workspace


def test_a_project_reads_its_own_network_in_any_of_its_files(project, trained, error_of):
    formats = json.dumps({"safetensors": ["fp32"], "torchscript": ["fp32"], "pt2": ["fp32"]})
    assert main(["export", "--out=elsewhere", f"--formats={formats}"]) == 0
    shutil.copy(CKPT, "copy.ckpt")
    image = str(trained / "data/3")
    for model in (
        CKPT,
        "copy.ckpt",
        "elsewhere/model.safetensors",
        "elsewhere/model.torchscript",
        "elsewhere/model.pt2",
    ):
        assert main(["predict", str(model), image]) == 0, model
    assert main([*FIT, "--seed_everything=1"]) == 0  # what was published before remains this project's
    assert main(["predict", "copy.ckpt", image]) == 0
    shutil.copy(CKPT, "copy.ckpt")
    shutil.rmtree("artifacts/published")  # as in a clone after `dvc pull`
    assert main(["predict", "copy.ckpt", image]) == 0
    edited = edit_checkpoint(CKPT, Path("edited.ckpt"), lambda checkpoint: checkpoint.update(epoch=99))
    assert "holds the network mine.Net, which is code; add --trust" in error_of("predict", str(edited), image)
    for verb in (
        ["predict", str(edited), image],
        ["compare", str(CKPT), str(edited)],
        ["evaluate", f"--model={edited}", "--robustness=[]"],
    ):
        assert main([*verb, "--trust"]) == 0, verb


def test_a_training_reads_what_its_config_names_or_trusts(project, error_of):
    old = edit_checkpoint(CKPT, Path("old.ckpt"), lambda checkpoint: checkpoint.update(epoch=99))
    fit = ["fit", "--trainer.max_epochs=1", "--trainer.precision=32-true", f"--model.init_args.teacher.path={old}"]
    assert main([*fit, "--network=mine.Net"]) == 0
    assert "holds the network mine.Net, which is code" in error_of(*fit, "--network.init_args.width=8")
    assert main([*fit, "--network.init_args.width=8", "--model.init_args.teacher.trust=true"]) == 0


def test_the_page_on_trust_has_a_row_for_each_format():
    page = (REPO / "docs/trust.md").read_text()
    assert all(f"`{suffix}`" in page for suffix in RUNTIMES)
