"""The stages after the training, for any LightningModule."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import leyden
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.models.module_checkpoint import load_data_module
from leyden.runtimes.module_inputs import bind_batch
from leyden.stages.export import module_files
from tests.conftest import REPO

pytestmark = [  # of the users' code, which is not ours to change
    pytest.mark.filterwarnings("ignore:Attribute 'activation' is an instance of `nn.Module`"),
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader` but have no `validation_step`"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]
MINE, FOREIGN = "tests.stages.own_modules", "tests.training.foreign_modules"
IMAGES = f"--data={FOREIGN}.NoisyImageData"
PARTS = [f"--model.{name}={FOREIGN}.{name.title()}" for name in ("encoder", "decoder")]
SIZES = ["--model.encoder.size=3", "--model.decoder.size=3"]
MODULES = {
    "classifier": [f"--model={MINE}.ScoredClassifier", IMAGES, "--checkpoint.monitor=val_acc"],
    "autoencoder": [f"--model={FOREIGN}.AutoEncoder", *PARTS, *SIZES, IMAGES, "--checkpoint.monitor=train_loss"],
    "gan": [f"--model={MINE}.SampledGAN", IMAGES, "--checkpoint.monitor=null"],
    "plain_gan": [f"--model={FOREIGN}.GAN", IMAGES, "--checkpoint.monitor=null"],
    "regressor": [f"--model={FOREIGN}.Regressor", f"--data={FOREIGN}.Table", "--checkpoint.monitor=val/rmse"],
    "tested": [f"--model={FOREIGN}.Regressor", f"--data={MINE}.TestedTable", "--checkpoint.monitor=val/rmse"],
    "finetuned": [f"--model={FOREIGN}.FineTuned", IMAGES, "--data.count=20"],
    "containers": [f"--model={MINE}.Containers", f"--data={MINE}.Rows", "--checkpoint.monitor=val/rmse"],
    "squeezed": [f"--model={MINE}.Squeezed", f"--data={FOREIGN}.Table", "--checkpoint.monitor=val/rmse"],
    "noisy": [f"--model={MINE}.Noisy", f"--data={FOREIGN}.Table", "--checkpoint.monitor=val/rmse"],
}
MODEL = Path("artifacts/train/model.ckpt")
TWO_FORMATS = '--formats={"pt2": ["fp32"], "onnx": ["fp32"]}'
Enter = Callable[[str], None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp(name) for name in MODULES}


@pytest.fixture
def enter(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Return a function that changes to the folder of a module, which is trained when it is first used."""

    def change(name: str) -> None:
        monkeypatch.chdir(folders[name])
        monkeypatch.setenv("PYTHONPATH", f"{REPO}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        if not MODEL.is_file():
            assert main(["fit", "--trainer.max_epochs=1", *MODULES[name]]) == 0

    return change


def read_json(path: str):
    return json.loads(Path(path).read_text())


def read_rows(path: Path) -> list[dict[str, str]]:
    return read_table(path, "the test")


def error_of(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    capsys.readouterr()
    assert main(list(args)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def expected_outputs(x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return leyden.load(MODEL)(x).numpy()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("classifier", (1, 8, 8)),
        pytest.param("autoencoder", (1, 8, 8), marks=pytest.mark.slow),
        ("gan", (8,)),
        ("regressor", (6,)),
        pytest.param("finetuned", (1, 8, 8), marks=pytest.mark.slow),
    ],
)
def test_exported_files_have_the_outputs_of_the_module_for_any_batch_size(name, shape, enter):
    enter(name)
    assert main(["export", TWO_FORMATS]) == 0
    rows = read_json("artifacts/export/report.json")
    assert [(row["format"], row["status"]) for row in rows] == [(n, "checked") for n in ("pt2", "onnx", "eager")]
    session = onnxruntime.InferenceSession("artifacts/export/model.onnx")
    (given,) = session.get_inputs()
    program = torch.export.load("artifacts/export/model.pt2").module()
    for size in (1, 9):
        x = torch.randn(size, *shape)
        expected = expected_outputs(x)
        assert np.allclose(session.run(["output_0"], {given.name: x.numpy()})[0], expected, atol=1e-5)
        assert np.allclose(program(x)[0].detach().numpy(), expected, atol=1e-5)


def test_containers_are_named_tensors(enter):
    enter("containers")
    assert main(["export", TWO_FORMATS]) == 0
    session = onnxruntime.InferenceSession("artifacts/export/model.onnx")
    assert [each.name for each in session.get_inputs()] == ["x", "offset"]
    names = ["output_x", "parts_0", "parts_1"]
    assert [each.name for each in session.get_outputs()] == names
    x, offset = torch.randn(4, 6), torch.randn(4)
    with torch.no_grad():
        expected = leyden.load(MODEL)({"x": x, "offset": offset})
    outputs = session.run(names, {"x": x.numpy(), "offset": offset.numpy()})
    for got, tensor in zip(outputs, [expected["x"], *expected["parts"]], strict=True):
        assert np.allclose(got, tensor.numpy(), atol=1e-5)
    description = json.loads(session.get_modelmeta().custom_metadata_map["leyden"])
    assert description["inputs"][1] == {"name": "offset", "dtype": "float32", "shape": ["batch"]}
    assert description["outputs"][1] == {"name": "parts_0", "dtype": "float32", "shape": ["batch", 1]}


@pytest.mark.slow
def test_every_format_is_written_or_skipped_with_a_reason(enter):
    enter("classifier")
    assert main(["export", "--out=all"]) == 0
    rows = {(row["format"], row["precision"]): row for row in read_json("all/report.json")}
    skipped = {key: row["reason"] for key, row in rows.items() if row["status"] == "skipped"}
    assert skipped == {
        ("onnx", "int8"): "supports a LightningModule of your own in fp32 only",
        ("safetensors", "fp32"): "holds weights only, and needs the module's class: use the checkpoint",
    }
    assert all(row["max_relative_diff"] < 5e-4 for row in rows.values() if row["file"])


def test_a_file_that_differs_is_refused_and_nothing_is_published(enter, capsys, monkeypatch):
    enter("regressor")
    monkeypatch.setattr(
        "leyden.stages.export.own_module.open_file",
        lambda path: lambda inputs: [each + 0.1 for each in module_files.open_file(path)(inputs)],
    )
    error = error_of(capsys, "export", '--formats={"pt2": ["fp32"]}', "--out=refused")
    assert "model.pt2: expected the module's outputs within 0.0005 of their standard deviation; got" in error
    assert "for output_0; nothing is published" in error
    assert not Path("refused").exists()


def test_random_outputs_are_refused(enter, capsys):
    enter("noisy")
    assert "expected Noisy.forward to return the same outputs for the same inputs" in error_of(capsys, "export")


def test_shapes_that_change_with_the_size_of_the_batch_are_refused(enter, capsys):
    enter("squeezed")
    error = error_of(capsys, "export")
    assert "expected Squeezed.forward to return [[1]] for 1 examples, as for others; got [[]]" in error


def test_a_number_without_a_gradient_refuses_the_methods(enter):
    enter("squeezed")
    assert main(["explain", "--methods=[integrated_gradients, saliency]"]) == 0
    rows = read_rows(Path("artifacts/explain/summary.csv"))
    assert [row["verdict"] for row in rows] == ["refused", "refused"]
    assert all(row["reason"].startswith("the number has no gradient") for row in rows)


def test_inputs_that_do_not_fit_forward_name_example_input_array(enter, capsys):
    enter("plain_gan")
    error = error_of(capsys, "export")
    assert "expected GAN.forward to take the inputs of a test batch; it fails with ValueError" in error
    assert "set example_input_array" in error


def test_loading_an_exported_file_says_how_to_run_it(enter, capsys):
    enter("regressor")
    assert main(["export", TWO_FORMATS]) == 0
    capsys.readouterr()
    for file, way in (("onnx", "onnxruntime.InferenceSession"), ("pt2", "torch.export.load")):
        with pytest.raises(leyden.UserError, match=f"Regressor.forward, from x to output_0; run it with {way}"):
            leyden.load(f"artifacts/export/model.{file}")


def test_values_of_examples_have_an_interval(enter):
    enter("classifier")
    assert main(["evaluate", "--require={test_loss: 1, correct: 0}"]) == 0
    metrics, rows = read_json("artifacts/evaluate/metrics.json"), read_rows(Path("artifacts/evaluate/predictions.csv"))
    correct = [float(row["correct"]) for row in rows]
    assert len(rows) == metrics["examples"] == 16
    assert metrics["correct"] == pytest.approx(np.mean(correct))
    assert metrics["correct_low"] <= metrics["correct"] <= metrics["correct_high"]
    assert metrics["test_loss"] == pytest.approx(1 - np.mean(correct))
    assert "loss" not in metrics  # of the batch, not of each example


def test_evaluate_without_a_test_step_is_one_line(enter, capsys):
    enter("regressor")
    assert "expected a test_step, whose scores are recorded; Regressor has none" in error_of(capsys, "evaluate")


def test_predictions_are_what_predict_step_returns(enter):
    enter("classifier")
    assert main(["predict", str(MODEL)]) == 0
    rows = read_rows(Path("predictions.csv"))
    assert list(rows[0]) == ["example", "class", "scores_0", "scores_1", "scores_2", "scores_3"]
    assert len(rows) == 16
    scores = np.array([[float(row[f"scores_{index}"]) for index in range(4)] for row in rows])
    assert scores.argmax(1).tolist() == [int(row["class"]) for row in rows]
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-4)


def test_predictions_without_predict_step_are_those_of_forward(enter):
    enter("tested")
    assert main(["predict", str(MODEL), "--out=predictions.npz"]) == 0
    (x, _), *_ = load_data_module(MODEL).test_dataloader()
    with np.load("predictions.npz") as arrays:
        assert arrays["prediction"].shape == (96, 1)
        assert np.allclose(arrays["prediction"][: len(x)], expected_outputs(x), atol=1e-5)


def test_predict_without_data_to_predict_is_one_line(enter, capsys):
    enter("regressor")
    error = error_of(capsys, "predict", str(MODEL))
    assert error.endswith("expected a data module with a test_dataloader; Table has none; add one")


def test_the_explained_number_is_attributed_to_the_inputs_that_decide_it(enter):
    enter("tested")
    assert main(["explain", "--methods=[integrated_gradients, saliency, grad_cam]", "--num_shown=4"]) == 0
    metrics = read_json("artifacts/explain/metrics.json")
    assert metrics["integrated_gradients"]["gain_low"] > 0
    verdicts = {row["method"]: row["verdict"] for row in read_rows(Path("artifacts/explain/summary.csv"))}
    assert verdicts["grad_cam"] == "refused"
    with np.load("artifacts/explain/maps/maps.npz") as arrays:
        maps, inputs = arrays["integrated_gradients"], torch.from_numpy(arrays["input_0"])
    (mean,) = (each.mean(0, keepdim=True) for each in load_data_module(MODEL).rows.tensors[:1])
    changes = expected_outputs(inputs) - expected_outputs(mean)  # attributions add up to it
    assert np.allclose(maps.sum(1), changes[:, 0], atol=0.05 * np.abs(changes).max())
    rows = read_rows(Path("artifacts/explain/examples.csv"))
    assert [row["chosen"] for row in rows] == ["large", "large", "small", "small"]
    assert all(Path("artifacts/explain", row["file"]).is_file() for row in rows)


def test_a_method_names_the_explained_number(enter):
    enter("classifier")
    assert main(["explain", "--methods=[saliency]", "--num_shown=2", "--num_evidence=8"]) == 0
    with np.load("artifacts/explain/maps/maps.npz") as arrays:
        assert arrays["saliency"].shape == (2, 64)
    for name in ("influence", "channels", "concepts"):
        assert read_rows(Path(f"artifacts/explain/{name}.csv")) == []


def test_a_module_without_a_number_is_told_what_to_add(enter, capsys):
    enter("autoencoder")
    error = error_of(capsys, "explain")
    assert "AutoEncoder.forward returns (16, 3); add a method explained_scalar(self, batch)" in error


def test_compare_is_one_line(enter, capsys):
    enter("regressor")
    error = error_of(capsys, "compare", str(MODEL), str(MODEL))
    assert f"expected a model that describes its labels and input; {MODEL} holds Regressor, which does not" in error


def test_batches_are_bound_to_forward():
    x, y, z = torch.zeros(2), torch.ones(2), torch.ones(2)
    assert bind_batch(lambda x: x, [x, y]) == ((x,), {})
    assert bind_batch(lambda x: x, x) == ((x,), {})
    assert bind_batch(lambda a, b: a, (x, y, z)) == ((x, y), {})
    assert bind_batch(lambda a, b: a, ((x, y), z)) == ((x, y), {})
    assert bind_batch(lambda x, mask=None: x, {"x": x, "y": y}) == ((), {"x": x})
    assert bind_batch(lambda batch: batch, {"x": x}) == (({"x": x},), {})
