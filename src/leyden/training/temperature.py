"""Make a model as sure as it is right: one temperature, found on examples that it was not trained on."""

import torch
from torch import Tensor
from torchmetrics import Metric

OCTAVES, STEPS = 4, 65  # temperatures from 2^-4 to 2^4 that are tried; between them the loss is a parabola


class Temperature(Metric):
    """Finds the temperature T for which softmax(logits / T) fits the labels best.

    It keeps sums over examples and no logits, so that it is exact however a split is spread over batches and processes.

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2. Labels are smoothed as if one more
    example had been named rightly and one wrongly (Platt, "Probabilistic outputs for support vector machines", 1999,
    section 2.2): without any error the best temperature would be 0.
    """

    full_state_update = False
    partitions: Tensor
    of_label: Tensor
    of_any: Tensor
    count: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("partitions", torch.zeros(STEPS), dist_reduce_fx="sum")  # sum of log-sum-exp at each temperature
        for name in ("of_label", "of_any", "count"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add examples: logits (B, K), labels (B,)."""
        logits = logits.float() - logits.float().amax(dim=1, keepdim=True)
        self.partitions += torch.stack([torch.logsumexp(logits * factor, dim=1).sum() for factor in factors().tolist()])
        self.of_label += logits.gather(1, labels[:, None]).sum()
        self.of_any += logits.mean(dim=1).sum()
        self.count += len(labels)

    def compute(self) -> Tensor:
        """Give the temperature, (); 1 where no example tells."""
        if not self.count or self.num_classes < 2:
            return torch.tensor(1.0)
        smoothing = self.num_classes / ((self.num_classes - 1) * (self.count + 2))
        expected = (1 - smoothing) * self.of_label + smoothing * self.of_any
        losses = (self.partitions - factors().to(self.partitions.device) * expected).double().cpu()
        best = int(losses.argmin().clamp(1, STEPS - 2))
        before, least, after = losses[best - 1 : best + 2]
        bend = before - 2 * least + after
        if bend <= 0:
            return torch.tensor(1.0)  # logits that are all alike: no temperature changes them
        shift = ((before - after) / (2 * bend)).clamp(-1, 1)
        octave = (best + shift) * 2 * OCTAVES / (STEPS - 1) - OCTAVES
        return (2**-octave).float()


def factors() -> Tensor:
    """Give the inverse temperatures that are tried, (STEPS,)."""
    return torch.logspace(-OCTAVES, OCTAVES, STEPS, base=2)
