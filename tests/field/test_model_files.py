"""A hostile or malformed model file is one error line, within bounded time and memory, in every verb that reads one."""

import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trust.tampering import edit_checkpoint, set_network

CKPT = Path("artifacts/train/model.ckpt")
HEAD = "model.network.head.weight"
SHARED = torch.zeros(1 << 16)
IN_SEQUENCES = {"features": 2, "mean": [0.0, 0.0], "std": [1.0, 1.0]}


def set_entry(**entries: Any):
    return lambda checkpoint: checkpoint["leyden"].update(entries)


def set_weight(value: Any):
    return lambda checkpoint: checkpoint["state_dict"].update({HEAD: value})


def set_sequence_network(class_path: str, **init_args: Any):
    def change(checkpoint: dict[str, Any]) -> None:
        set_network(class_path, **init_args)(checkpoint)
        checkpoint["leyden"]["input"] = IN_SEQUENCES

    return change


def nest(value: Any, depth: int, width: int = 1) -> Any:
    for _ in range(depth):
        value = [value] * width  # the same list `width` times: small in the file, huge when it is walked through
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


TOO_MANY = "it has far fewer tensors than the network"
NOT_PLAIN = "expected a description of plain values"
CHANGES = {
    "labels that double 60 times": (set_entry(labels=nest("a", 60, 2)), NOT_PLAIN),
    "an argument that doubles 25 times": (set_network("leyden.models.ResNet", width=nest(1, 25, 2)), NOT_PLAIN),
    "a description nested 100 deep": (set_entry(provenance={"config": nest(1, 100)}), NOT_PLAIN),
    "a description that contains itself": (set_entry(provenance=cyclic()), NOT_PLAIN),
    "a tensor in the description": (set_entry(provenance={"x": torch.zeros(1)}), NOT_PLAIN),
    "a key that is no string": (set_entry(provenance={1: 2}), NOT_PLAIN),
    "an integer too large to print": (set_entry(temperature=10**600), NOT_PLAIN),
    "both images and sequences": (
        lambda checkpoint: checkpoint["leyden"]["input"].update(features=3),
        "expected channels, image_size, mean and std",
    ),
    "images larger than memory": (
        lambda checkpoint: checkpoint["leyden"]["input"].update(image_size=[65536, 65536]),
        "expected channels, image_size, mean and std",
    ),
    "a weight that repeats one value": (set_weight(torch.zeros(1).expand(10**12)), "repeat the same values"),
    "a matrix that repeats one value": (set_weight(torch.zeros(1).expand(10**6, 10**6)), "repeat the same values"),
    "many views of the same weight": (
        lambda checkpoint: checkpoint["state_dict"].update({f"model.{number}": SHARED for number in range(300)}),
        "repeat the same values",
    ),
    "a nested tensor": (
        lambda checkpoint: set_weight(torch.nested.nested_tensor([torch.zeros(2)]))(checkpoint),
        "names and dense tensors",
    ),
    "10**9 layers": (set_network("leyden.models.ResNet", depths=[10**9]), TOO_MANY),
    "10**9 blocks": (set_network("leyden.models.PatchTransformer", depth=10**9), TOO_MANY),
    "10**9 recurrent layers": (set_sequence_network("leyden.models.GRUClassifier", num_layers=10**9), TOO_MANY),
    "layers of 14 GB": (
        set_network("leyden.models.ResNet", width=20_000),
        "stem.0.weight is (8, 1, 3, 3) instead of (20000, 1, 3, 3)",
    ),
    "layers of 10**19 bytes": (set_network("leyden.models.ResNet", width=10**9), "cannot be built"),
    "a width that is text": (set_network("leyden.models.ResNet", width="abc"), "; create "),
    "another number of labels": (set_entry(labels=list("abc")), "head.weight is (10, 32) instead of (3, 32)"),
    "an unknown weight": (
        lambda checkpoint: checkpoint["state_dict"].update({"model.x": torch.zeros(1)}),
        "it also has x",
    ),
    "a missing weight": (lambda checkpoint: checkpoint["state_dict"].pop(HEAD), "it lacks network.head.weight"),
    "a negative std among the weights": (
        lambda checkpoint: checkpoint["state_dict"]["model.preprocess.std"].mul_(-1),
        "expected the std that",
    ),
    "another mean among the weights": (
        lambda checkpoint: checkpoint["state_dict"]["model.preprocess.mean"].add_(5),
        "expected the mean that",
    ),
    "an infinite running variance": (
        lambda checkpoint: checkpoint["state_dict"]["model.network.stem.1.running_var"].fill_(torch.inf),
        "1 tensors hold NaN or infinity, model.network.stem.1.running_var first",
    ),
    "a weight that is infinite in float32": (
        lambda checkpoint: set_weight(checkpoint["state_dict"][HEAD].double() * 1e300)(checkpoint),
        "1 tensors hold NaN or infinity as the network stores them, network.head.weight first",
    ),
    "numbers of 4 bits": (
        lambda checkpoint: set_weight(torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2))(checkpoint),
        "names and dense tensors",
    ),
    "a weight with an endless name": (
        lambda checkpoint: checkpoint["state_dict"].update({"model." + "x" * 10**5: torch.zeros(1)}),
        "names and dense tensors",
    ),
    "a class path that is no path": (set_network("\x1b[31mevil\nos.system"), "got network: "),
    "an endless class path": (set_network("leyden.models." + "x" * 10**5), "got network: "),
    "a threshold that is NaN": (set_network("leyden.models.EarlyExitNet", threshold=math.nan), "got network: "),
    "arguments that are no dict": (
        set_entry(network={"class_path": "leyden.models.ResNet", "init_args": 0}),
        "got net",
    ),
    "labels that look alike": (set_entry(labels=["\u00e9", "e\u0301", *"23456789"]), "different class names"),
    "labels that differ in spaces": (set_entry(labels=["1", "1 ", *"23456789"]), "different class names"),
    "a label of spaces": (set_entry(labels=[" ", *"123456789"]), "different class names"),
    "no pixels": (
        lambda checkpoint: checkpoint["leyden"]["input"]["reader"].update(max_pixels=0),
        "expected channels, image_size, mean and std",
    ),
    "a bit depth that is no integer": (
        lambda checkpoint: checkpoint["leyden"]["input"]["reader"].update(bit_depth=8.0),
        "expected channels, image_size, mean and std",
    ),
    "a module of leyden that is no network": (
        set_network("leyden.training.metrics.MulticlassAccuracy"),
        "which is code; add --trust",
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_that_asks_for_too_much_is_one_error_line(name, in_trained, tmp_path, error_of):
    change, message = CHANGES[name]
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
    error = error_of("predict", str(model), "data/3", f"--out={tmp_path}/p.csv")
    assert message in error
    assert len(error) < 1000
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


LIGHTNING = {
    "a version that is no version": lambda checkpoint: checkpoint.update({"pytorch-lightning_version": "banana"}),
    "a version of another type": lambda checkpoint: checkpoint.update({"pytorch-lightning_version": 3}),
    "no version": lambda checkpoint: checkpoint.pop("pytorch-lightning_version"),
    "an early version": lambda checkpoint: checkpoint.update({"pytorch-lightning_version": "0.9.0"}),
    "loops that are a number": lambda checkpoint: checkpoint.update(loops=5),
    "loops without contents": lambda checkpoint: checkpoint.update(loops={"fit_loop": {}}),
    "callbacks that are a list": lambda checkpoint: checkpoint.update(callbacks=[1]),
}


@pytest.mark.parametrize("name", LIGHTNING)
def test_entries_that_only_lightning_reads_are_checked(name, in_trained, tmp_path, error_of):
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", LIGHTNING[name])
    assert "expected the version, loops and callbacks" in error_of(
        "validate", f"--ckpt_path={model}", "--network.init_args.width=8"
    )


def test_a_torchscript_file_named_as_a_checkpoint_is_one_error_line(in_trained, tmp_path, error_of):
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "model.zip")
    (tmp_path / "model.zip").rename(tmp_path / "model.ckpt")
    assert "with TorchScript archives" in error_of("predict", str(tmp_path / "model.ckpt"), "data/3")


