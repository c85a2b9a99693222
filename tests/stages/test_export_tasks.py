"""Exported models of every task: the checkpoint's outputs in the task's terms, and what they mean in each file."""

import contextlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leyden
from leyden.cli import main
from leyden.data.packed import read_examples
from leyden.models.checkpoint import load_checkpoint
from leyden.outputs import load_reader
from leyden.runtimes import open_model
from leyden.runtimes.load import predict_logits, reader_of
from leyden.stages.export import pt2
from leyden.stages.export.input_spec import make_input_spec
from tests.conftest import REPO
from tests.tasks.data import write_data

FORMATS = {
    "pt2": ["fp32", "bf16"],
    "onnx": ["fp32", "fp16", "int8"],
    "torchscript": ["fp32"],
    "executorch": ["fp32", "int8"],
    "openvino": ["fp32", "fp16", "int8"],
    "safetensors": ["fp32", "bf16"],
}
FP32 = ["model.pt2", "model.onnx", "model.torchscript", "model.pte", "model.xml", "model.safetensors"]
SEQUENCE_FORMATS = {name: ["fp32"] for name in ("pt2", "onnx", "torchscript", "executorch", "safetensors")}
# On so few examples, one that differs is much.
LOW_AGREEMENT = [f"--tolerance.{name}.agreement=0.5" for name in ("bf16", "int8")]
FAST = ["--trainer.max_epochs=3", "--trainer.precision=32-true", "--data.batch_size=8", "--trainer.log_every_n_steps=1"]
FEW_FORMATS = {"pt2": ["fp32"], "onnx": ["fp32", "int8"], "openvino": ["int8"]}
KINDS = ("regression", "multilabel", "segmentation", "regression of sequences")
SMALL = {"segmentation": ["--network=leyden.models.UNet", "--network.width=4", "--network.depth=1"]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that exports a small model of a task, once, and returns the folder like a checkout."""

    @cache
    def export(kind: str) -> Path:
        task, _, input_kind = kind.partition(" of ")
        folder = tmp_path_factory.mktemp("exported")
        if task == "segmentation":
            write_masks(folder / "data")
        else:
            write_data(folder / "data", task, ".npy" if input_kind else ".png")
        (folder / "configs").symlink_to(REPO / "configs")
        formats = SEQUENCE_FORMATS if input_kind else FORMATS if task == "regression" else FEW_FORMATS
        with contextlib.chdir(folder):
            for args in (
                ["prepare"],
                ["fit", *FAST, *SMALL.get(task, [])],
                ["export", f"--formats={json.dumps(formats)}", *LOW_AGREEMENT],
            ):
                assert main(args) == 0
        return folder

    return export


def write_masks(folder: Path) -> None:
    """Write grey images with a bright box, its masks, and the names of the classes."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(36):
        pixels, mask = generator.integers(0, 120, (12, 16), dtype=np.uint8), np.zeros((12, 16), np.uint8)
        top, left = generator.integers(0, 6), generator.integers(0, 8)
        pixels[top : top + 6, left : left + 8] += 120
        mask[top : top + 6, left : left + 8] = 7
        Image.fromarray(pixels).save(folder / f"images/{number}.png")
        Image.fromarray(mask).save(folder / f"masks/{number}.png")
    (folder / "classes.csv").write_text("value,name,color\n0,ground,#102030\n7,box,#ff8000\n")


def rows_of(folder: Path) -> list[dict]:
    return json.loads((folder / "artifacts/export/report.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_checked_or_has_a_reason(kind, exported):
    expected = {True: "checked", False: "skipped"}
    for row in rows_of(exported(kind)):
        is_supported = row["format"] != "executorch" or "sequences" not in kind
        assert row["status"] == expected[is_supported], row
        assert is_supported or row["reason"] == "supports models of images only"


@pytest.mark.parametrize(
    ("kind", "score_name"),
    [("regression", "r2"), ("multilabel", "mean_average_precision"), ("segmentation", "mean_iou")],
)
def test_a_row_holds_the_agreement_and_the_score_of_the_task(kind, score_name, exported):
    *files, eager = rows_of(exported(kind))
    for row in files:
        assert row["score_name"] == score_name
        assert row["agreement"] >= (0.5 if row["precision"] in ("int8", "bf16") else 0.999)
        assert row["score"] == pytest.approx(eager["score"], abs=0.2)
        assert row["score_low"] <= row["score"] <= row["score_high"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_what_its_outputs_mean(kind, exported):
    folder = exported(kind)
    model = load_checkpoint(folder / "artifacts/train/model.ckpt")
    for row in rows_of(folder):
        if row["file"]:
            description = open_model(folder / "artifacts/export" / row["file"], trust=True).description
            assert description["task"] == model.spec["task"]
            assert description["output"]["name"] == ("targets" if "regression" in kind else "logits")
            assert description["output"]["shape"] == ["batch", 2, *([12, 16] if kind == "segmentation" else [])]
    fact = {"multilabel": "thresholds", "segmentation": "palette"}.get(kind, "units")
    assert len(model.spec["task"][fact]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_decides_like_the_checkpoint(kind, exported):
    folder = exported(kind)
    checkpoint = leyden.load(folder / "artifacts/train/model.ckpt")
    examples, _ = make_input_spec(checkpoint).read(folder / "artifacts/prepare", "train", 20)
    inputs = [torch.from_numpy(part) for part in examples.batch(np.arange(len(examples)))]
    expected = checkpoint(*inputs).detach().numpy()
    files = [name for name in FP32 if (folder / "artifacts/export" / name).exists()]
    assert len(files) == {"regression": 6, "regression of sequences": 4}.get(kind, 2)
    for name in files:
        model = leyden.load(folder / "artifacts/export" / name, trust=True)
        assert model.task == checkpoint.spec["task"]
        outputs = model(*inputs).numpy()
        assert np.allclose(outputs, expected, rtol=1e-3, atol=1e-3)
        assert (model.reader.agreement(outputs, expected) > 0.99).all()


def test_numbers_are_in_the_units_of_the_targets(exported):
    """The two targets, 0 to 8 and their squares, have different scales, which the file must know."""
    folder = exported("regression")
    targets = np.load(folder / "artifacts/prepare/train.targets.npy")
    images = read_examples(folder / "artifacts/prepare", "train").images
    outputs = predict_logits(leyden.load(folder / "artifacts/export/model.onnx"), images, 8).numpy()
    expected = predict_logits(leyden.load(folder / "artifacts/train/model.ckpt"), images, 8).numpy()
    assert np.allclose(outputs, expected, rtol=1e-4, atol=1e-4)
    assert (np.abs(outputs.mean(axis=0) - targets.mean(axis=0)) < targets.std(axis=0)).all()


def test_a_target_of_small_numbers_has_its_own_tolerance(exported, monkeypatch, tmp_path, error_of):
    """0.003 is more than 0.0005 standard deviations of level, and less of the outputs of both targets."""
    write = pt2.write

    def write_changed(request):
        request.module.output.target_mean[0] += 0.003
        write(request)
        request.module.output.target_mean[0] -= 0.003

    monkeypatch.setattr(pt2, "write", write_changed)
    monkeypatch.chdir(exported("regression"))
    line = error_of("export", f"--out={tmp_path}/out", '--formats={"pt2": ["fp32"]}')
    assert "model.pt2: expected the checkpoint's outputs (targets within 0.0005 of their standard deviation" in line


def test_a_lost_threshold_fails(exported, monkeypatch, tmp_path, error_of):
    monkeypatch.chdir(exported("multilabel"))
    write = pt2.write

    def write_changed(request):
        request.metadata = json.dumps(json.loads(request.metadata) | {"task": {"name": "multilabel"}})
        write(request)

    monkeypatch.setattr(pt2, "write", write_changed)
    line = error_of("export", f"--out={tmp_path}/out", '--formats={"pt2": ["fp32"]}')
    assert "model.pt2: expected the task {'name': 'multilabel', " in line
    assert "the file has {'name': 'multilabel'}; nothing is published" in line


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "segmentation"])
@pytest.mark.parametrize("name", ["model.ckpt", "model.onnx"])
def test_predictions_are_rows_of_the_task(kind, name, exported, monkeypatch, tmp_path):
    folder = exported(kind)
    monkeypatch.chdir(folder)
    model = Path("artifacts/train" if name.endswith(".ckpt") else "artifacts/export", name)
    assert main(["predict", str(model), "data", f"--out={tmp_path}/p.jsonl"]) == 0
    assert main(["predict", str(model), "data", f"--out={tmp_path}/p.csv", "--batch_size=5"]) == 0
    objects = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    columns = load_reader(load_checkpoint(Path("artifacts/train/model.ckpt")).spec).columns(3)
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == ",".join(["path", *columns, "error"])
    assert len(objects) == 36
    for values in objects:
        assert list(values) == ["path", *columns] or set(values) == {"path", *columns}
        numbers = [value for column, value in values.items() if column not in ("path", "labels")]
        assert all(isinstance(value, float) for value in numbers)
        assert isinstance(values.get("labels", []), list)


def test_predictions_are_the_models_outputs_in_units(exported, monkeypatch, tmp_path):
    monkeypatch.chdir(exported("regression"))
    assert main(["predict", "artifacts/export/model.onnx", "data/7.png", f"--out={tmp_path}/p.jsonl"]) == 0
    values = json.loads((tmp_path / "p.jsonl").read_text())
    model = leyden.load("artifacts/train/model.ckpt")
    image = torch.from_numpy(np.array(Image.open("data/7.png")))[None, None]
    level, square = model(image)[0].tolist()
    radius = reader_of(model).radius
    assert values["level"] == pytest.approx(level, rel=1e-4)
    assert values["square"] == pytest.approx(square, rel=1e-4)
    assert values["level_high"] == pytest.approx(level + radius[0], rel=1e-4)


@pytest.mark.parametrize("name", ["train/model.ckpt", "export/model.onnx", "export/model.int8.xml"])
def test_predicted_masks_are_the_models_decisions(name, exported, monkeypatch, tmp_path):
    monkeypatch.chdir(exported("segmentation"))
    assert main(["predict", f"artifacts/{name}", "data/images", f"--out={tmp_path}/p"]) == 0
    model = leyden.load(f"artifacts/{name}")
    for number in range(36):
        image = torch.from_numpy(np.array(Image.open(f"data/images/{number}.png")))[None, None]
        with Image.open(tmp_path / f"p/{number}.png") as mask:
            assert np.array_equal(np.asarray(mask), model(image)[0].argmax(0).numpy())
            assert mask.getpalette()[:6] == [0x10, 0x20, 0x30, 0xFF, 0x80, 0]
    header, *rows = (tmp_path / "p/predictions.csv").read_text().splitlines()
    assert header == "path,mask,share_ground,share_box,error"
    assert len(rows) == 36


PAGE = (REPO / "docs/using_models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_the_page_decodes_outputs_as_leyden_does(kind, exported):
    program = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    namespace: dict = {}
    exec(program, namespace)
    folder = exported(kind)
    model = leyden.load(folder / "artifacts/export/model.onnx")
    images = read_examples(folder / "artifacts/prepare", "train").images
    outputs = predict_logits(model, images, 8).numpy()
    expected = [model.reader.to_json(row) for row in model.reader.rows(outputs, 1)]
    decoded = namespace["decode"](outputs, model.description)
    assert len(decoded) == len(expected) > 0
    for got, values in zip(decoded, expected, strict=True):
        if kind == "multilabel":
            assert got == values["labels"]
        else:
            assert got == pytest.approx({label: values[label] for label in model.labels}, rel=1e-4)
