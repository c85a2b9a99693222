"""A file in less precision that differs from the checkpoint is repaired, or refused while everything else is published.

The network has one activation that cannot be quantised: one of its channels is 3,000 times as large as the others.
"""

import json
from pathlib import Path

import pytest
import torch

from leyden.cli import main
from leyden.runtimes import open_model

FORMATS = json.dumps({"onnx": ["fp32", "int8", "int8_dynamic"]})
UNREACHABLE = "--tolerance.int8_dynamic.max_relative_diff=1e-9"
PRODUCER, LAYER = "network.blocks.0.conv1.0", "network.blocks.0.conv2.0"  # before and after the activation


def write_outlier_checkpoint(source: Path, target: Path, scale: float = 3000) -> None:
    """Write the same function with one activation enlarged and the next layer's weights for it reduced."""
    checkpoint = torch.load(source, weights_only=True)
    state = checkpoint["state_dict"]
    for name in ("weight", "bias"):  # of the batch norm before the ReLU
        state[f"model.network.blocks.0.conv1.1.{name}"][0] *= scale
    state[f"model.{LAYER}.weight"][:, 0] /= scale
    torch.save(checkpoint, target)


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lossy")
    write_outlier_checkpoint(trained / "artifacts/train/model.ckpt", folder / "model.ckpt")
    args = [f"--model={folder}/model.ckpt", f"--data={trained}/artifacts/prepare", f"--out={folder}/export"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["export", *args, f"--formats={FORMATS}", UNREACHABLE]) == 0
    return folder


@pytest.fixture
def rows(exported: Path) -> dict[str, dict]:
    return {row["precision"]: row for row in json.loads((exported / "export/report.json").read_text())[:3]}


def test_only_the_layers_at_the_activation_that_cannot_be_quantised_stay_in_float32(exported, rows):
    assert rows["int8"]["status"] == "checked"
    assert rows["int8"]["float32_layers"] == [PRODUCER, LAYER]
    assert LAYER in rows["int8"]["reason"]
    assert rows["int8"]["agreement"] >= 0.98
    assert open_model(exported / "export/model.int8.onnx").description["float32_layers"] == [PRODUCER, LAYER]
    import onnx

    graph = onnx.load(exported / "export/model.int8.onnx").graph
    data_types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = {name.removesuffix("_quantized") for name in data_types if name.endswith("weight_quantized")}
    assert not {f"{PRODUCER}.weight", f"{LAYER}.weight"} & weights
    assert {"network.blocks.1.conv1.0.weight", "network.head.weight"} <= weights


def test_a_file_that_cannot_be_repaired_is_refused_and_the_others_are_published(exported, rows):
    refused = rows["int8_dynamic"]
    assert refused["status"] == "refused"
    assert refused["file"] == ""
    assert 0.98 < refused["agreement_low"] < refused["agreement"] == 1
    assert 1e-9 < refused["max_relative_diff"] < 1
    assert "logits within 1e-09 of their standard deviation" in refused["reason"]
    assert sorted(path.name for path in (exported / "export").glob("model*")) == ["model.int8.onnx", "model.onnx"]
    assert "| onnx | int8_dynamic |" in (exported / "export/report.md").read_text()


def test_the_hash_of_the_repaired_file_is_recorded(exported, rows):
    published = {path.name for path in (exported / "artifacts/published").iterdir()}
    assert published == {rows["fp32"]["sha256"], rows["int8"]["sha256"]}


def test_the_repaired_file_works_in_other_commands(exported, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(exported)
    data, file = f"--data={trained}/artifacts/prepare", str(exported / "export/model.int8.onnx")
    out = tmp_path / "change.json"
    assert main(["compare", str(exported / "model.ckpt"), file, data, f"--out={out}"]) == 0
    assert abs(json.loads(out.read_text())["accuracy_change"]) < 0.02
    assert main(["predict", file, str(trained / "data/3"), f"--out={tmp_path}/p.csv"]) == 0


def test_the_report_names_refused_files_and_float32_layers(exported, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["report", f"--export={exported}/export", f"--out={tmp_path}/report"]) == 0
    page, card = ((tmp_path / "report" / name).read_text() for name in ("index.html", "model_card.md"))
    assert "2 exported files checked, 1 refused" in page
    assert "onnx int8_dynamic</strong>: same label on" in page
    assert "onnx int8\\_dynamic: same label on" in card
    assert f"In the file model.int8.onnx, these layers are not quantised: {PRODUCER}, {LAYER}." in card
