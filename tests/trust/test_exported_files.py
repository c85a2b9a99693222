"""Exported files that are incomplete, of another format, or whose checksum cannot be read."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import leyden
from leyden.models.checkpoint import load_checkpoint
from leyden.stages.export import describe
from leyden.trust.checksum import find_checksum
from tests.trust.tampering import assert_refused


def write_checksum(path: Path) -> None:
    """Replace a file's checksum by that of its content, as anyone who edits it can."""
    checksum = find_checksum(path)
    assert checksum is not None
    content = bytearray(path.read_bytes())
    content[checksum.offset : checksum.offset + 64] = checksum.computed.encode()
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device"])
def test_weights_of_openvino_that_are_no_file_are_named(folder, kind):
    (folder / "model.bin").unlink()
    if kind == "folder":
        (folder / "model.bin").mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / "model.bin")
    elif kind == "device":
        (folder / "model.bin").symlink_to("/dev/zero")
    assert_refused(folder / "model.xml", r"expected the weights of .*model\.xml in .*model\.bin; not found; copy both")


def test_an_onnx_file_named_as_one_of_openvino_is_refused(folder):
    """OpenVINO reads both, and the text that is looked for may be anywhere in a file."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(folder / "model.onnx")
    model = onnx.helper.make_model(model.graph, opset_imports=model.opset_import, producer_name="<net>")
    onnx.save(model, folder / "model.xml")
    assert_refused(folder / "model.xml", "cannot be read .*; create it again")


@pytest.mark.parametrize("change", ["input", "output"])
def test_another_input_or_output_of_openvino_is_named(folder, change):
    text = (folder / "model.xml").read_text()
    text = text.replace('names="images"', 'names="x"') if change == "input" else text.replace('logits"', 'scores"')
    (folder / "model.xml").write_text(text)
    write_checksum(folder / "model.xml")
    assert_refused(folder / "model.xml", "maps x to logits" if change == "input" else "maps images to scores")


def test_an_identifier_that_is_no_text_is_refused_by_executorch(folder):
    content = (folder / "model.pte").read_bytes()
    (folder / "model.pte").write_bytes(b"\xff" * 8 + content[8:])
    write_checksum(folder / "model.pte")
    assert_refused(folder / "model.pte", "expected an ExecuTorch program")


def test_executorch_prints_nothing(folder, capfd):
    leyden.load(folder / "model.pte")(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("checksum", ["", "0" * 63, "A" * 64, 3, None])
def test_a_checksum_that_cannot_be_read_is_no_missing_one(folder, checksum):
    metadata = describe_with_network(folder, checksum)
    save_file(load_file(folder / "model.safetensors"), "evil.safetensors", {"leyden": metadata})
    if checksum is None:
        assert leyden.load("evil.safetensors").labels == list("0123456789")
    else:
        assert_refused(Path("evil.safetensors"), "its checksum is unreadable")


def test_a_std_of_the_weights_that_is_not_the_described_one_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights["preprocess.std"] *= -1
    save_file(weights, "evil.safetensors", {"leyden": describe_with_network(folder, None)})
    assert_refused(Path("evil.safetensors"), "expected the std that evil.safetensors describes")


def describe_with_network(folder: Path, checksum: object) -> str:
    model = load_checkpoint(folder / "model.ckpt")
    entries = json.loads(describe(model, "fp32", "MIT")) | {"network": model.spec["network"]}
    return json.dumps(entries if checksum is None else entries | {"checksum": checksum})
