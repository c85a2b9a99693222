"""The whole pipeline of each task, from its sample to the report, with no edited config."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from leyden.cli import main
from tests.conftest import REPO

# Of each sample: the headline measure, a value that a few epochs reach (the largest of errors), a word of its page.
KINDS = {
    "multilabel": ("mean_average_precision", 0.25, "Mean average precision"),
    "regression": ("mae", 20.0, "Mean absolute error"),
    "segmentation": ("mean_iou", 0.6, "Mean IoU"),
    "ordinal": ("quadratic_kappa", 0.7, "grades"),
}


def check_plots(plots: list[str | dict[str, Any]]) -> None:
    """Check that what dvc.yaml plots is there: `dvc plots show` warns of it otherwise."""
    for plot in plots:
        if isinstance(plot, str):
            assert Path(plot).is_dir()
            continue
        (axes,) = plot.values()
        for path, columns in axes["y"].items():
            header = Path(path).read_text().splitlines()[0].split(",")
            assert {axes["x"], *([columns] if isinstance(columns, str) else columns)} <= set(header)


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_runs_from_its_sample_to_the_report(kind, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPO / "configs")
    for args in (
        ["sample", f"--kind={kind}"],
        ["prepare"],
        ["fit", "--trainer.max_epochs=4"],
        ["evaluate", "--robustness=[noise]", "--num_resamples=200"],
        ["export", "--formats={onnx: [fp32, int8], safetensors: [fp32]}"],
        ["explain", "--methods=[saliency]", "--num_evidence=8", "--num_deletion_steps=4"],
        ["report"],
        ["predict", "artifacts/export/model.onnx", "data", "--out=predicted"],
        ["compare", "artifacts/train/model.ckpt", "artifacts/export/model.onnx"],
    ):
        assert main(args) == 0, (args, capfd.readouterr().err[-2000:])
    assert f"prepare: {kind} of " in capfd.readouterr().out
    headline, bound, word = KINDS[kind]
    metrics = json.loads(Path("artifacts/evaluate/metrics.json").read_text())
    is_error = headline == "mae"
    assert metrics[headline] < bound if is_error else metrics[headline] > bound
    assert metrics[f"{headline}_low"] < metrics[headline] < metrics[f"{headline}_high"]
    rows = json.loads(Path("artifacts/export/report.json").read_text())
    assert {row["status"] for row in rows if row["precision"] == "fp32"} == {"checked"}
    assert word in Path("artifacts/report/index.html").read_text()
    check_plots(yaml.safe_load((REPO / "dvc.yaml").read_text())["plots"])
