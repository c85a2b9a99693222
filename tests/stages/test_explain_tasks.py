"""`leyden explain` of each task, for images and sequences: every file is written, in the words of the task."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leyden.cli import main
from leyden.data.packed import read_report, read_split
from leyden.files.tables import read_table
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.outputs import load_reader
from leyden.stages.explain.batch import preprocess
from leyden.stages.explain.influence import compute_influences, last_linear_layer
from leyden.tasks import load_task
from tests.conftest import outputs_of
from tests.tasks.data import write_data

METHODS = ("integrated_gradients", "occlusion")
Project = tuple[Path, ImageModel | SequenceModel]


def make_project(folder: Path, task: str, suffix: str = ".png") -> Project:
    """Prepare a tiny data set, and write the checkpoint of an untrained network for it."""
    write_data(folder / "data", task, suffix)
    assert main(["prepare", f"--data={folder}/data", f"--out={folder}/prepare"]) == 0
    report = read_report(folder / "prepare")
    network = load_task(report).default_network(for_sequences=suffix == ".npy")
    network["init_args"] = dict(network["init_args"]) | {"width": 8}
    spec = {name: report[name] for name in ("labels", "input", "task")} | {"network": network}
    torch.manual_seed(0)
    model = (SequenceModel if suffix == ".npy" else ImageModel)(**spec).eval()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"leyden": spec, "state_dict": weights}, folder / "model.ckpt")
    return folder, model


def explain(folder: Path, *args: str) -> Path:
    paths = [f"--model={folder}/model.ckpt", f"--data={folder}/prepare", f"--out={folder}/out"]
    methods = f"--methods=[{','.join(METHODS)}]"
    assert main(["explain", *paths, methods, "--num_evidence=6", "--num_shown=4", *args]) == 0
    for name in outputs_of("explain"):
        assert (folder / "out" / Path(name).relative_to("artifacts/explain")).exists(), name
    return folder / "out"


@pytest.mark.parametrize(
    ("task", "suffix"),
    [
        *(("multilabel", suffix) for suffix in (".png", ".npy")),
        *(("regression", suffix) for suffix in (".png", ".npy")),
        ("segmentation", ".png"),
    ],
)
def test_every_task_has_maps_and_evidence(task, suffix, tmp_path, capsys):
    folder, model = make_project(tmp_path, task, suffix)
    out = explain(folder)
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == set(METHODS)
    assert all(0 <= each[f"{kind}_auc"] <= 1 for each in metrics.values() for kind in ("deletion", "insertion"))
    rows = read_table(out / "examples.csv", "explain")
    assert len(rows) == 4
    assert list(rows[0]) == ["path", "label", "prediction", "confidence", "error", "explained", "chosen", "file"]
    errors = [float(row["error"]) for row in rows]
    assert max(errors) == errors[0] > errors[-1] >= min(errors) == errors[2]
    assert [row["chosen"] for row in rows] == ["large error"] * 2 + ["small error"] * 2
    assert {row["explained"] for row in rows} <= set(model.labels)
    arrays = np.load(out / "maps/maps.npz")
    assert all(len(arrays[name]) == 4 and np.isfinite(arrays[name]).all() for name in METHODS)
    assert all((out / f"maps/{number:02d}-{name}.png").is_file() for number in range(4) for name in METHODS)
    channels = read_table(out / "channels.csv", "explain")
    assert bool(channels) == (suffix == ".png")
    assert {row["label"] for row in channels} <= set(model.labels)
    is_left_out = "influence left out: it needs a network that ends in a linear layer" in capsys.readouterr().out
    assert bool(read_table(out / "influence.csv", "explain")) != is_left_out
    assert is_left_out == (task == "segmentation")


def test_grades_are_chosen_and_described_as_classes(tmp_path):
    folder, model = make_project(tmp_path, "ordinal")
    rows = read_table(explain(folder) / "examples.csv", "explain")
    assert list(rows[0]) == ["path", "label", "prediction", "confidence", "chosen", "file"]
    assert {row["chosen"] for row in rows} <= {"wrong", "unsure", "right"}
    assert all((row["label"] == row["prediction"]) != (row["chosen"] == "wrong") for row in rows)
    assert all(1 / len(model.labels) <= float(row["confidence"]) <= 1 for row in rows)


def test_numbers_are_in_units_and_influence_names_training_targets(tmp_path):
    folder, model = make_project(tmp_path, "regression")
    rows = read_table(explain(folder) / "examples.csv", "explain")
    split = read_split(folder / "prepare", "test")
    row = int(np.load(folder / "out/maps/maps.npz")["rows"][0])
    level, square = split.targets[row]
    assert rows[0]["label"] == f"level {level:g}, square {square:g}"
    with torch.no_grad():
        outputs = model(torch.from_numpy(split.images[[row]]).permute(0, 3, 1, 2))[0]
    predicted = dict(cell.split() for cell in rows[0]["prediction"].split(", "))
    assert [float(predicted[name]) for name in ("level", "square")] == pytest.approx(outputs.tolist(), rel=1e-4)
    train = read_split(folder / "prepare", "train").targets
    for influence in read_table(folder / "out/influence.csv", "explain"):
        level, square = train[int(influence["training_row"])]
        assert influence["training_label"] == f"level {level:g}, square {square:g}"


def test_influence_is_that_of_the_task_s_loss(tmp_path):
    folder, model = make_project(tmp_path, "regression")
    reader, train = load_reader(model.spec), read_split(folder / "prepare", "train")
    inputs, targets = preprocess(model, train.images[:2]), torch.from_numpy(train.targets)
    layer = last_linear_layer(model.network, inputs)
    assert layer is not None
    scale = torch.tensor(model.spec["task"]["std"])

    def gradient(row: int) -> torch.Tensor:
        outputs = model.output(model.network(*preprocess(model, train.images[[row]])))
        loss = F.huber_loss(outputs / scale, targets[[row]] / scale)
        return torch.autograd.grad(loss, layer.weight)[0].flatten()

    influences = compute_influences(model, reader, layer, inputs, targets[:2], train)
    expected = torch.stack([gradient(row) for row in (0, 1)]) @ torch.stack([gradient(row) for row in (0, 3, 7)]).T
    torch.testing.assert_close(influences[:, [0, 3, 7]], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("task", ["multilabel", "regression", "segmentation"])
def test_concepts_are_tested_on_the_examples_of_each_label(task, tmp_path):
    folder, model = make_project(tmp_path, task)
    images = read_split(folder / "prepare", "train").images
    (folder / "concepts/any").mkdir(parents=True)
    for number in range(12):
        (folder / f"concepts/any/{number}.png").write_bytes((folder / f"data/{number}.png").read_bytes())
    assert len(images) > 12
    rows = read_table(explain(folder, f"--concepts={folder}/concepts") / "concepts.csv", "explain")
    assert [row["label"] for row in rows] == model.labels
    assert all(0 <= float(row["p_value"]) <= 1 for row in rows)
