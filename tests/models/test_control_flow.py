"""Exported branches and loops compute what the eager model does, at every batch size and length."""

import io
import warnings

import onnxruntime
import pytest
import torch

from leyden.models.early_exit import ScriptableEarlyExitNet
from leyden.models.sequence_model import SequenceModel
from tests.models.test_early_exit import make_network

BATCH, TIME = (torch.export.Dim(name, min=1) for name in ("batch", "time"))
INPUT = {"features": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5]}


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def images(network):
    """Images (N, 1, 8, 8), half of which exit at the first head: the first one does, the second one runs to the end."""
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        confidences = network.compute_all_logits(images)[0].softmax(1).amax(1).sort().values
        network.threshold = float(confidences[31:33].mean())  # between two images, so that rounding cannot change exits
        exits = network.route(images)[1]
    assert exits.unique().tolist() == [0, 1, 2]
    return torch.cat([images[exits == 0][:1], images[exits == 2][:1], images])


@pytest.fixture(scope="module")
def gru():
    torch.manual_seed(0)
    spec = {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 5, "num_layers": 2}}
    return SequenceModel(spec, ["a", "b", "c"], INPUT).eval()


def export(module, *args):
    """Export a module, and return the program as loaded from a file."""
    shapes = ({0: BATCH},) if len(args) == 1 else ({0: BATCH, 1: TIME}, {0: BATCH})
    with torch.no_grad():
        torch.export.save(torch.export.export(module, args, dynamic_shapes=shapes), file := io.BytesIO())
    file.seek(0)
    return torch.export.load(file)


def convert_to_onnx(program):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own dependencies
        proto = torch.onnx.export(program, dynamo=True, opset_version=20, verbose=False).model_proto
    return proto, onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def run(session, *args):
    names = [each.name for each in session.get_inputs()]
    return torch.from_numpy(session.run(None, {name: arg.numpy() for name, arg in zip(names, args, strict=True)})[0])


def batches(images):
    return [images[:1], images[1:2], images[:3], images]


@torch.no_grad()
def count_convolutions(module, batch):
    """Count the convolutions that actually run: torch's FLOP counter runs both branches."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        module(batch)
    return sum(event.count for event in profile.key_averages() if event.key == "aten::convolution")


def test_an_exported_network_keeps_its_branches(network, images):
    program = export(network, images[:2].clone())
    module = program.module()
    assert sum("cond" in str(node.target) for node in program.graph.nodes) == 1  # the second one is inside it
    for batch in batches(images):
        with torch.no_grad():
            assert torch.allclose(module(batch), network(batch), atol=1e-5)
    # The stem has 1 convolution, the stages have 2, 3 and 3.
    assert [count_convolutions(module, batch) for batch in batches(images)] == [3, 9, 9, 9]
    proto, session = convert_to_onnx(program)
    assert [node.op_type for node in proto.graph.node].count("If") == 1
    branches = next(node for node in proto.graph.node if node.op_type == "If").attribute
    assert any("If" in {node.op_type for node in branch.g.node} for branch in branches)
    for batch in batches(images):
        with torch.no_grad():
            assert torch.allclose(run(session, batch), network(batch), atol=1e-4)


@pytest.mark.parametrize(("name", "value"), [("threshold", 1.0), ("branching", False)])
def test_an_exported_network_without_early_exits_has_no_branches(name, value, network, images, monkeypatch):
    monkeypatch.setattr(network, name, value)
    program = export(network, images[:2].clone())
    assert not any("cond" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():
        assert torch.allclose(program.module()(images), network(images), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_network_lets_each_image_exit(network, images):
    torch.jit.save(torch.jit.script(ScriptableEarlyExitNet(network)), file := io.BytesIO())
    file.seek(0)
    module = torch.jit.load(file)
    for batch in batches(images):
        with torch.no_grad():
            assert torch.allclose(module(batch), network(batch), atol=1e-5)
    assert [count_convolutions(module, batch) for batch in batches(images)] == [3, 9, 9, 9]


def sequences():
    """Yield batches with other sizes, lengths and paddings than the example."""
    generator = torch.Generator().manual_seed(0)
    for lengths in ([1], [9], [2, 9, 1], [30, 3, 3, 17, 30]):
        values = torch.randn(len(lengths), max(lengths) + len(lengths) // 3, 2, generator=generator)
        yield values, torch.tensor(lengths)


def test_an_exported_gru_reads_any_length(gru):
    program = export(gru, torch.randn(2, 5, 2), torch.tensor([5, 3]))
    proto, session = convert_to_onnx(program)
    assert [node.op_type for node in proto.graph.node].count("Scan") == 4  # two layers in two directions
    for values, lengths in sequences():
        with torch.no_grad():
            expected = gru(values, lengths)
            assert torch.allclose(program.module()(values, lengths), expected, atol=1e-5)
            assert torch.allclose(run(session, values, lengths), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:The TorchScript type system:UserWarning")
def test_a_scripted_gru_reads_any_length(gru):
    module = torch.jit.script(gru)
    for values, lengths in sequences():
        with torch.no_grad():
            assert torch.allclose(module(values, lengths), gru(values, lengths), atol=1e-6)
