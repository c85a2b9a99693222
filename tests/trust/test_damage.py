"""Damaged model files, invalid descriptions and values that are not finite are refused, and nothing is written."""

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
from leyden.models.checkpoint import load_checkpoint, unpickle_checkpoint
from leyden.stages.export import describe
from leyden.trust.checksum import PLACEHOLDER, find_checksum
from tests.trust.tampering import edit_checkpoint, flip_bit

HEAD = "model.network.head.weight"
CKPT = Path("artifacts/train/model.ckpt")
CHECKSUMMED = ("model.onnx", "model.pte", "model.safetensors", "model.xml")


@pytest.mark.parametrize("name", [*CHECKSUMMED, "model.bin", "model.pt2", "model.torchscript", "model.ckpt"])
def test_a_changed_bit_is_detected_or_harmless(model_files, tmp_path, name):
    """Between the members of an archive are bytes that torch does not read."""
    for file in model_files.iterdir():
        shutil.copy(file, tmp_path)
    model = tmp_path / name.replace(".bin", ".xml")
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected, num_detected = leyden.load(model, trust=True)(images), 0
    for fraction in np.linspace(0.02, 0.98, 25):
        flip_bit(model_files / name, tmp_path / name, int(fraction * (model_files / name).stat().st_size))
        try:
            loaded = leyden.load(model, trust=True)
        except UserError:
            num_detected += 1
        else:
            assert torch.equal(loaded(images), expected)
    assert num_detected >= 20


@pytest.mark.parametrize("name", CHECKSUMMED)
def test_formats_without_a_checksum_hold_a_valid_one(model_files, name):
    checksum = find_checksum(model_files / name)
    assert checksum is not None
    assert checksum.stored == checksum.computed != PLACEHOLDER


def set_weight(value: float):
    return lambda checkpoint: checkpoint["state_dict"][HEAD].view(-1)[:1].fill_(value)


def set_entry(key: str, value: object):
    return lambda checkpoint: checkpoint["leyden"].update({key: value})


def set_input(**changes: object):
    return lambda checkpoint: checkpoint["leyden"]["input"].update(changes)


