"""Programs that are read from their JSON compute what torch's own loader does."""

import warnings

import pytest
import torch
from torch import nn

from leyden import UserError
from leyden.models.build import build_model
from leyden.runtimes.operators import ATEN, find_operator
from leyden.runtimes.program import load_program
from leyden.stages.export import describe, pt2
from leyden.stages.export.export_request import ExportRequest

IMAGES = {"channels": 3, "image_size": [32, 32], "mean": [0.5] * 3, "std": [0.2] * 3}
SEQUENCES = {"features": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
NETWORKS = {
    "ResNet": ({"width": 8}, IMAGES),
    "FastCNN": ({}, IMAGES),
    "EarlyExitNet": ({"width": 8}, IMAGES),  # a branch
    "PatchTransformer": ({"patch_size": 8}, IMAGES),
    "TorchvisionNet": ({"name": "shufflenet_v2_x0_5"}, IMAGES),
    "GRUClassifier": ({}, SEQUENCES),  # a loop
    "TransformerClassifier": ({}, SEQUENCES),
}


@pytest.mark.parametrize(("name", "precision"), [*((name, "fp32") for name in NETWORKS), ("ResNet", "bf16")])
def test_a_program_computes_what_torchs_loader_does(name, precision, tmp_path):
    args, input = NETWORKS[name]
    torch.manual_seed(0)
    model = build_model({"class_path": f"leyden.models.{name}", "init_args": args}, list("abcd"), input).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as `leyden export` does
        pt2.write(ExportRequest(model, tmp_path / "model.pt2", precision, describe(model, precision, "MIT"), None))
    expected, program = torch.export.load(tmp_path / "model.pt2").module(), load_program(tmp_path / "model.pt2")
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    inputs = (images,) if input is IMAGES else (torch.randn(5, 9, 3), torch.tensor([9, 3, 4, 1, 2]))
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(program(*inputs), expected(*inputs))


class RandomNoise(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + torch.rand_like(values)


def test_an_operator_that_is_not_allowed_needs_trust(tmp_path):
    torch.export.save(torch.export.export(RandomNoise(), (torch.zeros(2),)), tmp_path / "model.pt2")
    with pytest.raises(UserError, match=r"it has the operator 'torch\.ops\.aten\.rand_like\.default'; .* add --trust"):
        load_program(tmp_path / "model.pt2")


def test_each_allowed_operator_exists():
    """A misspelt name would allow nothing."""
    known = {
        name.removeprefix("aten::").partition(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::")
    }
    assert {name for name in ATEN if name not in known and f"{name}_" not in known} == set()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.add.out",
        "torch.ops.aten.sort.values",
        "torch.ops.aten.lstm.data",
        "torch.ops.aten.repeat_interleave.Tensor",  # it writes beyond its memory if the sum of the repeats overflows
        "torch.ops.aten.add.str",
        "torch.add",
        "",
        None,
        [],
    ],
)
def test_other_targets_are_not_found(target):
    assert find_operator("torch.ops.aten.add_.Tensor") is not None
    assert find_operator(target) is None


def test_sizes_are_numbers_within_64_bits():
    multiply = find_operator("_operator.mul")
    assert multiply is not None
    assert multiply(3, 4) == 12
    for args, error, message in (
        (("x", 9), TypeError, "numbers"),
        (([0], 9), TypeError, "numbers"),
        ((2**40, 2**40), OverflowError, "64 bits"),
    ):
        with pytest.raises(error, match=message):
            multiply(*args)
