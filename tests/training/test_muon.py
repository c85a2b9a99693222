"""Muon and AdamW in one optimizer: it updates each parameter as torch's own optimizers do."""

import copy

import pytest
import torch
from torch import nn

from leyden.training.muon import Muon, orthogonalize


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 9, 3),
        nn.Flatten(),
        nn.Linear(9 * 16, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )


def train(model, optimizer, steps=3):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_scale_of_the_update_and_the_parameter_groups(memory_format):
    model = network().to(memory_format=memory_format)
    optimizer = Muon(model.parameters(), lr=0.01, weight_decay=0.0)
    assert [p.shape for p in optimizer.param_groups[1]["params"]] == [model[i].weight.shape for i in (0, 2, 4)]
    before = copy.deepcopy(model.state_dict())
    after = train(model, optimizer, 1)
    # The update has a root mean square of 0.2 * lr: full rank, with singular values near 1.
    for key in ("0.weight", "2.weight", "4.weight"):
        update = (after[key] - before[key]).flatten(1)
        singular_values = torch.linalg.svdvals(update) / (0.01 * 0.2 * max(update.shape) ** 0.5)
        assert len(singular_values) == min(update.shape), key
        assert 0.3 < singular_values.mean() < 1.3, (key, singular_values)
    # AdamW's first step has the size of the learning rate.
    assert torch.allclose((after["6.weight"] - before["6.weight"]).abs(), torch.tensor(0.01), rtol=1e-3)
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_matrices_are_updated_as_by_torchs_muon(monkeypatch):
    # torch's own computes in bfloat16 on every device.
    monkeypatch.setattr("leyden.training.muon.computes_bf16_natively", lambda device_type: True)
    layer, expected = nn.Linear(20, 12, bias=False), nn.Linear(20, 12, bias=False)
    expected.load_state_dict(layer.state_dict())
    head = nn.Parameter(torch.zeros(2, 2))
    muon = Muon([layer.weight, head], lr=0.01, weight_decay=0.1)
    torch_muon = torch.optim.Muon([expected.weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    train_alike([torch.randn(5, 20) for _ in range(4)], (layer, muon), (expected, torch_muon))
    assert torch.allclose(layer.weight, expected.weight, rtol=0, atol=1e-6)


def test_other_parameters_are_updated_as_by_adamw():
    layer, expected = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    muon = Muon(layer.parameters(), lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW(expected.parameters(), lr=0.01, weight_decay=0.1)
    train_alike([torch.randn(7, 5) for _ in range(3)], (layer, muon), (expected, adamw))
    assert torch.equal(layer.weight, expected.weight)
    assert torch.equal(layer.bias, expected.bias)


def train_alike(batches, *pairs):
    """Train several layers, each with its optimizer, on the same batches."""
    for inputs in batches:
        for layer, optimizer in pairs:
            optimizer.zero_grad()
            layer(inputs).exp().sum().backward()
            optimizer.step()


def test_a_saved_state_resumes_bit_for_bit(tmp_path):
    whole = train(model := network(), Muon(model.parameters()), 6)
    model = network()
    optimizer = Muon(model.parameters())
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        if step == 3:
            torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
            weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
            model = network()
            model.load_state_dict(weights)
            optimizer = Muon(model.parameters())
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(value, whole[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (8, 8)])
def test_singular_values_are_close_to_one(shape, bf16, monkeypatch):
    monkeypatch.setattr("leyden.training.muon.computes_bf16_natively", lambda device_type: bf16)
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert values.min() > 0.4
    assert values.max() < 1.3
    assert torch.isfinite(orthogonalize(torch.zeros(shape))).all()
