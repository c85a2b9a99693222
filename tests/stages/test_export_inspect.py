"""What `leyden export --inspect` prints."""

from pathlib import Path

import torch
from torch import nn

import leyden
from leyden.cli import main
from leyden.models import EarlyExitNet, ResNet
from leyden.models.batch_norm_folding import fold_batch_norms
from leyden.stages.export.inspect import describe_folding, layer_table


def test_inspect_prints_layers_and_graph_and_writes_nothing(in_trained, tmp_path, capsys):
    assert main(["export", "--inspect", f"--out={tmp_path}/export"]) == 0
    out = capsys.readouterr().out
    model = leyden.load("artifacts/train/model.ckpt")
    rows = {line.split()[0]: line.split()[1:] for line in out.split("batch norms:")[0].splitlines() if line}
    assert rows["network.stem.0"] == ["Conv2d", "1x8x8x8", "72", f"{2 * 9 * 8 * 64:,}"]
    assert rows["network.head"] == ["Linear", "1x10", "330", f"{2 * 32 * 10}"]
    parameters, flops = (int(cell.replace(",", "")) for cell in rows.pop("all"))
    assert parameters == sum(parameter.numel() for parameter in model.parameters())
    assert flops == sum(int(row[-1].replace(",", "")) for name, row in rows.items() if name != "layer")
    assert "batch norms: 9, of which 9 fold" in out
    assert "9 aten.conv2d.default" in out
    assert "def forward(self, images" in out
    assert ", 8, 8, 8]" in out
    assert str(Path(leyden.__file__).parent) not in out
    assert not (tmp_path / "export").exists()


def test_the_layer_table_has_no_folded_batch_norms():
    folded = fold_batch_norms(ResNet(1, 3, (8, 8), width=4).eval())
    assert "BatchNorm" not in layer_table(folded, torch.zeros(1, 1, 8, 8))


def test_batch_norms_that_cannot_be_folded_are_reported():
    alone = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3))
    assert describe_folding(alone) == "batch norms: 1, of which 0 fold into the layer before them"
    shared, norm = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)
    called_twice = nn.Sequential(shared, norm, shared, nn.BatchNorm2d(1))
    assert describe_folding(called_twice) == "batch norms: 2, of which 0 fold into the layer before them"
    with torch.no_grad():
        assert "torch.fx cannot trace" in describe_folding(EarlyExitNet(1, 2, (8, 8), width=4))
