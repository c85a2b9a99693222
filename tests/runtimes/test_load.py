"""A checkpoint needs no other file, and runs no code."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden import UserError
from leyden.data.packed import read_split
from leyden.runtimes.load import predict_logits, run_batches
from tests.stages.dense_model import SIZE, PixelModel
from tests.trust.tampering import Bomb, assert_refused, edit_checkpoint, set_network

CKPT = "artifacts/train/model.ckpt"


def test_load_needs_one_file_and_no_lightning(in_trained, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(Path(CKPT).read_bytes())
    code = (
        "import sys, torch, leyden; m = leyden.load('model.ckpt'); "
        "print(m.labels[3], tuple(m(torch.zeros(2, 1, 31, 17, dtype=torch.uint8)).shape), 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "3 (2, 10) False"


def test_checkpoint_is_plain_data_with_its_provenance(in_trained):
    checkpoint = torch.load(CKPT, weights_only=True)
    provenance = checkpoint["leyden"]["provenance"]
    assert provenance["config"]["trainer"]["max_epochs"] == 4
    assert len(provenance["data_hash"]) == 64
    assert provenance["code_version"].startswith(leyden.__version__)
    assert "hyper_parameters" not in checkpoint
    assert "optimizer_states" not in checkpoint


def test_loaded_model_classifies_the_digits(in_trained):
    split = read_split("artifacts/prepare", "test")
    logits = predict_logits(leyden.load(CKPT), split.images, 50)
    assert float((logits.argmax(1).numpy() == split.targets).mean()) > 0.85


def test_batch_size_does_not_change_the_logits(in_trained):
    split = read_split("artifacts/prepare", "test")
    model, images = leyden.load(CKPT), split.images[:65]
    assert torch.allclose(predict_logits(model, images, 7), predict_logits(model, images, 65), atol=1e-5)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"leyden": Bomb(), "state_dict": {}}, "evil.ckpt")
    assert_refused(Path("evil.ckpt"), "asks to run code")
    Path("evil2.ckpt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    assert_refused(Path("evil2.ckpt"), "evil2.ckpt cannot be read")


def test_a_class_path_that_is_not_a_network_is_refused(in_trained, tmp_path):
    change = set_network("os.system", command=f"touch {tmp_path}/pwned")
    evil = edit_checkpoint(Path(CKPT), tmp_path / "evil.ckpt", change)
    assert_refused(evil, r"holds the network os\.system, which is code")
    assert_refused(evil, "neither", trust=True)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "not found; run `leyden fit` first"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(Path(CKPT).read_bytes()[:5000]), "damaged"),
        (lambda path: torch.save({"state_dict": {}}, path), "no 'leyden' entry"),
        (lambda path: torch.save([1], path), "no 'leyden' entry"),
    ],
)
def test_invalid_checkpoints_are_refused(in_trained, tmp_path, write, message):
    write(tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=message):
        leyden.load(tmp_path / "model.ckpt")


def test_weights_of_a_different_network_are_refused(in_trained, tmp_path):
    def change(checkpoint):
        checkpoint["leyden"]["network"]["init_args"]["width"] = 16

    assert_refused(edit_checkpoint(Path(CKPT), tmp_path / "model.ckpt", change), r"do not fit leyden\.models")


def test_unknown_suffixes_are_refused(tmp_path):
    (tmp_path / "model.h5").touch()
    with pytest.raises(UserError, match=r"expected a model file \(\.ckpt, \.onnx, \.pt2, .*\); got model\.h5"):
        leyden.load(tmp_path / "model.h5")


def test_predict_logits_accepts_memory_maps(tmp_path, in_trained):
    np.save(tmp_path / "images.npy", np.zeros((5, 8, 8, 1), np.uint8))
    assert predict_logits(leyden.load(CKPT), np.load(tmp_path / "images.npy", mmap_mode="r"), 2).shape == (5, 10)


def test_outputs_with_a_value_for_each_pixel_come_batch_by_batch():
    images = np.full((10, *SIZE, 1), 9, np.uint8)
    shapes = [tuple(outputs.shape) for outputs in run_batches(PixelModel(), images, 4)]
    assert shapes == [(4, 2, *SIZE), (4, 2, *SIZE), (2, 2, *SIZE)]
    assert predict_logits(PixelModel(), images, 4).shape == (10, 2, *SIZE)
    images[3] = 0
    with pytest.raises(UserError, match="NaN or infinity for 1 of 10 examples"):
        predict_logits(PixelModel(), images, 4)


def test_another_shape_than_the_tasks_is_one_line():
    with pytest.raises(UserError, match=r"expected logits of shape \(2, 2, 6, 8\).*; got \(2, 2, 5, 8\)"):
        predict_logits(PixelModel(), np.ones((2, 5, 8, 1), np.uint8), 2)
