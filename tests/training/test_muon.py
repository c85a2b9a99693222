"""Muon and AdamW in one optimizer: each parameter moves as torch's own optimizer for it would move it."""

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
def test_the_size_of_the_step_and_who_takes_what(memory_format):
    model = network().to(memory_format=memory_format)
    optimizer = Muon(model.parameters(), lr=0.01, weight_decay=0.0)
    assert [p.shape for p in optimizer.param_groups[1]["params"]] == [model[i].weight.shape for i in (0, 2, 4)]
    before = copy.deepcopy(model.state_dict())
    after = train(model, optimizer, 1)
    for key in (
        "0.weight",
        "2.weight",
        "4.weight",
    ):  # root mean square 0.2 * lr, of a matrix of full rank with singular values near 1
        moved = (after[key] - before[key]).flatten(1)
        rank = min(moved.shape)
        singular = torch.linalg.svdvals(moved) / (0.01 * 0.2 * max(moved.shape) ** 0.5)
        assert len(singular) == rank and 0.3 < singular.mean() < 1.3, (key, singular)
    assert torch.allclose(
        (after["6.weight"] - before["6.weight"]).abs(), torch.tensor(0.01), rtol=1e-3
    )  # AdamW's first step
    assert not torch.equal(after["1.weight"], before["1.weight"])


def test_matrices_move_as_under_torchs_own_muon(monkeypatch):
    monkeypatch.setattr(
        "leyden.training.muon.computes_bf16_natively", lambda kind: True
    )  # torch's own rounds to bfloat16 everywhere
    ours, theirs = nn.Linear(20, 12, bias=False), nn.Linear(20, 12, bias=False)
    theirs.load_state_dict(ours.state_dict())
    head = nn.Parameter(torch.zeros(2, 2))
    one = Muon([ours.weight, head], lr=0.01, weight_decay=0.1)
    other = torch.optim.Muon([theirs.weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        inputs = torch.randn(5, 20)
        for layer, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            layer(inputs).exp().sum().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, rtol=0, atol=1e-6)


def test_the_rest_moves_as_under_adamw():
    ours, theirs = nn.BatchNorm1d(5), nn.BatchNorm1d(5)
    one, other = (
        Muon(ours.parameters(), lr=0.01, weight_decay=0.1),
        torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1),
    )
    for _ in range(3):
        inputs = torch.randn(7, 5)
        for layer, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            layer(inputs).exp().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)


def test_its_state_goes_on_bit_for_bit(tmp_path):
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
def test_singular_values_come_near_one(shape, bf16, monkeypatch):
    monkeypatch.setattr("leyden.training.muon.computes_bf16_natively", lambda kind: bf16)
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert values.min() > 0.4 and values.max() < 1.3
    assert torch.isfinite(orthogonalize(torch.zeros(shape))).all()
