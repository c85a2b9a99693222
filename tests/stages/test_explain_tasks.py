"""`leyden explain` of each task, for images and sequences: every file is written, in the words of the task."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leyden.cli import main
from leyden.data.packed import read_split
from leyden.files.tables import read_table
from leyden.outputs import load_reader
from leyden.outputs.regression import RegressionReader
from leyden.outputs.segmentation import SegmentationReader
from leyden.stages.explain.batch import preprocess
from leyden.stages.explain.examples import choose_labels, describe_cells
from leyden.stages.explain.influence import compute_influences, last_linear_layer
from tests.conftest import outputs_of
from tests.stages.projects import make_project

METHODS = ("integrated_gradients", "occlusion")


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
    assert len({row["path"] for row in rows}) == 4
    assert list(rows[0]) == ["path", "label", "prediction", "confidence", "error", "explained", "chosen", "file"]
    firsts = list({row["path"]: row for row in reversed(rows)}.values())[::-1]
    errors = [float(row["error"]) for row in firsts]
    assert max(errors) == errors[0] > errors[-1] >= min(errors) == errors[2]
    assert [row["chosen"] for row in firsts] == ["large error"] * 2 + ["small error"] * 2
    arrays = np.load(out / "maps/maps.npz")
    assert [row["explained"] for row in rows] == [model.labels[label] for label in arrays["labels"]]
    assert all(len(arrays[name]) == len(rows) and np.isfinite(arrays[name]).all() for name in METHODS)
    assert all((out / f"maps/{number:02d}-{name}.png").is_file() for number in range(len(rows)) for name in METHODS)
    channels = read_table(out / "channels.csv", "explain")
    assert bool(channels) == (suffix == ".png")
    assert {row["label"] for row in channels} <= set(model.labels)
    is_left_out = "influence left out: it needs a network that ends in a linear layer" in capsys.readouterr().out
    assert bool(read_table(out / "influence.csv", "explain")) != is_left_out
    assert is_left_out == (task == "segmentation")


def test_every_target_is_explained_up_to_the_limit(tmp_path, capsys):
    folder, model = make_project(tmp_path, "regression")
    rows = read_table(explain(folder) / "examples.csv", "explain")
    assert model.labels == ["level", "square"]
    assert [row["explained"] for row in rows] == model.labels * 4
    arrays = np.load(folder / "out/maps/maps.npz")
    assert arrays["rows"].reshape(4, 2).T.tolist() == [arrays["rows"][::2].tolist()] * 2
    maps = arrays["occlusion"]
    assert all(np.abs(first - second).max() > 0 for first, second in zip(maps[::2], maps[1::2], strict=True))
    assert len({row["label"] for row in read_table(folder / "out/channels.csv", "explain")}) == 2  # evidence of both
    assert "num_labels" not in capsys.readouterr().out
    rows = read_table(explain(folder, "--num_labels=1") / "examples.csv", "explain")
    assert [row["explained"] for row in rows] == ["level"] * 4
    assert {row["label"] for row in read_table(folder / "out/channels.csv", "explain")} == {"level"}
    assert (
        "explain: some targets left out: 4 of 4 examples have up to 2, and num_labels is 1" in capsys.readouterr().out
    )


def test_predicted_labels_are_explained_and_evidence_takes_them_in_turn(capsys):
    labels = [[3, 1, 0], [2], [0, 4]]
    explained, in_turn = choose_labels(labels, [0, 2], [2, 2, 0, 0, 1, 0], 2, "labels")
    assert explained == [(0, 3), (0, 1), (2, 0), (2, 4)]
    assert in_turn == [0, 4, 3, 1, 2, 1]
    assert "explain: some labels left out: 1 of 2 examples have up to 3, and num_labels is 2" in capsys.readouterr().out


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
    assert rows[0]["label"] == f"level {level:.4g}, square {square:.4g}"
    with torch.no_grad():
        outputs = model(torch.from_numpy(split.images[[row]]).permute(0, 3, 1, 2))[0]
    predicted = dict(cell.split() for cell in rows[0]["prediction"].split(", "))
    assert [float(predicted[name]) for name in ("level", "square")] == pytest.approx(outputs.tolist(), rel=1e-3)
    train = read_split(folder / "prepare", "train").targets
    for influence in read_table(folder / "out/influence.csv", "explain"):
        level, square = train[int(influence["training_row"])]
        assert influence["training_label"] == f"level {level:.4g}, square {square:.4g}"


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


def test_a_target_is_described_with_its_units_and_a_mask_by_its_shares():
    masks = SegmentationReader(["ground", "ball"])
    (shares,) = masks.target_rows(np.array([[[0, 0], [1, 255]]], np.uint8))
    assert describe_cells(masks, shares) == "50.0% ground, 25.0% ball"
    (true,) = RegressionReader(["angle"], units=["deg"]).target_rows(np.array([[12.34567]]))
    assert describe_cells(RegressionReader(["angle"], units=["deg"]), true) == "12.35 deg"
    both = RegressionReader(["angle", "x"], units=["deg", ""])
    assert describe_cells(both, {"angle": "12.34567", "x": "2"}) == "angle 12.35 deg, x 2"
