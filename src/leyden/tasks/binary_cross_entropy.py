"""Binary cross-entropy of each label, with class weights and label smoothing."""

from torch import Tensor, nn
from torch.nn import functional as F

from leyden.ranges import check_range


class BinaryCrossEntropy(nn.Module):
    """The mean binary cross-entropy over the examples and labels of a batch."""

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None, label_smoothing: float) -> None:
        """Store the options.

        Args:
            class_weights: Weight of the examples that have a label, for each label, (K,); None weighs all alike.
            label_smoothing: How far targets move from 0 and 1 towards 0.5, as a fraction of the way, in [0, 1).
        """
        super().__init__()
        check_range("model", "[0, 1)", label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Map logits and targets in [0, 1], both (B, K), to float32 ()."""
        smoothed = (1 - self.label_smoothing) * targets.to(logits.dtype) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=self.class_weights)
