"""What `leyden export --inspect` tells, and that folding a norm changes no answer."""

from pathlib import Path

import pytest
import torch
from torch import nn

import leyden
from leyden.cli import main
from leyden.models import EarlyExitNet, ResNet, TorchvisionNet
from leyden.stages.export.inspect import count_norms, fold_line, fold_norms, layer_table


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
    assert "9 aten.conv2d.default" in out and "def forward(self, images" in out and ", 8, 8, 8]" in out
    assert str(Path(leyden.__file__).parent) not in out
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    "make", [lambda: ResNet(1, 3, (8, 8), width=4), lambda: TorchvisionNet(1, 3, (32, 32), "resnet18")]
)
def test_folded_norms_leave_the_answers(make):
    torch.manual_seed(0)
    network = make()
    for _ in range(3):
        network(torch.randn(8, 1, 32, 32) + 1)
    folded, images = fold_norms(network.eval()), torch.randn(4, 1, 32, 32)
    assert count_norms(network) > 5 and count_norms(folded) == 0
    with torch.no_grad():
        assert torch.allclose(folded(images), network(images), atol=1e-4)
        assert not any("BatchNorm" in line for line in layer_table(folded, images).splitlines())
    assert count_norms(network) > 5


def test_what_cannot_be_folded_is_said():
    alone = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3))
    assert fold_line(alone) == "batch norms: 1, of which 0 fold into the layer before them"
    shared, norm = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)
    assert (
        fold_line(nn.Sequential(shared, norm, shared, nn.BatchNorm2d(1)))
        == "batch norms: 2, of which 0 fold into the layer before them"
    )
    with torch.no_grad():
        assert "torch.fx cannot trace" in fold_line(EarlyExitNet(1, 2, (8, 8), width=4))
