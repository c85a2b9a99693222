"""Cross-entropy to a grade and its neighbours."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.ranges import check_range


class OrdinalCrossEntropy(nn.Module):
    """The mean cross-entropy over a batch to targets that each grade shares with its neighbours.

    The target of an example of grade t is the softmax over the grades g of -(g - t)^2: of five grades, the middle one
    keeps 0.56, each neighbour has 0.21. Predicting a distant grade thus costs more than predicting a neighbour, while
    the outputs stay logits of classes.

    After 5 epochs on `leyden sample --kind=ordinal`, the quadratic kappa of the test split is 0.987 (0.983 to 0.990,
    n=3 seeds), against 0.954 (0.943 to 0.964) with cross-entropy, and 0.943 (0.896 to 0.980) if it is smoothed by 0.1.
    After 20 epochs, all three reach 0.99: the loss learns the grades from fewer steps.

    Source: Diaz and Marathe, "Soft Labels for Ordinal Regression", 2019, equations 1 and 3, with the squared distance.
    """

    class_weights: Tensor | None
    shares: Tensor  # of each grade (column) in the target of an example of a grade (row), (K, K)

    def __init__(self, num_grades: int, class_weights: Tensor | None, label_smoothing: float) -> None:
        """Store the options.

        Args:
            num_grades: K.
            class_weights: Weight of the examples of each grade (K,); None weighs all alike.
            label_smoothing: Fraction of the target that is spread over all grades, in [0, 1).
        """
        super().__init__()
        check_range("model", "[0, 1)", label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing
        grades = torch.arange(num_grades, dtype=torch.float32)
        self.register_buffer("shares", (-((grades - grades[:, None]) ** 2)).softmax(dim=1), persistent=False)
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Map logits (B, K), and grades int64 (B,) or mixtures of grades float32 (B, K), to float32 ()."""
        if targets.dim() == 1:
            targets = F.one_hot(targets, logits.shape[1])
        targets, shares = targets.float(), self.shares.float()  # bf16-true converts buffers too
        losses = F.cross_entropy(
            logits.float(), targets @ shares, label_smoothing=self.label_smoothing, reduction="none"
        )
        if self.class_weights is not None:
            losses = losses * (targets @ self.class_weights.float())
        return losses.mean()
