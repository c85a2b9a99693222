"""Temperature scaling: calibrates a model's confidence on examples that it was not trained on."""

import torch
from torch import Tensor
from torchmetrics import Metric

MAX_LOG2_TEMPERATURE = 4  # temperatures from 2^-4 to 2^4 are tried; between them the loss is interpolated by a parabola
NUM_TEMPERATURES = 65


class Temperature(Metric):
    """Finds the temperature T that minimises the cross-entropy of softmax(logits / T).

    It accumulates sums instead of logits, so that it is exact however a split is divided over batches and processes.

    Source: Guo et al., "On calibration of modern neural networks", 2017, section 4.2. Labels are smoothed as if one
    more example had been classified correctly and one incorrectly (Platt, "Probabilistic outputs for support vector
    machines", 1999, section 2.2): without any error the best temperature would be 0.
    """

    full_state_update = False
    log_partitions: Tensor  # sum over examples of log-sum-exp at each temperature, (NUM_TEMPERATURES,)
    label_logits: Tensor  # sum over examples of the label's logit, ()
    mean_logits: Tensor  # sum over examples of the mean logit, ()
    num_examples: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("log_partitions", torch.zeros(NUM_TEMPERATURES), dist_reduce_fx="sum")
        for name in ("label_logits", "mean_logits", "num_examples"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add examples: logits (B, K), labels (B,)."""
        logits = logits.float() - logits.float().amax(dim=1, keepdim=True)
        self.log_partitions += torch.stack(
            [torch.logsumexp(logits * factor, dim=1).sum() for factor in inverse_temperatures().tolist()]
        )
        self.label_logits += logits.gather(1, labels[:, None]).sum()
        self.mean_logits += logits.mean(dim=1).sum()
        self.num_examples += len(labels)

    def compute(self) -> Tensor:
        """Return the temperature, (); 1 without examples, or if all logits are equal."""
        if not self.num_examples or self.num_classes < 2:
            return torch.tensor(1.0)
        smoothing = self.num_classes / ((self.num_classes - 1) * (self.num_examples + 2))
        target_logits = (1 - smoothing) * self.label_logits + smoothing * self.mean_logits
        factors = inverse_temperatures().to(self.log_partitions.device)
        losses = (self.log_partitions - factors * target_logits).double().cpu()
        best = int(losses.argmin().clamp(1, NUM_TEMPERATURES - 2))
        before, least, after = losses[best - 1 : best + 2]
        curvature = before - 2 * least + after
        if curvature <= 0:
            return torch.tensor(1.0)  # the logits are all equal: no temperature changes them
        offset = ((before - after) / (2 * curvature)).clamp(-1, 1)
        exponent = (best + offset) * 2 * MAX_LOG2_TEMPERATURE / (NUM_TEMPERATURES - 1) - MAX_LOG2_TEMPERATURE
        return (2**-exponent).float()


def inverse_temperatures() -> Tensor:
    """Return the inverse temperatures to try, (NUM_TEMPERATURES,)."""
    return torch.logspace(-MAX_LOG2_TEMPERATURE, MAX_LOG2_TEMPERATURE, NUM_TEMPERATURES, base=2)
