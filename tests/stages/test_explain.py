"""What the stage writes: maps of the examples that it names, figures, verdicts; what a network does not allow is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.models.image_model import ImageModel
from leyden.stages.explain import randomise
from leyden.stages.explain.draw import draw_map
from leyden.stages.explain.examples import choose


def test_randomised_model_forgets_and_the_original_stays():
    spec = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1]}}
    model = ImageModel(spec, ["a", "b"], {"channels": 1, "image_size": [8, 8], "mean": [0.2], "std": [0.2]})
    before = model.network.head.weight.clone()
    assert not torch.equal(randomise(model, 0).network.head.weight, before) and torch.equal(
        model.network.head.weight, before
    )
    assert torch.equal(randomise(model, 0).network.head.weight, randomise(model, 0).network.head.weight)


def test_choice_shows_errors_then_doubts_then_each_class():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.99, 0.01], [0.1, 0.9]])
    rows, reasons = choose(probabilities, torch.tensor([0, 0, 1, 0, 1]), 6)
    assert rows[:2] == [1, 2] and reasons[:2] == ["wrong", "unsure"] and set(rows[2:]) == {3, 4}
    assert len(choose(probabilities, torch.tensor([0, 0, 1, 0, 1]), 3)[0]) == 3


@pytest.mark.parametrize("values", [np.zeros((4, 6)), -np.ones((4, 6)), np.eye(4, 6)])
def test_drawing_survives_empty_and_one_sided_maps(values, tmp_path):
    draw_map(tmp_path / "map.png", np.zeros((4, 6, 3), np.uint8), values)
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    assert pixels.shape[0] == 4 * 27 and pixels.shape[1] > 6 * 27  # the map, and the bar of colours right of it
    bar = pixels[:, 6 * 27 + 6]
    assert bar[0, 0] > bar[0, 2] and bar[-1, 2] > bar[-1, 0]  # red, for, is above blue, against
    assert (pixels[:100, : 6 * 27].max() > 0) == bool(values.any())  # zeros leave the image, here a black one, alone


def test_a_map_without_signs_has_no_blue(tmp_path):
    draw_map(tmp_path / "map.png", np.zeros((4, 6, 3), np.uint8), np.eye(4, 6), signed=False)
    pixels = np.asarray(Image.open(tmp_path / "map.png")).astype(int)
    assert (pixels[..., 0] >= pixels[..., 2]).all()


def test_stage_writes_the_maps_of_the_examples_that_it_names(in_trained, tmp_path):
    args = ["--num_evidence=16", "--num_shown=5", "--methods=[attention_rollout,integrated_gradients,saliency]"]
    assert main(["explain", "--out", str(tmp_path / "out"), *args]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(metrics) == {"integrated_gradients", "saliency"}
    figures = metrics["integrated_gradients"]
    assert (
        figures["deletion_auc"] < figures["random_deletion_auc"]
        and figures["insertion_auc"] > figures["random_insertion_auc"]
    )
    assert (
        figures["gain_low"] < figures["gain"] < figures["gain_high"]
        and figures["completeness_error"] < 0.1
        and figures["examples"] == 16
    )
    assert all(isinstance(value, int | float) for each in metrics.values() for value in each.values())
    with open(tmp_path / "out/summary.csv", newline="", encoding="utf-8") as file:
        verdicts = {row["method"]: row for row in csv.DictReader(file)}
    assert set(verdicts) == {"attention_rollout", "integrated_gradients", "saliency"}
    assert (
        verdicts["attention_rollout"]["verdict"] == "refused"
        and "no attention maps" in verdicts["attention_rollout"]["reason"]
    )
    assert (
        next(iter(verdicts.values()))["method"] == "integrated_gradients"
        and verdicts["integrated_gradients"]["verdict"] == "trust here"
    )
    with open(tmp_path / "out/examples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    arrays = np.load(tmp_path / "out/maps/maps.npz")
    paths, split = read_paths("artifacts/prepare", "test"), read_split("artifacts/prepare", "test")
    assert [row["path"] for row in rows] == [paths[number] for number in arrays["rows"]] and len(rows) == 5
    assert np.array_equal(arrays["images"], split.images[arrays["rows"]])
    assert arrays["saliency"].shape == (5, 8, 8)
    for row in rows:
        for suffix in ("", "-integrated_gradients", "-saliency"):
            assert (tmp_path / "out/maps" / f"{Path(row['file']).stem}{suffix}.png").is_file()


def test_unknown_method(in_trained, error_of):
    assert "kernel_shap, lime, attention_rollout; got 'magic'" in error_of("explain", "--methods=[magic]")