def write_pickle(path: Path, content: bytes) -> Path:
    """Write a checkpoint around a pickle that Python's pickler cannot make."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", content)
        archive.writestr("model/version", b"3\n")
        archive.writestr("model/byteorder", b"little")
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


DEEP = {
    "lists": b"]" * 200_000 + b"a" * 199_999,
    "tuples": b")" + b"\x85" * 200_000,
    "dicts": (b"}" + text("a")) * 100_000 + b"N" + b"s" * 100_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_pickle_nested_deeper_than_python_recurses_is_one_error_line(kind, in_trained, tmp_path, error_of):
    content = b"\x80\x02}" + text("leyden") + b"}" + text("labels") + DEEP[kind] + b"ss."
    assert NOT_PLAIN in error_of("predict", str(write_pickle(tmp_path / "model.ckpt", content)), "data/3")


@pytest.mark.parametrize("verb", ["predict", "evaluate", "export", "explain", "compare", "validate", "test"])
@pytest.mark.parametrize("name", ["labels that double 60 times", "a weight that repeats one value", "10**9 layers"])
def test_every_verb_that_reads_a_checkpoint_refuses_it(verb, name, in_trained, tmp_path, error_of):
    change, message = CHANGES[name]
    model = str(edit_checkpoint(CKPT, tmp_path / "model.ckpt", change))
    options = {
        "predict": [model, "data/3", f"--out={tmp_path}/out"],
        "compare": [str(CKPT), model, f"--out={tmp_path}/out"],
        "validate": [f"--ckpt_path={model}"],
        "test": [f"--ckpt_path={model}"],
    }
    is_lightning = verb in ("validate", "test") and name == "10**9 layers"
    args = options.get(verb, [f"--model={model}", f"--out={tmp_path}/out"])
    error = error_of(verb, *args)
    assert is_lightning or message in error
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def save_onnx(path: Path, description: dict[str, Any], inputs: dict[str, Any], output: str, num_outputs: int) -> Path:
    """Write an ONNX file that maps its first input, images of 8x8 pixels, to zeros."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", [next(iter(inputs))], ["numbers"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], [output]),
    ]
    weight = onnx.numpy_helper.from_array(torch.zeros(64, num_outputs).numpy(), "weight")
    graph = helper.make_graph(
        nodes,
        "zeros",
        [helper.make_tensor_value_info(name, kind, ("batch", 1, 8, 8)) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"leyden": json.dumps(description)})
    onnx.save(model, path)
    return path


UINT8, FLOAT = 2, 1  # onnx.TensorProto's numbers
ONNX = {
    "another number of outputs": ({"images": UINT8}, "logits", 7, "expected logits of shape (1, 10)"),
    "another output": ({"images": UINT8}, "scores", 10, "maps images to scores; export it"),
    "two inputs": ({"images": UINT8, "mask": UINT8}, "logits", 10, "maps images, mask to logits; export it"),
    "another input": ({"x": UINT8}, "logits", 10, "maps x to logits; export it"),
    "float images": ({"images": FLOAT}, "logits", 10, "expected a model that runs on these examples"),
}


@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_of_other_inputs_or_outputs_is_one_error_line(name, in_trained, tmp_path, error_of):
    inputs, output, num_outputs, message = ONNX[name]
    spec = torch.load(CKPT, weights_only=True)["leyden"]
    description = {key: spec[key] for key in ("labels", "input", "temperature")}
    model = save_onnx(tmp_path / "model.onnx", description, inputs, output, num_outputs)
    image = str(next(Path("data/3").iterdir()))
    assert message in error_of("predict", str(model), image, f"--out={tmp_path}/p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
