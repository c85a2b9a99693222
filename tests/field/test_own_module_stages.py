"""The stages after the training of a module as strangers write it: true results, or one line says what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import leyden
from leyden.cli import main
from leyden.files.tables import read_table
from leyden.runtimes.module_inputs import find_lengths
from leyden.stages.export.own_module import compare
from tests.field.own_module_runs import LINE, MODEL, assert_nothing_is_left_of, fit, read_json

pytestmark = pytest.mark.filterwarnings("ignore")  # of the users' code, which is not ours to change

TWO_FORMATS = '--formats={"pt2": ["fp32"], "onnx": ["fp32"]}'
TEST = "def test_step(self, batch, batch_idx, dataloader_idx=0):\n    error = self.errors(batch)\n    "
TWO_LOADERS = "def {}(self): return [DataLoader(rows(), batch_size=8), DataLoader(rows(8), batch_size=8)]"
EMPTY = "def test_dataloader(self): return DataLoader(rows(3), batch_size=8, drop_last=True)"
# What `leyden evaluate` cannot score: bodies of Model and Data, error.
NOT_EVALUATED = {
    "nothing": (f"{TEST}pass", "", "expected scores that Model.test_step logs, or values of examples"),
    "of a batch": (
        f"{TEST}return {{'error': error.mean()[None]}}",
        "",
        "a value for each example; got {'error': (1,)}",
    ),
    "of some examples": (f"{TEST}return {{'error': error[:2]}}", "", "a value for each example; got {'error': (2,)}"),
    "names that vary": (f"{TEST}return {{str(batch_idx): error}}", "", "the same names in each batch"),
    "nan": (
        f"{TEST}return {{'error': error * float('nan')}}",
        "",
        "expected finite test scores; got NaN or infinity as",
    ),
    "low": (f"{TEST}return {{'error': error, 'error_low': error}}", "", "test_step logs or returns error_low; rename"),
    "examples": (f"{TEST}return {{'examples': error}}", "", "test_step logs or returns examples; rename them"),
    "level": (f"{TEST}self.log('confidence_level', 1.0)", "", "test_step logs or returns confidence_level; rename"),
    "complex": (f"{TEST}return {{'error': error + 1j}}", "", "expected scores that Model.test_step logs, or values"),
    "raises": (f"{TEST}raise IndexError('t')", "", f"Model fails with IndexError: t ({LINE}"),
    "exits": (f"{TEST}sys.exit(0)", "", f"Model fails with SystemExit: 0 ({LINE}"),
    "no test_step": ("test_step = LightningModule.test_step", "", "expected a test_step, whose scores are recorded"),
    "no test loader": ("", "test_dataloader = LightningDataModule.test_dataloader", "must be implemented"),
    "two loaders": (
        f"{TEST}return {{'error': error}}",
        TWO_LOADERS.format("test_dataloader"),
        "expected one test loader",
    ),
    "empty loader": ("", EMPTY, "expected test batches of Data; got none"),
}


@pytest.mark.parametrize("name", NOT_EVALUATED)
def test_what_cannot_be_evaluated_is_one_line(name, write_mine, error_of):
    model, data, expected = NOT_EVALUATED[name]
    write_mine(model, data)
    fit()
    assert expected in error_of("evaluate", "--num_resamples=100")
    assert_nothing_is_left_of("evaluate")


@pytest.mark.parametrize("value", ["error.numpy()", "error.double()", "error.bfloat16()", "error.detach()"])
def test_values_of_examples_of_any_type_are_scored(value, write_mine):
    write_mine(f"{TEST}return {{'error': {value}, 'name': ['a'] * len(error), 'loss': error.mean()}}")
    fit()
    assert main(["evaluate", "--num_resamples=100"]) == 0
    metrics = read_json("artifacts/evaluate/metrics.json")
    rows = read_table(Path("artifacts/evaluate/predictions.csv"), "the test")
    assert metrics["examples"] == len(rows) == 24
    assert metrics["error"] == pytest.approx(np.mean([float(row["error"]) for row in rows]), rel=1e-4)
    assert list(rows[0]) == ["example", "error"]


def test_the_summary_has_every_score_whatever_its_name(write_mine, capsys):
    write_mine(f"{TEST}self.log('hue_low', 0.25)\n    return {{'error': error}}")
    fit()
    assert main(["evaluate", "--num_resamples=100"]) == 0
    assert "hue_low 0.25, error " in capsys.readouterr().out


def test_a_single_test_example_has_a_score_without_interval(write_mine):
    write_mine("", "def test_dataloader(self): return DataLoader(rows(1))")
    fit()
    assert main(["evaluate"]) == 0
    metrics = read_json("artifacts/evaluate/metrics.json")
    assert metrics["error"] == pytest.approx(metrics["test_loss"]) and "error_low" not in metrics


def test_a_test_step_that_draws_random_numbers_scores_the_same_again(write_mine):
    write_mine(f"{TEST}return {{'error': torch.rand(len(error))}}")
    fit()
    scores = []
    for _ in range(2):
        assert main(["evaluate", "--num_resamples=100"]) == 0
        scores.append(read_json("artifacts/evaluate/metrics.json")["error"])
    assert scores[0] == scores[1]


PREDICT = "def predict_step(self, batch, batch_idx, dataloader_idx=0):\n    y = self(batch[0])\n    return "
ROWS = "with a row for each example; got"
NOT_PREDICTED = {
    "nothing": ("None", "", f"{ROWS} NoneType"),
    "a number": ("y.mean()", "", f"{ROWS} ()"),
    "one for a batch": ("y.mean()[None]", "", f"{ROWS} (1,)"),
    "some examples": ("y[:2]", "", f"{ROWS} (2, 1)"),
    "texts": ("['a'] * len(y)", "", f"{ROWS} str"),
    "sparse": ("y.to_sparse()", "", f"{ROWS} Tensor"),
    "nested": ("{'a': {'b': y}}", "", f"{ROWS} dict"),
    "array": ("y.numpy()", "", f"{ROWS} ndarray"),
    "sizes that vary": ("y.repeat(1, batch_idx + 1)", "", "expected batches with the same outputs"),
    "images": ("y[:, :, None, None].repeat(1, 1, 2, 2)", "", "write arrays with --out=predictions.npz"),
    "a column twice": ("{'a': y, 'a_0': y[:, 0]}", "", "expected columns of different names; got a_0 twice"),
    "the first column": ("{'example': y[:, 0]}", "", "got example twice"),
    "raises": ("1 / 0", "", f"Model fails with ZeroDivisionError: division by zero ({LINE}"),
    "two loaders": (
        "y",
        TWO_LOADERS.format("predict_dataloader"),
        "expected one loader to predict; Data returns several",
    ),
    "two test loaders": ("y", TWO_LOADERS.format("test_dataloader"), "expected one loader from Data.test_dataloader"),
    "no loader": ("y", "test_dataloader = LightningDataModule.test_dataloader", "expected a data module with a test_d"),
    "no examples": ("y", "def predict_dataloader(self): return DataLoader([])", "the loader returns no batch"),
}


@pytest.mark.parametrize("name", NOT_PREDICTED)
def test_what_cannot_be_predicted_is_one_line(name, write_mine, error_of):
    result, data, expected = NOT_PREDICTED[name]
    write_mine(PREDICT + result, data)
    fit()
    assert expected in error_of("predict", str(MODEL))
    assert not Path("predictions.csv").exists()


def test_integers_and_truth_values_are_written_in_full(write_mine):
    ids = "torch.arange(len(y)) + 123456789"
    write_mine(f"{PREDICT}{{'id': {ids}, 'is_high': y[:, 0] > 9, 'half': y[:, 0].bfloat16()}}")
    fit()
    assert main(["predict", str(MODEL)]) == 0
    first = read_table(Path("predictions.csv"), "the test")[0]
    assert (first["id"], first["is_high"]) == ("123456789", "0")


def test_arrays_keep_their_precision(write_mine):
    write_mine(f"{PREDICT}y.double() / 3")
    fit()
    assert main(["predict", str(MODEL), "--out=predictions.npz"]) == 0
    with np.load("predictions.npz") as arrays:
        assert arrays["prediction"].dtype == np.float64


def test_shuffled_test_examples_are_told(write_mine, capsys):
    write_mine("", "def test_dataloader(self): return DataLoader(rows(), batch_size=8, shuffle=True)")
    fit()
    for args in (["evaluate", "--num_resamples=100"], ["predict", str(MODEL)]):
        assert main(args) == 0
        assert f"{args[0]}: warning: the loader shuffles" in capsys.readouterr().err


HOOK = """
def on_after_batch_transfer(self, batch, dataloader_idx):
    if not (self.trainer.testing or self.trainer.predicting):
        return batch
    return [batch[0] * 10, batch[1]]
