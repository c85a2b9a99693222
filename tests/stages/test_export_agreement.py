"""When a file agrees with its checkpoint, and how a better quantisation is searched for."""

import math

import numpy as np
import pytest
import torch

from leyden.outputs import load_reader
from leyden.runtimes.examples import ImageExamples
from leyden.stages.export.agreement import Comparison, Tolerance, largest_diff
from leyden.stages.export.export_request import Candidates, Quantisation
from leyden.stages.export.layer_search import LayerSearch
from leyden.stages.export.verification import ModelOutputs, compare_outputs

LOGITS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
READER = load_reader({"labels": list("abcd")})
LAYERS = [f"layer{number}" for number in range(8)]


def outputs(logits: np.ndarray) -> ModelOutputs:
    return ModelOutputs({64: logits, 7: logits, 1: logits[:64]}, {"labels": list("abcd")}, logits[:0])


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_fp32_is_judged_alike_for_large_and_small_logits(scale):
    expected, wrong, rounded = LOGITS * scale, LOGITS * scale * 1.001, LOGITS * scale * (1 + 1e-6)
    for values, is_allowed in ((wrong, False), (rounded, True)):
        metrics = compare_outputs(outputs(values), outputs(expected), np.zeros(200, int), READER)
        assert Tolerance().allows(metrics["max_relative_diff"], metrics["agreement"]) is is_allowed


def test_constant_logits_have_no_spread():
    comparison = Comparison(READER, np.ones((3, 4)))
    assert comparison.relative_diff(np.ones((3, 4))) == 0
    assert comparison.relative_diff(np.ones((3, 4)) + 1e-9) == math.inf


def test_a_tie_of_the_checkpoint_is_no_disagreement():
    expected = np.array([[1.0, 1.0 + 1e-6, -3.0], [1.0, 1.1, -3.0]], np.float32)
    swapped = expected[:, [1, 0, 2]]
    assert Comparison(READER, expected).agreement(swapped).tolist() == [1, 0]


def test_agreement_has_an_interval_over_the_examples_of_all_batch_sizes():
    wrong = LOGITS.copy()
    wrong[:3] *= -1
    metrics = compare_outputs(outputs(wrong), outputs(LOGITS), np.zeros(200, int), READER)
    assert metrics["agreement"] == 0.985
    assert metrics["agreement_low"] == pytest.approx(0.95683, abs=1e-5)
    assert metrics["agreement_high"] == pytest.approx(0.99591, abs=1e-5)


def search(harm: dict[str, float], percentile_helps: float = 1.0) -> LayerSearch:
    """Return a search over layers that each add an error of a given size to every logit if they are quantised."""

    def build(quantisation: Quantisation):
        factor = percentile_helps if quantisation.calibration == "percentile" else 1.0
        error = sum(size for layer, size in harm.items() if layer not in quantisation.float32_layers) * factor
        return lambda images: torch.from_numpy(LOGITS[:64] + np.float32(error))

    examples = ImageExamples(np.zeros((64, 1, 2, 2), np.uint8))
    return LayerSearch(
        "f",
        Candidates(LAYERS, ("minmax", "percentile"), build),
        examples,
        Comparison(READER, LOGITS[:64]),
        Tolerance(1, 0),
    )


def test_the_search_keeps_the_harmful_layers_and_no_others_in_float32():
    harm = dict.fromkeys(LAYERS, 0.01) | {"layer2": 3.0, "layer5": 5.0}
    assert search(harm).find() == Quantisation("minmax", ("layer5", "layer2"))


def test_a_better_calibration_is_preferred_to_layers_in_float32():
    assert search(dict.fromkeys(LAYERS, 1.0), percentile_helps=0.01).find() == Quantisation("percentile")


def test_a_search_without_a_solution_ends_after_a_bounded_number_of_runs():
    hopeless = search(dict.fromkeys(LAYERS, 9.0))
    assert hopeless.find() is None
    assert hopeless.num_runs <= len(LAYERS) + math.log2(len(LAYERS)) + 3
    many = search({})
    many.candidates = Candidates([f"{n}" for n in range(1000)], ("minmax",), lambda _: lambda images: torch.ones(64, 4))
    assert many.find() is None
    assert many.num_runs <= 64 + 6 + 3


def test_a_long_search_states_its_cost(monkeypatch, capsys):
    for name in ("MIN_SECONDS", "MEASURED_SECONDS"):
        monkeypatch.setattr(f"leyden.cost.{name}", 0.0)
    search(dict.fromkeys(LAYERS, 9.0)).find()
    assert capsys.readouterr().err.startswith("export: f: searching 8 groups of layers for those to keep in float32")


def test_not_a_number_exceeds_every_tolerance():
    assert largest_diff(LOGITS * np.nan, LOGITS) == math.inf
    assert Tolerance().used_fraction(math.inf, 1.0) == math.inf


def test_examples_are_taken_from_the_whole_split():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    assert ImageExamples(images).take(4).images.ravel().tolist() == [0, 25, 50, 75]
    assert len(ImageExamples(images).take(1000)) == 100


def test_the_old_name_of_a_tolerance_is_one_line(in_trained, error_of):
    line = error_of("export", "--tolerance.fp32.max_abs_diff=1")
    assert "max_abs_diff" in line
    assert "max_relative_diff" in line


def test_the_old_name_in_a_config_is_one_line(in_trained, error_of, tmp_path):
    (tmp_path / "export.yaml").write_text("tolerance: {int8: {max_abs_diff: 2.0, agreement: 0.98}}\n")
    line = error_of("export", "-c", str(tmp_path / "export.yaml"))
    assert "max_abs_diff" in line
    assert "max_relative_diff" in line
