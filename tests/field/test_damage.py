"""Damaged files and senseless answers are refused, and nothing is published of them."""

import json
import math
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden import UserError
from leyden.cli import main
from leyden.models.build import build_model
from leyden.models.checkpoint import load_checkpoint, unpickle
from leyden.stages.export import describe
from leyden.trust.checksum import PLACEHOLDER, find_checksum
from tests.field.hostile import edit_checkpoint, flip_bit

HEAD = "model.network.head.weight"
CKPT = Path("artifacts/train/model.ckpt")
SEALED = ("model.onnx", "model.pte", "model.safetensors", "model.xml")


@pytest.mark.parametrize("name", [*SEALED, "model.bin", "model.pt2", "model.torchscript", "model.ckpt"])
def test_a_changed_bit_is_noticed_or_changes_nothing(files, tmp_path, name):
    """Between the members of an archive, torch leaves bytes that nobody reads."""
    for file in files.iterdir():
        shutil.copy(file, tmp_path)
    model = tmp_path / name.replace(".bin", ".xml")
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected, noticed = leyden.load(model, trust=True)(images), 0
    for share in np.linspace(0.02, 0.98, 25):
        flip_bit(files / name, tmp_path / name, int(share * (files / name).stat().st_size))
        try:
            loaded = leyden.load(model, trust=True)
        except UserError:
            noticed += 1
        else:
            assert torch.equal(loaded(images), expected)
    assert noticed >= 20


@pytest.mark.parametrize("name", SEALED)
def test_a_file_without_a_checksum_of_its_own_holds_one(files, name):
    found = find_checksum(files / name)
    assert found is not None and found.written == found.expected != PLACEHOLDER


def set_weight(value: float):
    def change(checkpoint):
        tensor = checkpoint["state_dict"][HEAD]
        tensor.view(-1)[0] = value

    return change


def enlarge(checkpoint):
    checkpoint["state_dict"][HEAD].fill_(3e38)


def set_entry(key: str, value: object):
    return lambda checkpoint: checkpoint["leyden"].update({key: value})


def set_input(**changes: object):
    return lambda checkpoint: checkpoint["leyden"]["input"].update(changes)


SENSELESS = {
    "NaN in a weight": (set_weight(math.nan), "1 tensors hold NaN or infinity, model.network.head.weight first"),
    "infinity in a weight": (set_weight(math.inf), "1 tensors hold NaN or infinity"),
    "NaN in a buffer": (
        lambda checkpoint: checkpoint["state_dict"]["model.preprocess.mean"].fill_(math.nan),
        "1 tensors hold NaN",
    ),
    "a weight without a name": (
        lambda checkpoint: checkpoint["state_dict"].update({1: torch.ones(1)}),
        "names and dense tensors",
    ),
    "a sparse weight": (
        lambda checkpoint: checkpoint["state_dict"].update(x=torch.eye(2).to_sparse()),
        "names and dense tensors",
    ),
    "a weight without memory": (
        lambda checkpoint: checkpoint["state_dict"].update(x=torch.ones(1, device="meta")),
        "names and dense tensors",
    ),
    "weights of another kind": (
        lambda checkpoint: checkpoint["state_dict"].update({HEAD: checkpoint["state_dict"][HEAD].to(torch.int32)}),
        "do not fit",
    ),
    "no weights": (lambda checkpoint: checkpoint.pop("state_dict"), "names and dense tensors"),
    "no description": (lambda checkpoint: checkpoint.update(leyden=None), "no 'leyden' entry"),
    "no provenance": (set_entry("provenance", None), "expected a dict"),
    "a label that cannot be written": (
        set_entry("labels", [*"012345678", "\ud800"]),
        "expected different names of classes",
    ),
    "images beyond measure": (set_input(image_size=[10**30, 8]), "expected channels, image_size, mean and std"),
    "finite weights, infinite logits": (enlarge, "NaN or infinity"),
    **{
        f"temperature {value!r}": (set_entry("temperature", value), "expected a temperature from 0.001 to 1000")
        for value in (None, 0, 0.0, -1.0, math.nan, math.inf, 1e-30, "1", True, [1.0])
    },
    "a label twice": (set_entry("labels", ["0"] * 10), "expected different names of classes"),
    "no labels": (set_entry("labels", []), "expected different names of classes"),
    "labels that are numbers": (set_entry("labels", list(range(10))), "expected different names of classes"),
    "too few labels": (set_entry("labels", list("012")), "do not fit"),
    "no network": (set_entry("network", None), "expected the class_path and init_args"),
    "no class": (set_entry("network", {"init_args": {}}), "expected the class_path and init_args"),
    "a network that cannot be built": (
        set_entry("network", {"class_path": "leyden.models.ResNet", "init_args": {"width": -3}}),
        "cannot be built",
    ),
    **{
        f"input {changes}": (set_input(**changes), "expected channels, image_size, mean and std")
        for changes in (
            {"std": [0.0]},
            {"std": [-1.0]},
            {"std": [math.nan]},
            {"mean": [math.inf]},
            {"mean": [0.5, 0.5]},
            {"channels": 0},
            {"channels": True},
            {"image_size": [0, 0]},
            {"image_size": [-8, 8]},
            {"image_size": [8]},
            {"image_size": None},
        )
    },
}


