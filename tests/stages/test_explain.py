"""Maps point at what decides, and the evidence can tell a good map from chance."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leyden.cli import main
from leyden.data.packed import read_paths, read_split
from leyden.models.image_model import ImageModel
from leyden.stages.explain import choose, randomise
from leyden.stages.explain.draw import draw_map
from leyden.stages.explain.evidence import auc_of, rank_similarity
from leyden.stages.explain.methods import METHODS, attribute

HEIGHT, WIDTH = 8, 12


class CornerNetwork(nn.Module):
    """Class 1 if the upper left 3x3 pixels are bright: the evidence is known."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, num_classes, (HEIGHT, WIDTH), bias=False)
        self.activation = nn.ReLU()
        weight = torch.zeros_like(self.layer.weight)
        weight[1, :, :3, :3] = 0.05
        self.layer.weight = nn.Parameter(weight)

    def forward(self, images):
        return self.activation(self.layer(images)).flatten(1)


@pytest.fixture
def corner() -> ImageModel:
    spec = {"class_path": f"{__name__}.CornerNetwork", "init_args": {}}
    return ImageModel(spec, ["dark", "bright"], {"channels": 3, "image_size": [HEIGHT, WIDTH], "mean": [0.2] * 3, "std": [0.2] * 3}).eval()


@pytest.fixture
def images() -> np.ndarray:
    pixels = np.random.default_rng(0).integers(100, 256, (20, HEIGHT, WIDTH, 3), np.uint8)
    return pixels


@pytest.mark.parametrize("name", METHODS)
def test_every_method_points_at_the_known_evidence(name, corner, images):
    maps = attribute(name, corner, images, torch.ones(20, dtype=torch.long))
    assert maps.shape == (20, HEIGHT, WIDTH)
    inside = maps[:, :3, :3].abs().mean()
    outside = maps.abs()[:, 5:, 5:].mean()
    assert inside > 20 * outside.clamp(min=1e-9) and maps[:, :3, :3].min() > 0


def test_a_good_map_beats_chance_and_its_opposite_does_not(corner, images):
    with torch.no_grad():
        inputs = corner.preprocess(torch.from_numpy(images).permute(0, 3, 1, 2))
    truth = torch.zeros(20, HEIGHT, WIDTH)
    truth[:, :3, :3] = 1
    targets = torch.ones(20, dtype=torch.long)
    good, bad = auc_of(corner.network, inputs, truth, targets, 16, 0), auc_of(corner.network, inputs, -truth, targets, 16, 0)
    assert good["deletion_auc"] < good["random_deletion_auc"] - 0.1 and good["insertion_auc"] > good["random_insertion_auc"] + 0.1
    assert bad["deletion_auc"] > bad["random_deletion_auc"] + 0.1
    assert good["random_deletion_auc"] == bad["random_deletion_auc"]


def test_rank_similarity():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(50, 8, 8, generator=generator)
    assert rank_similarity(maps, maps.exp()) == pytest.approx(1) and rank_similarity(maps, -maps) == pytest.approx(1)
    assert rank_similarity(maps, torch.rand(50, 8, 8, generator=generator)) < 0.2
    assert rank_similarity(maps, torch.zeros(50, 8, 8)) == 0


def test_randomised_model_forgets_and_the_original_stays(corner):
    before = corner.network.layer.weight.clone()
    assert not torch.equal(randomise(corner, 0).network.layer.weight, before) and torch.equal(corner.network.layer.weight, before)
    assert torch.equal(randomise(corner, 0).network.layer.weight, randomise(corner, 0).network.layer.weight)


def test_choice_shows_errors_then_doubts_then_each_class():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.99, 0.01], [0.1, 0.9]])
    rows, reasons = choose(probabilities, torch.tensor([0, 0, 1, 0, 1]), 6)
    assert rows[:2] == [1, 2] and reasons[:2] == ["wrong", "unsure"] and set(rows[2:]) == {3, 4}
    assert len(choose(probabilities, torch.tensor([0, 0, 1, 0, 1]), 3)[0]) == 3


@pytest.mark.parametrize("values", [np.zeros((4, 6)), -np.ones((4, 6)), np.eye(4, 6)])
def test_drawing_survives_empty_and_one_sided_maps(values, tmp_path):
    draw_map(tmp_path / "map.png", np.zeros((4, 6, 3), np.uint8), values)
    assert (tmp_path / "map.png").stat().st_size > 50


def test_stage_writes_the_maps_of_the_examples_that_it_names(in_trained, tmp_path):
    args = ["--num_evidence=16", "--num_shown=5", "--methods=[integrated_gradients,saliency]"]
    assert main(["explain", "--out", str(tmp_path / "out"), *args]) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(metrics) == {"integrated_gradients", "saliency"}
    figures = metrics["integrated_gradients"]
    assert figures["deletion_auc"] < figures["random_deletion_auc"] and figures["insertion_auc"] > figures["random_insertion_auc"]
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
    assert "expected methods among integrated_gradients, saliency, occlusion; got 'magic'" in error_of("explain", "--methods=[magic]")
