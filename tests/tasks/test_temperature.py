"""Temperature scaling finds the temperature with the lowest cross-entropy."""

import pytest
import torch
from torch.nn import functional as F

from leyden.tasks.temperature import Temperature


def sample(scale: float, count: int = 2000, num_classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw labels from a softmax model; return its logits, scaled, and the labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, num_classes, generator=generator)
    return scale * logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def fit(*batches: tuple[torch.Tensor, torch.Tensor]) -> float:
    metric = Temperature(batches[0][0].shape[1])
    for batch in batches:
        metric.update(*batch)
    return float(metric.compute())


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_it_finds_the_minimum(scale):
    logits, labels = sample(scale)
    temperature = fit((logits, labels))
    assert temperature == pytest.approx(scale, rel=0.08)
    smoothing = 4 / 3 / 2002
    losses = {
        t: F.cross_entropy((logits / t).double(), labels, label_smoothing=smoothing)
        for t in (temperature * 0.99, temperature, temperature * 1.01)
    }
    assert min(losses, key=losses.__getitem__) == temperature


def test_it_does_not_depend_on_the_batches():
    logits, labels = sample(2.0, 500)
    parts = ((logits[:7], labels[:7]), (logits[7:300], labels[7:300]), (logits[300:], labels[300:]))
    assert fit(*parts) == pytest.approx(fit((logits, labels)), rel=1e-4)


def test_without_errors_it_is_above_0():
    """If all n examples are correct, the predicted probability is Platt's (n + 1) / (n + 2)."""
    labels = torch.arange(60) % 2
    temperature = fit((3.0 * F.one_hot(labels, 2).float(), labels))
    assert torch.sigmoid(torch.tensor(3.0 / temperature)).item() == pytest.approx(61 / 62, abs=2e-3)


def test_it_is_1_for_equal_logits_and_without_examples():
    assert fit((torch.zeros(10, 3), torch.arange(10) % 3)) == 1
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert float(Temperature(3).compute()) == 1
