import pytest
import torch
from torch import nn

from leyden import SupervisedModule, UserError
from leyden.models import PatchTransformer
from leyden.models.network_spec import build_network

SMALL = {"patch_size": 4, "width": 16, "depth": 2, "heads": 2}


@pytest.mark.parametrize(("size", "channels", "patches"), [((8, 8), 1, 4), ((21, 30), 3, 48), ((3, 5), 3, 2)])
def test_accepts_any_size_and_pads_to_whole_patches(size, channels, patches):
    network = PatchTransformer(channels, 5, size, **SMALL)
    images = torch.randn(2, channels, *size)
    assert network(images).shape == (2, 5)
    assert network.embed_patches(images).shape == (2, patches, 16)
    assert network.grid[0] * network.grid[1] == patches


def test_attention_maps_are_those_of_the_forward_pass():
    torch.manual_seed(0)
    network = PatchTransformer(1, 5, (8, 8), **{**SMALL, "patch_size": 2})
    images = torch.randn(3, 1, 8, 8)
    maps = network.attention_maps(images)
    assert maps.shape == (3, 2, 2, 16, 16)
    assert torch.allclose(maps.sum(-1), torch.ones(3, 2, 2, 16))
    block = network.blocks[0]
    tokens = block.norm1(network.embed_patches(images))
    mixed = (maps[:, 0] @ block.attention.project(tokens)[2]).transpose(1, 2).flatten(2)
    assert torch.allclose(block.attention.project_out(mixed), block.attention(tokens), atol=1e-5)


def test_positions_distinguish_patches():
    torch.manual_seed(0)
    network = PatchTransformer(1, 5, (8, 8), **SMALL).eval()
    images = torch.randn(1, 1, 8, 8)
    moved = images.roll(4, dims=3)
    assert not torch.allclose(network(images), network(moved), atol=1e-4)
    network.positions.data.zero_()
    assert torch.allclose(network(images), network(moved), atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_save_memory_changes_no_gradients_and_stores_less(autocast):
    torch.manual_seed(0)
    plain, saving = (PatchTransformer(1, 5, (8, 8), **SMALL, save_memory=flag) for flag in (False, True))
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(4, 1, 8, 8)
    for network in (plain, saving):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = network(images)
        out.float().square().sum().backward()
    for (name, expected), parameter in zip(plain.named_parameters(), saving.parameters(), strict=True):
        tolerance = 0.05 * float(expected.grad.abs().max()) if autocast else 1e-5
        assert torch.allclose(expected.grad, parameter.grad, atol=tolerance), name
    assert stored_bytes(saving, images) < 0.85 * stored_bytes(plain, images)


def stored_bytes(network, images):
    """Count the bytes that the graph stores for the backward pass, except for weights."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    storages: dict[int, int] = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        storages.update({storage.data_ptr(): storage.nbytes()} if tensor.data_ptr() not in weights else {})
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        out = network(images)  # keeps the graph alive
    assert out.requires_grad
    return sum(storages.values())


def test_attribution_methods_can_hook_every_activation():
    network = PatchTransformer(1, 5, (8, 8), **SMALL, save_memory=True).eval()
    calls: list[nn.Module] = []
    for layer in network.modules():
        if isinstance(layer, nn.GELU):
            layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    network(torch.randn(1, 1, 8, 8))
    assert len(calls) == len(set(calls)) == 2


def test_heads_that_do_not_divide_the_width_are_refused():
    spec = {"class_path": "leyden.models.PatchTransformer", "init_args": {"width": 10, "heads": 3}}
    with pytest.raises(UserError, match="expected a width divisible by heads; got width 10 and heads 3"):
        build_network(spec, {"num_classes": 2, "in_channels": 1, "image_size": (8, 8)})


def test_loss_falls_on_one_batch():
    torch.manual_seed(0)
    spec = {"class_path": "leyden.models.PatchTransformer", "init_args": {**SMALL, "save_memory": True}}
    model = SupervisedModule(
        spec, ["a", "b"], {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}, label_smoothing=0.0
    )
    batch = torch.randint(0, 256, (16, 1, 8, 8), dtype=torch.uint8), torch.arange(16) % 2
    optimizer = model.optimizer(model.parameters())
    losses = []
    for _ in range(20):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
