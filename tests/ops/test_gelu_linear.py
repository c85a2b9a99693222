"""GELU and a linear layer as one operator: torch's values and gradients, less memory, compiled and exported."""

import itertools
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leyden.ops.gelu_linear import gelu_linear


def draw(dtype=torch.float32, rows=(3, 5), grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = ((*rows, 8), (4, 8), (4,))
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad) for shape in shapes
    )


def reference(wide, weight, bias):
    return F.linear(F.gelu(wide), weight, bias)


def test_torch_finds_the_operator_well_formed():
    for rows in ((), (3, 5)):
        torch.library.opcheck(gelu_linear, draw(rows=rows))
    wide, weight, bias = draw()
    torch.library.opcheck(gelu_linear, (wide.detach(), weight, bias.detach()))


@pytest.mark.parametrize("rows", [(), (7,), (3, 5)])
def test_the_backward_pass_is_the_derivative(rows):
    assert torch.autograd.gradcheck(gelu_linear, draw(torch.float64, rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_torchs(dtype):
    ours, theirs = draw(dtype), draw(dtype)
    out, expected = gelu_linear(*ours), reference(*theirs)
    assert torch.equal(out, expected)
    for result in (out, expected):
        result.float().square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=0.02 if dtype == torch.bfloat16 else 1e-5)


def test_mixed_dtypes_are_refused():
    wide, weight, bias = draw()
    with pytest.raises(
        ValueError, match=r"of one dtype; got torch\.bfloat16, torch\.float32 and torch\.float32; cast them"
    ):
        gelu_linear(wide.bfloat16(), weight, bias)


def test_the_activation_is_not_kept():
    arguments = draw(rows=(100,))
    sizes: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tuple(tensor.shape)) or tensor, lambda tensor: tensor
    ):
        gelu_linear(*arguments)
    assert sizes == [(100, 8), (4, 8)]


def peak_bytes(compute, path):
    """Follow what torch allocates in a forward and a backward pass of four layers in a row, 512 KB an activation."""
    wide, bias = torch.randn(128, 1024, requires_grad=True), torch.zeros(16)
    weights = [(torch.randn(16, 1024, requires_grad=True), torch.randn(16, 1024)) for _ in range(4)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        out = wide
        for weight, widen in weights:
            out = compute(out, weight, bias) @ widen
        out.sum().backward()
    profile.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    return max(itertools.accumulate(event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])))


def test_the_peak_of_memory_falls(tmp_path):
    assert peak_bytes(gelu_linear, tmp_path / "ours.json") < 0.75 * peak_bytes(reference, tmp_path / "torchs.json")


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, wide: torch.Tensor) -> torch.Tensor:
        return gelu_linear(wide * 2, self.linear.weight, self.linear.bias) + 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_with_its_gradient_without_a_graph_break(backend):
    layer, wide = Layer(), draw()[0]
    layer(wide).square().sum().backward()
    expected, wide.grad = wide.grad, None
    torch.compile(layer, fullgraph=True, backend=backend)(wide).square().sum().backward()
    assert torch.allclose(wide.grad, expected, atol=1e-5)


def test_it_exports_with_any_batch_size():
    layer, wide = Layer(), draw(grad=False)[0]
    program = torch.export.export(layer, (wide,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert "leyden.gelu_linear.default" in str(program.graph)
    other = torch.randn(9, 5, 8)
    assert torch.equal(program.module()(other), layer(other))
