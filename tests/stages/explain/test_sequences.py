"""Attributions of time steps highlight the step that decides the class, add up, and are 0 at padding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leyden.cli import main
from leyden.data.packed import read_paths
from leyden.data.sequences import Sequences, SequenceSplit, read_sequence_split
from leyden.files.tables import read_table
from leyden.models.sequence_model import SequenceModel
from leyden.outputs.classification import ClassificationReader
from leyden.outputs.regression import RegressionReader
from leyden.stages.explain.batch import Batch, take_batch
from leyden.stages.explain.drawing import draw_steps
from leyden.stages.explain.faithfulness import random_map_auc
from leyden.stages.explain.methods import METHODS as IMAGE_METHODS
from leyden.stages.explain.sequences import METHODS, SequenceExplainer, is_padding
from tests.conftest import outputs_of

DECISIVE_STEP = 11
READER = ClassificationReader(["no", "yes"])
NETWORKS = ("GRUClassifier", "TransformerClassifier", "SwitchingClassifier")


class OneStepNetwork(nn.Module):
    """Class 1 depends on one time step only; all others are read with weight 0."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_features, num_classes, bias=False)
        self.head.weight = nn.Parameter(torch.tensor([[0.0, 0.0], [2.0, 1.0]]))

    def forward(self, values, lengths):
        weight = torch.zeros(values.shape[1]).index_fill(0, torch.tensor(DECISIVE_STEP), 1.0)
        return self.head((values * weight[:, None]).sum(dim=1))


def make_model(class_path: str, **init_args: int) -> SequenceModel:
    torch.manual_seed(0)
    spec = {"class_path": class_path, "init_args": init_args}
    return SequenceModel(spec, ["no", "yes"], {"features": 2, "mean": [0.5, 0.0], "std": [1.0, 2.0]}).eval()


@pytest.fixture
def sequences() -> Sequences:
    generator = np.random.default_rng(0)
    lengths = generator.integers(DECISIVE_STEP + 1, 40, 70)  # more than one batch
    return Sequences(generator.normal(2, 1, (lengths.sum(), 2)).astype(np.float32), np.cumsum([0, *lengths]))


def make_explainer(module: SequenceModel) -> SequenceExplainer:
    return SequenceExplainer(module.network, READER, num_steps=16, seed=0)


def take_all(module: SequenceModel, sequences: Sequences) -> Batch:
    labels = torch.ones(len(sequences), dtype=torch.long)
    return take_batch(module, READER, SequenceSplit(sequences, labels.numpy()), range(len(sequences)), labels.tolist())


def take_one(batch: Batch, row: int) -> Batch:
    """Return one sequence without padding."""
    values, lengths = batch.inputs
    return Batch(None, (values[[row], : lengths[row]], lengths[[row]]), batch.targets[[row]], batch.reference[[row]])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_highlights_the_decisive_step(name, sequences):
    module = make_model(f"{__name__}.OneStepNetwork")
    batch, explainer = take_all(module, sequences), make_explainer(module)
    state = torch.get_rng_state()
    maps = explainer.attribute(name, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert maps.shape == explainer.map_shape(batch)
    reach = 4 if name == "occlusion" else 0  # an eighth of the 39 steps at most is hidden at a time
    near = (torch.arange(maps.shape[1]) - DECISIVE_STEP).abs() <= reach
    assert (maps[:, DECISIVE_STEP].abs() > 0.5 * maps.abs().amax(dim=1)).all()
    assert not maps[:, ~near].any()
    deletion, insertion = explainer.deletion_insertion_auc(batch, maps)
    opposite_deletion, opposite_insertion = explainer.deletion_insertion_auc(batch, -maps)
    assert deletion.mean() < opposite_deletion.mean()
    assert insertion.mean() > opposite_insertion.mean()
    if name != "saliency":  # which is unsigned, and some of these steps are evidence against the class
        assert deletion.mean() < random_map_auc(explainer, batch)[0].mean() - 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_the_step_that_raises_or_lowers_a_number_is_found(sign, sequences):
    module = make_model(f"{__name__}.OneStepNetwork")
    module.network.head.weight.data *= sign
    explainer = SequenceExplainer(module.network, RegressionReader(["first", "second"]), num_steps=16, seed=0)
    batch = take_all(module, sequences)
    maps = explainer.attribute("integrated_gradients", batch)
    assert (sign * maps[:, DECISIVE_STEP]).mean() > 0.5
    for area, random, better in zip(
        explainer.deletion_insertion_auc(batch, maps), random_map_auc(explainer, batch), (-1, 1), strict=True
    ):
        assert better * (area.mean() - random.mean()) > 0.1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", METHODS)
def test_padding_changes_no_map_and_has_attribution_0(name, network, sequences):
    module = make_model(f"leyden.models.{network}", width=16)
    batch, explainer = take_all(module, sequences), make_explainer(module)
    maps = explainer.attribute(name, batch)
    padding = is_padding(*batch.inputs)
    assert not maps[padding].any()
    assert maps[~padding].any()
    for row in (3, 68):  # of different batches
        alone = explainer.attribute(name, take_one(batch, row))
        torch.testing.assert_close(maps[[row], : alone.shape[1]], alone, atol=1e-4, rtol=1e-3)


def test_padding_is_not_deleted(sequences):
    module = make_model(f"{__name__}.OneStepNetwork")
    batch, explainer = take_all(module, sequences), make_explainer(module)
    maps = torch.randn(explainer.map_shape(batch), generator=torch.Generator().manual_seed(0))
    areas = explainer.deletion_insertion_auc(batch, maps)
    for row in (3, 68):
        alone = take_one(batch, row)
        areas_alone = explainer.deletion_insertion_auc(alone, maps[[row], : alone.inputs[1]])
        assert [float(area) for area in areas_alone] == pytest.approx([float(area[row]) for area in areas])


# The third network's `if` makes its logits discontinuous along the path, which no gradient shows.
@pytest.mark.parametrize("network", NETWORKS[:2])
def test_integrated_gradients_add_up_to_the_difference_of_logits(network, sequences):
    module = make_model(f"leyden.models.{network}", width=16)
    batch = take_all(module, sequences)
    values, lengths = batch.inputs
    with torch.no_grad():
        for weight in module.network.parameters():
            weight.mul_(2)  # an untrained network is nearly linear, and adds up too easily
        differences = (module.network(values, lengths) - module.network(torch.zeros_like(values), lengths))[:, 1]
    assert differences.abs().mean() > 0.1
    maps = make_explainer(module).attribute("integrated_gradients", batch)
    torch.testing.assert_close(maps.sum(dim=1), differences, atol=5e-3, rtol=0)


@pytest.mark.parametrize("length", [1, 30])
def test_a_single_step_and_a_map_of_zeros_can_be_drawn(length, tmp_path):
    draw_steps(tmp_path / "steps.png", np.ones((length, 2)), np.zeros(length))
    assert (tmp_path / "steps.png").stat().st_size > 500


@pytest.fixture
def in_explained(in_sequences, tmp_path) -> Path:
    """Work in the folder of prepared sequences, and return a folder with a checkpoint of a network for them."""
    report = json.loads(Path("artifacts/prepare/report.json").read_text())
    spec = {
        "network": {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 8}},
        "labels": report["labels"],
        "input": report["input"],
    }
    weights = {f"model.{name}": value for name, value in SequenceModel(**spec).state_dict().items()}
    torch.save({"leyden": spec, "state_dict": weights}, tmp_path / "model.ckpt")
    return tmp_path


