"""Export of a network with early exits: files that can branch do, and the others have the same outputs."""

import json
from pathlib import Path

import onnx
import pytest
import torch

from leyden.cli import main
from leyden.models import EarlyExitNet
from leyden.stages.export.export_job import branching
from tests.conftest import borrow_prepared

FORMATS = {
    "pt2": ["fp32"],
    "onnx": ["fp32", "int8"],
    "torchscript": ["fp32"],
    "executorch": ["fp32"],
    "openvino": ["fp32", "int8"],
}
CONFIGS = ["-c", "configs/train.yaml", "-c", "configs/experiment/early_exit.yaml"]


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = borrow_prepared(trained, tmp_path_factory.mktemp("early-exit"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        args = ["--trainer.max_epochs=4", "--network.init_args.width=8", "--trainer.precision=32-true"]
        assert main(["fit", *CONFIGS, *args]) == 0
        assert main(["export", f"--formats={json.dumps(FORMATS)}"]) == 0
    return folder / "artifacts/export"


def test_every_file_is_checked_or_has_a_reason(exported):
    rows = json.loads((exported / "report.json").read_text())
    skipped = [row for row in rows if row["status"] != "checked"]
    assert [(row["format"], row["precision"]) for row in skipped] == [("openvino", "int8")]
    assert "early exits" in skipped[0]["reason"]
    assert all(row["max_abs_diff"] < 1e-3 for row in rows if row["precision"] == "fp32")


def test_files_that_can_branch_do(exported):
    program = torch.export.load(exported / "model.pt2")
    assert sum("cond" in str(node.target) for node in program.graph.nodes) == 1
    assert "If" in {node.op_type for node in onnx.load(exported / "model.onnx").graph.node}
    assert "If" not in {node.op_type for node in onnx.load(exported / "model.int8.onnx").graph.node}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_branches(exported):
    assert "prim::If" in str(torch.jit.load(exported / "model.torchscript").graph)


def test_the_branching_of_a_network_is_restored():
    network = EarlyExitNet(1, 2, (8, 8), width=4)
    with branching(network, enabled=True):
        assert network.branching
    with pytest.raises(KeyError), branching(network, enabled=False):
        assert not network.branching
        raise KeyError
    assert network.branching