@pytest.mark.parametrize("fault", SENSELESS)
def test_a_senseless_model_predicts_nothing(in_trained, tmp_path, error_of, fault):
    change, message = SENSELESS[fault]
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
    assert message in error_of("predict", str(model), "data/3", f"--out={tmp_path}/p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize("verb", ["evaluate", "compare", "export", "explain"])
@pytest.mark.parametrize("fault", ["NaN in a weight", "finite weights, infinite logits", "temperature -1.0"])
def test_nor_does_any_other_verb_publish_it(in_trained, tmp_path, error_of, verb, fault):
    change, message = SENSELESS[fault]
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
    args = [str(CKPT), str(model)] if verb == "compare" else [f"--model={model}"]
    args += ["--formats={onnx: [fp32]}"] if verb == "export" else []
    said = error_of(verb, *args, f"--out={tmp_path / 'out'}")
    assert message in said or (fault == "finite weights, infinite logits" and "finite" in said)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_exported_file_of_another_temperature_is_refused(files, tmp_path):
    from safetensors.torch import load_file, save_file

    metadata = json.loads(describe(load_checkpoint(files / "model.ckpt"), "fp32", "MIT"))
    network = torch.load(files / "model.ckpt", weights_only=True)["leyden"]["network"]
    for temperature in (0.5, -1.0):
        text = json.dumps(metadata | {"network": network, "temperature": temperature})
        save_file(load_file(files / "model.safetensors"), tmp_path / "model.safetensors", {"leyden": text})
        if temperature > 0:
            assert leyden.load(tmp_path / "model.safetensors").temperature == 0.5
        else:
            with pytest.raises(UserError, match="expected a temperature"):
                leyden.load(tmp_path / "model.safetensors")


def test_a_sequence_whose_output_is_infinite_is_a_row_with_its_reason(in_sequences, tmp_path, monkeypatch):
    """One odd file must not cost the rows of the others."""
    from leyden.stages import predict as stage

    class Overflows:
        labels, features = ["a", "b"], 2

        def __call__(self, values, lengths):
            return values[:, 0] * 1e10  # of the first step

    monkeypatch.setattr(stage, "load", lambda *args, **kwargs: Overflows())
    (tmp_path / "data").mkdir()
    for name, first in {"good": [1.0, 0.0], "odd": [3e38, 0.0]}.items():
        np.save(tmp_path / f"data/{name}.npy", np.array([first, [0.0, 0.0]]))
    out = tmp_path / "p.csv"
    assert main(["predict", "any.ckpt", str(tmp_path / "data"), f"--out={out}"]) == 0
    rows = {Path(line.split(",")[0]).stem: line for line in out.read_text().splitlines()[1:]}
    assert rows["good"].split(",")[1] == "a" and rows["odd"].endswith(",,,,the model's output is NaN or infinite")


@pytest.mark.parametrize("score", ["nan", "inf", "-1", "abc", ""])
def test_scores_that_are_no_probabilities_are_not_compared_with(in_trained, tmp_path, error_of, score):
    assert main(["evaluate", "--robustness=[]", f"--out={tmp_path / 'first'}"]) == 0
    lines = (tmp_path / "first/predictions.csv").read_text().splitlines()
    lines[5] = ",".join([*lines[5].split(",")[:-1], score])
    (tmp_path / "old.csv").write_text("\n".join(lines))
    said = error_of("compare", f"{tmp_path / 'old.csv'}", str(CKPT), f"--out={tmp_path / 'c.json'}")
    assert "expected probabilities" in said and not (tmp_path / "c.json").exists()


def test_every_bit_of_an_archives_directory_counts(tmp_path):
    """What Python and torch read from it must be the same."""
    values = torch.arange(64.0)
    torch.save({"leyden": {}, "x": values}, tmp_path / "model.ckpt")
    content = (tmp_path / "model.ckpt").read_bytes()
    with zipfile.ZipFile(tmp_path / "model.ckpt") as archive:
        start = archive.start_dir
    refused = 0
    for position in range(start, len(content)):
        flip_bit(tmp_path / "model.ckpt", tmp_path / "flipped.ckpt", position, 1 << position % 8)
        try:
            loaded = unpickle(tmp_path / "flipped.ckpt")
        except UserError:
            refused += 1
        else:
            assert torch.equal(loaded["x"], values), position - start
    assert refused > 100


def test_a_network_whose_layers_have_versions_loads(tmp_path, trained):
    spec = {"class_path": "torchvision.models.mnasnet0_5", "init_args": {}}
    model = build_model(spec, ["a", "b"], {"channels": 3, "image_size": [64, 64], "mean": [0.5] * 3, "std": [0.5] * 3})
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"leyden": model.spec, "state_dict": state}, tmp_path / "model.ckpt")
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert torch.equal(leyden.load(tmp_path / "model.ckpt")(images), model.eval()(images))


def test_images_of_another_size_than_an_exported_file_takes_are_refused(files):
    for name in SEALED:
        with pytest.raises(UserError, match=r"expected torch.uint8 \(B, 1, 8, 8\); got torch.uint8 \(2, 1, 4, 4\)"):
            leyden.load(files / name)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_pretrained_weights_are_checked_likewise(trained, tmp_path):
    from leyden.models.torchvision_net import read_weights

    torch.save({"layer": torch.ones(1000)}, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth")["layer"].sum() == 1000
    flip_bit(tmp_path / "weights.pth", tmp_path / "flipped.pth", 2000)
    torch.save({"layer": torch.full((10,), math.nan)}, tmp_path / "nan.pth")
    for name, message in {"flipped.pth": "damaged", "nan.pth": "NaN"}.items():
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path / name)