def test_stage_writes_the_maps_of_the_sequences_that_it_lists(in_explained):
    args = ["--num_evidence=8", "--num_shown=4", "--methods=[integrated_gradients,occlusion]"]
    assert main(["explain", f"--model={in_explained}/model.ckpt", f"--out={in_explained}/out", *args]) == 0
    out = in_explained / "out"
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"integrated_gradients", "occlusion"}
    assert {"deletion_auc", "random_insertion_auc", "gain_low", "randomisation_similarity", "examples"} < set(
        metrics["occlusion"]
    )
    rows = read_table(out / "examples.csv", "explain")
    arrays, paths = np.load(out / "maps/maps.npz"), read_paths("artifacts/prepare", "test")
    sequences = read_sequence_split(Path("artifacts/prepare"), "test").sequences
    assert [row["path"] for row in rows] == [paths[number] for number in arrays["rows"]]
    assert len(rows) == 4
    assert np.array_equal(arrays["lengths"], sequences.lengths[arrays["rows"]])
    assert np.array_equal(arrays["values"], sequences[arrays["rows"]].values)
    assert arrays["occlusion"].shape == arrays["values"].shape[:2]
    assert (arrays["occlusion"] != 0).sum() <= arrays["lengths"].sum()
    for name in outputs_of("explain"):
        assert (out / Path(name).relative_to("artifacts/explain")).exists(), name
    influenced = {row["path"] for row in read_table(out / "influence.csv", "explain")}
    errors = {row["path"] for row in rows if row["chosen"] == "wrong"}
    assert errors
    assert influenced <= errors
    for row in rows:
        for suffix in ("", "-integrated_gradients", "-occlusion"):
            assert (out / "maps" / f"{Path(row['file']).stem}{suffix}.png").is_file()


def test_methods_that_sequences_lack_are_refused_and_the_others_run(monkeypatch, capsys, in_explained, error_of):
    monkeypatch.setitem(IMAGE_METHODS, "of_pixels", None)
    args = [f"--model={in_explained}/model.ckpt", f"--out={in_explained}/out", "--num_evidence=2", "--num_shown=3"]
    assert main(["explain", *args, "--methods=[of_pixels,saliency]"]) == 0
    assert "refused: applies to images only; sequences have integrated_gradients" in capsys.readouterr().out
    assert set(json.loads((in_explained / "out/metrics.json").read_text())) == {"saliency"}
    assert "expected a method for sequences, integrated_gradients, saliency, occlusion; got of_pixels" in error_of(
        "explain", *args, "--methods=[of_pixels]"
    )
