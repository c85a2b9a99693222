"""GELU and a linear layer as one operator: same values and gradients, less memory, compiled and exported."""

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


def reference(input, weight, bias):
    return F.linear(F.gelu(input), weight, bias)


def test_operator_passes_opcheck():
    for rows in ((), (3, 5)):
        torch.library.opcheck(gelu_linear, draw(rows=rows))
    input, weight, bias = draw()
    torch.library.opcheck(gelu_linear, (input.detach(), weight, bias.detach()))


@pytest.mark.parametrize("rows", [(), (7,), (3, 5)])
def test_gradients_equal_finite_differences(rows):
    assert torch.autograd.gradcheck(gelu_linear, draw(torch.float64, rows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_equal_those_of_separate_operations(dtype):
    arguments, reference_arguments = draw(dtype), draw(dtype)
    out, expected = gelu_linear(*arguments), reference(*reference_arguments)
    assert torch.equal(out, expected)
    for result in (out, expected):
        result.float().square().sum().backward()
    for actual, wanted in zip(arguments, reference_arguments, strict=True):
        assert torch.allclose(actual.grad, wanted.grad, rtol=0.02 if dtype == torch.bfloat16 else 1e-5)


def test_mixed_dtypes_are_an_error():
    input, weight, bias = draw()
    with pytest.raises(
        ValueError, match=r"of one dtype; got torch\.bfloat16, torch\.float32 and torch\.float32; cast them"
    ):
        gelu_linear(input.bfloat16(), weight, bias)


def test_the_activation_is_not_stored():
    arguments = draw(rows=(100,))
    sizes: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tuple(tensor.shape)) or tensor, lambda tensor: tensor
    ):
        gelu_linear(*arguments)
    assert sizes == [(100, 8), (4, 8)]


def peak_bytes(compute, path):
    """Measure torch's peak allocation in a forward and backward pass of four layers, with activations of 512 KB."""
    input, bias = torch.randn(128, 1024, requires_grad=True), torch.zeros(16)
    weights = [(torch.randn(16, 1024, requires_grad=True), torch.randn(16, 1024)) for _ in range(4)]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        out = input
        for weight, projection in weights:
            out = compute(out, weight, bias) @ projection
        out.sum().backward()
    profile.export_chrome_trace(str(path))
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"]
    return max(itertools.accumulate(event["args"]["Bytes"] for event in sorted(events, key=lambda event: event["ts"])))


def test_peak_memory_is_lower(tmp_path):
    fused, separate = (peak_bytes(compute, tmp_path / "trace.json") for compute in (gelu_linear, reference))
    assert fused < 0.75 * separate


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return gelu_linear(input * 2, self.linear.weight, self.linear.bias) + 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_forward_and_backward_compile_without_a_graph_break(backend):
    layer, input = Layer(), draw()[0]
    layer(input).square().sum().backward()
    expected, input.grad = input.grad, None
    torch.compile(layer, fullgraph=True, backend=backend)(input).square().sum().backward()
    assert torch.allclose(input.grad, expected, atol=1e-5)


def test_exports_with_a_dynamic_batch_size():
    layer, input = Layer(), draw(grad=False)[0]
    program = torch.export.export(layer, (input,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert "leyden.gelu_linear.default" in str(program.graph)
    other = torch.randn(9, 5, 8)
    assert torch.equal(program.module()(other), layer(other))
