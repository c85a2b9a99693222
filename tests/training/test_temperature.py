"""The temperature is the one that fits best."""

import pytest
import torch
from torch.nn import functional as F

from leyden.training.temperature import Temperature


def sample(sharper: float, count: int = 2000, num_classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw labels from a softmax model, and tell its logits times `sharper`."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, num_classes, generator=generator)
    return sharper * logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def fit(*batches: tuple[torch.Tensor, torch.Tensor]) -> float:
    metric = Temperature(batches[0][0].shape[1])
    for batch in batches:
        metric.update(*batch)
    return float(metric.compute())


@pytest.mark.parametrize("sharper", [0.3, 1.0, 3.0])
def test_it_finds_the_best_of_all(sharper):
    logits, labels = sample(sharper)
    found = fit((logits, labels))
    assert found == pytest.approx(sharper, rel=0.08)
    smoothing = 4 / 3 / 2002
    losses = {
        t: F.cross_entropy((logits / t).double(), labels, label_smoothing=smoothing)
        for t in (found * 0.99, found, found * 1.01)
    }
    assert min(losses, key=losses.__getitem__) == found


def test_it_is_the_same_in_uneven_batches():
    logits, labels = sample(2.0, 500)
    parts = ((logits[:7], labels[:7]), (logits[7:300], labels[7:300]), (logits[300:], labels[300:]))
    assert fit(*parts) == pytest.approx(fit((logits, labels)), rel=1e-4)


def test_without_an_error_it_stays_above_0():
    """Two classes, told apart by one step: the answer is then right with (n+1)/(n+2), as Platt has it."""
    labels = torch.arange(60) % 2
    found = fit((3.0 * F.one_hot(labels, 2).float(), labels))
    assert torch.sigmoid(torch.tensor(3.0 / found)).item() == pytest.approx(61 / 62, abs=2e-3)


def test_logits_that_say_nothing_do_no_harm():
    assert fit((torch.zeros(10, 3), torch.arange(10) % 3)) == 1
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert float(Temperature(3).compute()) == 1