"""


@pytest.mark.parametrize("owner", ["model", "data"])
def test_hooks_that_change_batches_apply_in_every_stage(owner, write_mine):
    write_mine(**{owner: HOOK})
    fit()
    x = torch.cat([batch[0] for batch in __import__("mine").Data().test_dataloader()]) * 10
    with torch.no_grad():
        expected = leyden.load(MODEL)(x)[:, 0].numpy()
    assert main(["predict", str(MODEL)]) == 0
    rows = read_table(Path("predictions.csv"), "the test")
    assert np.allclose([float(row["prediction_0"]) for row in rows], expected, rtol=1e-4, atol=1e-4)
    assert main(["explain", "--methods=[saliency]", "--num_shown=2", "--num_evidence=4"]) == 0
    with np.load("artifacts/explain/maps/maps.npz") as arrays:
        assert np.allclose(arrays["input_0"], x[arrays["rows"]], atol=1e-4)


FORWARD = (
    "def forward(self, x):\n    y = self.net(x)\n    if self.training or self._trainer and self.trainer.validating:\n"
)
FORWARD += "        return y\n    return "
NOT_EXPLAINED = {
    "nan": (
        "y * float('nan')",
        "",
        "expected finite numbers to explain; those of Model are NaN or infinite for 24 of 24",
    ),
    "complex": ("torch.complex(y, y)", "", "Model.forward returns (10,) of complex numbers; add a method"),
    "some examples": ("y[:3]", "", "Model returns 3 for a batch of 10; add a method explained_scalar"),
    "scalar": ("y.mean()", "", "Model.forward returns (); add a method explained_scalar"),
    "dict": ("{'a': y}", "", "Model.forward returns dict; add a method explained_scalar"),
    "raises": ("1 / 0", "", f"it fails with ZeroDivisionError: division by zero ({LINE}"),
    "empty loader": ("y", EMPTY, "expected batches of the loader of Data; got none"),
    "two loaders": ("y", TWO_LOADERS.format("test_dataloader"), "expected one loader from Data.test_dataloader"),
}


@pytest.mark.parametrize("name", NOT_EXPLAINED)
def test_what_cannot_be_explained_is_one_line(name, write_mine, error_of):
    result, data, expected = NOT_EXPLAINED[name]
    write_mine(FORWARD + result, data)
    fit()
    assert expected in error_of("explain", "--methods=[saliency]")
    assert_nothing_is_left_of("explain")


NOT_EXPORTED = {
    "nothing": (
        "None",
        "",
        "",
        "expected Model.forward to return a tensor, or a tuple or dict of tensors; got NoneType",
    ),
    "nan": ("y * float('nan')", "", "", "expected finite outputs of Model.forward; output_0 has NaN or infinity"),
    "raises": ("1 / 0", "", "", f"it fails with ZeroDivisionError: division by zero ({LINE}"),
    "sparse": ("y.to_sparse()", "", "", "expected dense outputs of Model.forward; output_0 is sparse"),
    "some examples": ("y[y[:, 0] > 0]", "", "", "as for others; got"),
    "example of another shape": ("y", "torch.ones(2, 7)", "", "set example_input_array to what it takes"),
    "example of text": ("y", "'x'", "", "got no such tensor; set example_input_array"),
    "example of another name": ("y", "{'z': torch.ones(2, 4)}", "", "got an unexpected keyword argument 'z'"),
    "empty loader": ("y", "None", EMPTY, "expected batches of the loader of Data; got none"),
    "two loaders": (
        "y",
        "None",
        TWO_LOADERS.format("test_dataloader"),
        "expected one loader from Data.test_dataloader",
    ),
}


@pytest.mark.parametrize("name", NOT_EXPORTED)
def test_what_cannot_be_exported_is_one_line(name, write_mine, error_of):
    result, example, data, expected = NOT_EXPORTED[name]
    init = f"def __init__(self): super().__init__(); self.example_input_array = {example or None}\n"
    write_mine(init + FORWARD + result, data)
    fit()
    assert expected in error_of("export", TWO_FORMATS)
    assert_nothing_is_left_of("export")


def test_imaginary_parts_are_compared():
    expected, got = ([[torch.tensor([1.0 + part * 1j])]] for part in (2, 3))
    assert compare(expected, got)["max_abs_diff"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "result",
    [
        "{'a': y, 'b': {'c': y, 'd': 3}}",
        "[y, y]",
        "y.mean()",
        "(y > 0).long()",
        "y > 0",
        "y[:, :0]",
        "y.double()",
        "torch.from_numpy(np.sin(y.detach().numpy()))",
    ],
)
def test_outputs_of_any_type_are_exported_as_they_are_or_skipped_with_a_reason(result, write_mine):
    write_mine(FORWARD + result)
    fit()
    assert main(["export", TWO_FORMATS]) == 0
    rows = json.loads(Path("artifacts/export/report.json").read_text())
    assert {row["status"] for row in rows} <= {"checked", "skipped"}
    assert all(row["reason"] for row in rows if row["status"] == "skipped")


@pytest.mark.slow
def test_what_no_format_expresses_is_skipped_with_a_reason(write_mine):
    write_mine(FORWARD + "y if y.sum() > 0 else -y")
    fit()
    assert main(["export", TWO_FORMATS]) == 0
    rows = json.loads(Path("artifacts/export/report.json").read_text())
    assert [row["status"] for row in rows] == ["skipped", "skipped", "checked"]


def test_lengths_of_a_batch_are_those_of_its_examples():
    x, y = torch.zeros(5, 3), torch.zeros(5)
    assert find_lengths([x, y]) == find_lengths({"x": x, "y": y}) == find_lengths([x, {"y": y}]) - {2} == {5}
    assert find_lengths([[torch.zeros(3, 4), torch.zeros(3, 5)], ["a", "b"]]) == {3, 2}
    assert find_lengths(torch.tensor(1.0)) == find_lengths("text") == set()
