"""What the stage writes: maps of the examples that it lists, metrics, verdicts; some methods are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.files.tables import read_table
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.runtimes.load import predict_logits
from leyden.stages.explain import randomise
from leyden.stages.explain.drawing import draw_image, draw_map
from leyden.stages.explain.examples import choose_examples
from leyden.stages.explain.predictions import Predictions


def test_weights_are_randomised_by_seed_in_a_copy():
    spec = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1]}}
    model = ImageModel(spec, ["a", "b"], {"channels": 1, "image_size": [8, 8], "mean": [0.2], "std": [0.2]})
    before = model.network.head.weight.clone()
    first, second = (randomise(model, 0).network.head.weight for _ in range(2))
    assert not torch.equal(first, before)
    assert torch.equal(model.network.head.weight, before)
    assert torch.equal(first, second)


def test_errors_are_chosen_first_then_unsure_predictions_then_each_class():
    confidence, errors = torch.tensor([0.9, 0.8, 0.55, 0.99, 0.9]), np.array([0.0, 1, 0, 0, 0])
    predictions = Predictions(errors, torch.tensor([0, 1, 1, 0, 1]), confidence)
    rows, reasons = choose_examples(predictions, np.array([0, 0, 1, 0, 1]), 6)
    assert rows[:2] == [1, 2]
    assert reasons[:2] == ["wrong", "unsure"]
    assert set(rows[2:]) == {3, 4}
    assert len(choose_examples(predictions, np.array([0, 0, 1, 0, 1]), 3)[0]) == 3


def test_without_classes_the_largest_errors_are_chosen_then_the_smallest():
    predictions = Predictions(np.array([0.2, 3.0, 0.1, 2.0, 0.0, 1.0]), torch.zeros(6, dtype=torch.int64), None)
    rows, reasons = choose_examples(predictions, np.zeros((6, 1)), 5)
    assert rows == [1, 3, 5, 4, 2]
    assert reasons == ["large error"] * 3 + ["small error"] * 2
    no_errors = predictions._replace(errors=np.zeros(6))
    assert choose_examples(no_errors, np.zeros((6, 1)), 4) == ([0, 1, 2, 3], ["small error"] * 4)
    assert sorted(choose_examples(predictions, np.zeros((6, 1)), 12)[0]) == [*range(6)]
    unknown = predictions._replace(errors=np.array([np.nan, 1, 0, np.nan]))
    assert choose_examples(unknown, np.zeros((4, 1)), 4) == ([1, 2], ["large error", "small error"])


@pytest.mark.parametrize("values", [np.zeros((4, 6)), -np.ones((4, 6)), np.eye(4, 6)])
def test_maps_of_zeros_and_of_one_sign_can_be_drawn(values, tmp_path):
    draw_map(tmp_path / "map.png", np.zeros((4, 6, 3), np.uint8), values, ("for", "against"))
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert pixels.shape[0] == 4 * 27
    assert pixels.shape[1] > 6 * 27  # the map, and the colour bar right of it
    bar = pixels[:, 6 * 27 + 6]
    assert bar[0, 0] > bar[0, 2]  # red, for, at the top
    assert bar[-1, 2] > bar[-1, 0]  # blue, against, at the bottom
    assert (pixels[:100, : 6 * 27].max() > 0) == bool(values.any())  # zeros leave the image, which is black, unchanged


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (5, 1, 3), (4, 4, 1)])
def test_images_of_one_row_or_pixel_can_be_drawn(shape, tmp_path):
    draw_image(tmp_path / "image.png", np.zeros(shape, np.uint8))
    with Image.open(tmp_path / "image.png") as drawn:
        assert max(drawn.size) == 160


def test_an_unsigned_map_has_no_blue(tmp_path):
    draw_map(tmp_path / "map.png", np.zeros((4, 6, 3), np.uint8), np.eye(4, 6), None)
    pixels = np.asarray(Image.open(tmp_path / "map.png")).astype(int)
    assert (pixels[..., 0] >= pixels[..., 2]).all()


def test_stage_writes_the_maps_of_the_examples_that_it_lists(in_trained, tmp_path):
    args = ["--num_evidence=16", "--num_shown=5", "--methods=[attention_rollout,integrated_gradients,saliency]"]
    assert main(["explain", "--out", str(tmp_path / "out"), *args]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(metrics) == {"integrated_gradients", "saliency"}
    measured = metrics["integrated_gradients"]
    assert measured["deletion_auc"] < measured["random_deletion_auc"]
    assert measured["insertion_auc"] > measured["random_insertion_auc"]
    assert measured["gain_low"] < measured["gain"] < measured["gain_high"]
    assert measured["completeness_error"] < 0.1
    assert measured["examples"] == 16
    assert all(isinstance(value, int | float) for each in metrics.values() for value in each.values())
    verdicts = {row["method"]: row for row in read_table(tmp_path / "out/summary.csv", "explain")}
    assert set(verdicts) == {"attention_rollout", "integrated_gradients", "saliency"}
    assert verdicts["attention_rollout"]["verdict"] == "refused"
    assert "no attention maps" in verdicts["attention_rollout"]["reason"]
    assert next(iter(verdicts)) == "integrated_gradients"
    assert verdicts["integrated_gradients"]["verdict"] == "trust here"
    rows = read_table(tmp_path / "out/examples.csv", "explain")
    arrays = np.load(tmp_path / "out/maps/maps.npz")
    paths, split = read_paths("artifacts/prepare", "test"), read_split("artifacts/prepare", "test")
    assert [row["path"] for row in rows] == [paths[number] for number in arrays["rows"]]
    assert len(rows) == 5
    assert np.array_equal(arrays["images"], split.images[arrays["rows"]])
    assert arrays["saliency"].shape == (5, 8, 8)
    model = load_checkpoint(Path("artifacts/train/model.ckpt"))
    assert model.temperature != 1
    logits = predict_logits(model, split.images[arrays["rows"]], 8)
    confidences = (logits / model.temperature).softmax(1).amax(1).tolist()
    assert [float(row["confidence"]) for row in rows] == pytest.approx(confidences, abs=1e-4)
    for row in rows:
        for suffix in ("", "-integrated_gradients", "-saliency"):
            assert (tmp_path / "out/maps" / f"{Path(row['file']).stem}{suffix}.png").is_file()


def test_unknown_method(in_trained, error_of):
    assert "kernel_shap, lime, attention_rollout; got 'magic'" in error_of("explain", "--methods=[magic]")
