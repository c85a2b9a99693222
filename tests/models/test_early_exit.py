"""Images exit at the first confident head, the logits do not depend on how they are computed, and compute is saved."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from leyden import SupervisedModule
from leyden.cli import main
from leyden.models import EarlyExitNet

GREY = {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}


def make_network() -> EarlyExitNet:
    """Build a network in which some images exit at each head."""
    torch.manual_seed(0)
    network = EarlyExitNet(1, 4, (8, 8), width=8)
    for factor, head in zip((4, 40, 40), network.heads, strict=True):
        head[-1].weight.data *= factor  # confidences on both sides of the threshold
    for _ in range(3):
        network(torch.randn(32, 1, 8, 8))
    return network.eval()


@pytest.fixture
def network():
    return make_network()


@pytest.fixture
def images():
    return torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def confidences(logits):
    return [head.softmax(1).amax(1) for head in logits]


def test_each_image_exits_at_the_first_confident_head(network, images):
    with torch.no_grad():
        heads = network.compute_all_logits(images)
        network.threshold = float(confidences(heads)[0].median())
        out, exits = network.route(images)
    for row in range(len(images)):
        first = next((number for number in (0, 1) if confidences(heads)[number][row] >= network.threshold), 2)
        assert exits[row] == first
        assert torch.allclose(out[row], heads[first][row], atol=1e-5)
    assert len(exits.unique()) == 3
    assert torch.allclose(network.exit_fractions(images), torch.bincount(exits) / 64)


def test_logits_with_gradients_or_exported_are_the_same(network, images):
    network.threshold = 0.6
    with torch.no_grad():
        routed = network(images)
    assert torch.allclose(network(images), routed, atol=1e-5)
    program = torch.export.export(network, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    assert torch.allclose(program.module()(images), routed, atol=1e-5)
    assert network(images).requires_grad


def count_flops(network, images):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return counter.get_total_flops()


def test_images_that_exited_need_no_further_compute(network, images):
    network.threshold = 0.0
    stages: list[int] = []
    for stage in network.stages:
        stage.register_forward_hook(lambda *_: stages.append(1))
    early = count_flops(network, images)
    assert len(stages) == 1
    network.threshold = 1.0
    whole = count_flops(network, images)
    heads = [
        sum(count_flops(network.heads[number], torch.zeros(64, 8 * 2**number, 1, 1)) for number in numbers)
        for numbers in ((2,), (0, 1, 2))
    ]
    network.threshold = 0.999999  # no image is that confident: the same stages, and all heads
    assert count_flops(network, images) - whole == heads[1] - heads[0] > 0
    assert early < 0.5 * whole
    with torch.no_grad():
        network.threshold = float(confidences([network.heads[0](network.stages[0](network.stem(images)))])[0].median())
    assert early < count_flops(network, images) < whole


def test_at_threshold_one_no_image_exits_early_even_at_confidence_one(network, images):
    network.threshold = 1.0
    network.heads[0][-1].bias.data[0] = 1000
    with torch.no_grad():
        out, exits = network.route(images)
        heads = network.compute_all_logits(images)
        assert exits.unique().tolist() == [2]
        assert torch.allclose(out, heads[-1], atol=1e-5)
        assert torch.allclose(network.select_logits(heads), out, atol=1e-5)


def test_an_empty_batch_and_bfloat16(network, images):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network(images[:0]).shape == (0, 4)
        assert network(images).dtype == torch.bfloat16


def test_training_averages_the_loss_over_the_heads():
    torch.manual_seed(0)
    spec = {"class_path": "leyden.models.EarlyExitNet", "init_args": {"width": 4}}
    model = SupervisedModule(spec, ["a", "b"], GREY, label_smoothing=0.0)
    batch = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.tensor([0, 1] * 4)
    loss = model.training_step(batch, 0)
    heads = model.model.network(model.model.preprocess(batch[0]))
    expected = sum(nn.functional.cross_entropy(logits, batch[1]) for logits in heads) / 3
    assert torch.allclose(loss, expected, rtol=1e-5)
    loss.backward()
    assert all(head[-1].weight.grad.abs().sum() > 0 for head in model.model.network.heads)


@pytest.mark.filterwarnings("ignore:.*isinstance\\(treespec, LeafSpec\\)")
def test_it_trains_and_is_evaluated_on_the_command_line(workspace, capsys):
    small = ["--network.init_args.width=4", "--trainer.max_epochs=2", "--trainer.limit_train_batches=4"]
    assert main(["fit", "-c", "configs/train.yaml", "-c", "configs/experiment/early_exit.yaml", *small]) == 0
    assert main(["evaluate"]) == 0
    assert "evaluate: accuracy" in capsys.readouterr().out
