"""Attributions of time steps point at the step that decides, add up, and say nothing of padding."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from leyden.cli import main
from leyden.data.packed import read_paths
from leyden.data.sequences import Sequences, read_sequence_split
from leyden.models.sequence_model import SequenceModel
from leyden.stages.explain.methods import METHODS as IMAGE_METHODS
from leyden.stages.explain.sequences import METHODS, Steps, areas_of, attribute, draw_steps, take
from tests.conftest import REPO

DECIDING = 11
NETWORKS = ("GRUClassifier", "TransformerClassifier", "SwitchingClassifier")


class OneStepNetwork(nn.Module):
    """Class 1 by one time step alone; all others are read and have no weight."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_features, num_classes, bias=False)
        self.head.weight = nn.Parameter(torch.tensor([[0.0, 0.0], [2.0, 1.0]]))

    def forward(self, values, lengths):
        weight = torch.zeros(values.shape[1]).index_fill(0, torch.tensor(DECIDING), 1.0)
        return self.head((values * weight[:, None]).sum(dim=1))


def make_model(class_path: str, **init_args: int) -> SequenceModel:
    torch.manual_seed(0)
    spec = {"class_path": class_path, "init_args": init_args}
    return SequenceModel(spec, ["no", "yes"], {"features": 2, "mean": [0.5, 0.0], "std": [1.0, 2.0]}).eval()


@pytest.fixture
def sequences() -> Sequences:
    generator = np.random.default_rng(0)
    lengths = generator.integers(DECIDING + 1, 40, 70)  # more than one batch
    return Sequences(generator.normal(2, 1, (lengths.sum(), 2)).astype(np.float32), np.cumsum([0, *lengths]))


def take_all(module: SequenceModel, sequences: Sequences) -> Steps:
    return take(module, sequences, np.arange(len(sequences)), torch.ones(len(sequences), dtype=torch.long))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_points_at_the_deciding_step(name, sequences):
    module = make_model(f"{__name__}.OneStepNetwork")
    steps = take_all(module, sequences)
    state = torch.get_rng_state()
    maps = attribute(name, module, steps)
    assert torch.equal(torch.get_rng_state(), state)
    assert maps.shape == steps.values.shape[:2]
    reach = 4 if name == "occlusion" else 0  # an eighth of the 39 steps at most is hidden at a time
    near = (torch.arange(maps.shape[1]) - DECIDING).abs() <= reach
    assert (maps[:, DECIDING].abs() > 0.5 * maps.abs().amax(dim=1)).all() and not maps[:, ~near].any()
    (deletion, insertion), (wrong, wrongly), (chance, _) = (
        areas_of(module.network, steps, order, 16)
        for order in (maps, -maps, torch.rand(maps.shape, generator=torch.Generator().manual_seed(0)))
    )
    assert deletion.mean() < wrong.mean() and insertion.mean() > wrongly.mean()
    if name != "saliency":  # which does not tell for from against, and some of these steps speak against
        assert deletion.mean() < chance.mean() - 0.1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", METHODS)
def test_lengths_travel_along_and_padding_gets_nothing(name, network, sequences):
    module = make_model(f"leyden.models.{network}", width=16)
    steps = take_all(module, sequences)
    maps = attribute(name, module, steps)
    assert not maps[~steps.inside].any() and maps[steps.inside].any()
    for row in (3, 68):  # of different batches
        alone = Steps(steps.values[[row], : steps.lengths[row]], steps.lengths[[row]], steps.targets[[row]])
        torch.testing.assert_close(
            maps[[row], : steps.lengths[row]], attribute(name, module, alone), atol=1e-4, rtol=1e-3
        )


def test_only_steps_inside_a_sequence_are_deleted(sequences):
    module = make_model(f"{__name__}.OneStepNetwork")
    steps = take_all(module, sequences)
    order = torch.randn(steps.values.shape[:2], generator=torch.Generator().manual_seed(0))
    areas = areas_of(module.network, steps, order, 16)
    for row in (3, 68):
        length = steps.lengths[row]
        alone = areas_of(
            module.network,
            Steps(steps.values[[row], :length], steps.lengths[[row]], steps.targets[[row]]),
            order[[row], :length],
            16,
        )
        assert [float(area) for area in alone] == pytest.approx([float(area[row]) for area in areas])