FAULTS = {
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
    "a weight on the meta device": (
        lambda checkpoint: checkpoint["state_dict"].update(x=torch.ones(1, device="meta")),
        "names and dense tensors",
    ),
    "weights of a different dtype": (
        lambda checkpoint: checkpoint["state_dict"].update({HEAD: checkpoint["state_dict"][HEAD].to(torch.int32)}),
        "do not fit",
    ),
    "no weights": (lambda checkpoint: checkpoint.pop("state_dict"), "names and dense tensors"),
    "no description": (lambda checkpoint: checkpoint.update(leyden=None), "no 'leyden' entry"),
    "no provenance": (set_entry("provenance", None), "expected a dict"),
    "a label that UTF-8 cannot encode": (
        set_entry("labels", [*"012345678", "\ud800"]),
        "expected a list of different class names",
    ),
    "gigantic images": (set_input(image_size=[10**30, 8]), "expected channels, image_size, mean and std"),
    "finite weights, infinite logits": (
        lambda checkpoint: checkpoint["state_dict"][HEAD].fill_(3e38),
        "NaN or infinity",
    ),
    **{
        f"temperature {value!r}": (set_entry("temperature", value), "expected a temperature from 0.001 to 1000")
        for value in (None, 0, 0.0, -1.0, math.nan, math.inf, 1e-30, "1", True, [1.0])
    },
    "a label twice": (set_entry("labels", ["0"] * 10), "expected a list of different class names"),
    "no labels": (set_entry("labels", []), "expected a list of different class names"),
    "labels that are numbers": (set_entry("labels", list(range(10))), "expected a list of different class names"),
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


@pytest.mark.parametrize("fault", FAULTS)
def test_an_invalid_model_predicts_nothing(in_trained, tmp_path, error_of, fault):
    change, message = FAULTS[fault]
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
    assert message in error_of("predict", str(model), "data/3", f"--out={tmp_path}/p.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize("verb", ["evaluate", "compare", "export", "explain"])
@pytest.mark.parametrize("fault", ["NaN in a weight", "finite weights, infinite logits", "temperature -1.0"])
def test_no_verb_writes_results_of_an_invalid_model(in_trained, tmp_path, error_of, verb, fault):
    change, message = FAULTS[fault]
    model = edit_checkpoint(CKPT, tmp_path / "model.ckpt", change)
    args = [str(CKPT), str(model)] if verb == "compare" else [f"--model={model}"]
    args += ["--formats={onnx: [fp32]}"] if verb == "export" else []
    error = error_of(verb, *args, f"--out={tmp_path / 'out'}")
    assert message in error or (fault == "finite weights, infinite logits" and "finite" in error)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_an_exported_file_with_an_invalid_temperature_is_refused(model_files, tmp_path):
    from safetensors.torch import load_file, save_file

    metadata = json.loads(describe(load_checkpoint(model_files / "model.ckpt"), "fp32", "MIT"))
    network = torch.load(model_files / "model.ckpt", weights_only=True)["leyden"]["network"]
    for temperature in (0.5, -1.0):
        text = json.dumps(metadata | {"network": network, "temperature": temperature})
        save_file(load_file(model_files / "model.safetensors"), tmp_path / "model.safetensors", {"leyden": text})
        if temperature > 0:
            assert leyden.load(tmp_path / "model.safetensors").temperature == 0.5
        else:
            with pytest.raises(UserError, match="expected a temperature"):
                leyden.load(tmp_path / "model.safetensors")


def test_a_sequence_with_infinite_outputs_is_a_row_with_the_reason(in_sequences, tmp_path, monkeypatch):
    """The other files still get their rows."""
    from leyden.stages import predict as stage

    class OverflowingModel:
        labels, features, input, spec = ["a", "b"], 2, {}, {"labels": ["a", "b"]}

        def __call__(self, values, lengths):
            return values[:, 0] * 1e10  # the first step's values

    monkeypatch.setattr(stage, "load", lambda *args, **kwargs: OverflowingModel())
    (tmp_path / "data").mkdir()
    for name, first in {"good": [1.0, 0.0], "odd": [3e38, 0.0]}.items():
        np.save(tmp_path / f"data/{name}.npy", np.array([first, [0.0, 0.0]]))
    out = tmp_path / "p.csv"
    assert main(["predict", "any.ckpt", str(tmp_path / "data"), f"--out={out}"]) == 0
    rows = {Path(line.split(",")[0]).stem: line for line in out.read_text().splitlines()[1:]}
    assert rows["good"].split(",")[1] == "a"
    assert rows["odd"].endswith(",,,,the model's output is NaN or infinite")


@pytest.mark.parametrize("score", ["nan", "inf", "-1", "abc", ""])
def test_earlier_scores_that_are_not_probabilities_are_refused(in_trained, tmp_path, error_of, score):
    assert main(["evaluate", "--robustness=[]", f"--out={tmp_path / 'first'}"]) == 0
    lines = (tmp_path / "first/predictions.csv").read_text().splitlines()
    lines[5] = ",".join([*lines[5].split(",")[:-1], score])
    (tmp_path / "old.csv").write_text("\n".join(lines))
    error = error_of("compare", f"{tmp_path / 'old.csv'}", str(CKPT), f"--out={tmp_path / 'c.json'}")
    assert "expected probabilities" in error
    assert not (tmp_path / "c.json").exists()


def test_a_changed_bit_in_an_archives_directory_is_detected_or_harmless(tmp_path):
    """Python and torch must read the same from the directory."""
    values = torch.arange(64.0)
    torch.save({"leyden": {}, "x": values}, tmp_path / "model.ckpt")
    content = (tmp_path / "model.ckpt").read_bytes()
    with zipfile.ZipFile(tmp_path / "model.ckpt") as archive:
        start = archive.start_dir
    num_refused = 0
    for position in range(start, len(content)):
        flip_bit(tmp_path / "model.ckpt", tmp_path / "flipped.ckpt", position, 1 << position % 8)
        try:
            loaded = unpickle_checkpoint(tmp_path / "flipped.ckpt")
        except UserError:
            num_refused += 1
        else:
            assert torch.equal(loaded["x"], values), position - start
    assert num_refused > 100


def test_a_network_whose_state_dict_has_versions_loads(tmp_path):
    spec = {"class_path": "torchvision.models.mnasnet0_5", "init_args": {}}
    model = build_model(spec, ["a", "b"], {"channels": 3, "image_size": [64, 64], "mean": [0.5] * 3, "std": [0.5] * 3})
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"leyden": model.spec, "state_dict": state}, tmp_path / "model.ckpt")
    images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert torch.equal(leyden.load(tmp_path / "model.ckpt")(images), model.eval()(images))


def test_images_of_a_wrong_size_are_refused_by_exported_files(model_files):
    for name in CHECKSUMMED:
        with pytest.raises(UserError, match=r"expected torch.uint8 \(B, 1, 8, 8\); got torch.uint8 \(2, 1, 4, 4\)"):
            leyden.load(model_files / name)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_damaged_pretrained_weights_are_refused(tmp_path):
    from leyden.models.weights_file import read_weights

    torch.save({"layer": torch.ones(1000)}, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth")["layer"].sum() == 1000
    flip_bit(tmp_path / "weights.pth", tmp_path / "flipped.pth", 2000)
    torch.save({"layer": torch.full((10,), math.nan)}, tmp_path / "nan.pth")
    for name, message in {"flipped.pth": "damaged", "nan.pth": "NaN"}.items():
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path / name)