@pytest.mark.parametrize(
    "network", NETWORKS[:2]
)  # the third's `if` makes steps along the path of which no gradient tells
def test_integrated_gradients_add_up_to_the_difference_of_logits(network, sequences):
    module = make_model(f"leyden.models.{network}", width=16)
    steps = take_all(module, sequences)
    with torch.no_grad():
        for weight in module.network.parameters():
            weight.mul_(2)  # an untrained network is nearly linear, and adds up too easily
        gained = (
            module.network(steps.values, steps.lengths) - module.network(torch.zeros_like(steps.values), steps.lengths)
        )[:, 1]
    assert gained.abs().mean() > 0.1
    torch.testing.assert_close(attribute("integrated_gradients", module, steps).sum(dim=1), gained, atol=5e-3, rtol=0)


@pytest.mark.parametrize("length", [1, 30])
def test_drawing_survives_a_single_step_and_a_map_of_zeros(length, tmp_path):
    draw_steps(tmp_path / "steps.png", np.ones((length, 2)), np.zeros(length))
    assert (tmp_path / "steps.png").stat().st_size > 500


@pytest.fixture
def in_explained(in_sequences, tmp_path) -> Path:
    """Work in the folder of prepared sequences, beside a checkpoint of a network for them."""
    report = json.loads(Path("artifacts/prepare/report.json").read_text())
    spec = {
        "network": {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 8}},
        "labels": report["labels"],
        "input": report["input"],
    }
    weights = {f"model.{name}": value for name, value in SequenceModel(**spec).state_dict().items()}
    torch.save({"leyden": spec, "state_dict": weights}, tmp_path / "model.ckpt")
    return tmp_path


def test_stage_writes_the_maps_of_the_sequences_that_it_names(in_explained):
    args = ["--num_evidence=8", "--num_shown=4", "--methods=[integrated_gradients,occlusion]"]
    assert main(["explain", f"--model={in_explained}/model.ckpt", f"--out={in_explained}/out", *args]) == 0
    out = in_explained / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"integrated_gradients", "occlusion"}
    assert {"deletion_auc", "random_insertion_auc", "gain_low", "randomisation_similarity", "examples"} < set(
        metrics["occlusion"]
    )
    with open(out / "examples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    arrays, paths = np.load(out / "maps/maps.npz"), read_paths("artifacts/prepare", "test")
    sequences = read_sequence_split(Path("artifacts/prepare"), "test").sequences
    assert [row["path"] for row in rows] == [paths[number] for number in arrays["rows"]] and len(rows) == 4
    assert np.array_equal(arrays["lengths"], sequences.lengths[arrays["rows"]]) and np.array_equal(
        arrays["values"], sequences[arrays["rows"]].values
    )
    assert arrays["occlusion"].shape == arrays["values"].shape[:2]
    assert (arrays["occlusion"] != 0).sum() <= arrays["lengths"].sum()
    for name in yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]["explain"]["outs"]:
        assert (out / Path(name).relative_to("artifacts/explain")).exists(), name
    with open(out / "influence.csv", newline="", encoding="utf-8") as file:
        assert (
            {row["path"] for row in csv.DictReader(file)}
            <= {row["path"] for row in rows if row["chosen"] == "wrong"}
            != set()
        )
    for row in rows:
        for suffix in ("", "-integrated_gradients", "-occlusion"):
            assert (out / "maps" / f"{Path(row['file']).stem}{suffix}.png").is_file()


def test_methods_that_sequences_lack_are_named_and_the_rest_goes_on(monkeypatch, capsys, in_explained, error_of):
    monkeypatch.setitem(IMAGE_METHODS, "of_pixels", None)
    args = [f"--model={in_explained}/model.ckpt", f"--out={in_explained}/out", "--num_evidence=2", "--num_shown=3"]
    assert main(["explain", *args, "--methods=[of_pixels,saliency]"]) == 0
    assert "refused: is of images; for sequences there are integrated_gradients" in capsys.readouterr().out
    assert set(json.loads((in_explained / "out/metrics.json").read_text())) == {"saliency"}
    assert "expected a method for sequences, integrated_gradients, saliency, occlusion; got of_pixels" in error_of(
        "explain", *args, "--methods=[of_pixels]"
    )
