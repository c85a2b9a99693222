"""Cross-entropy with class weights and label smoothing."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.ranges import check_range


class CrossEntropy(nn.Module):
    """The mean cross-entropy over a batch.

    Torch's own mean divides by the sum of the weights of the labels in a batch: the loss would then depend on how
    examples are divided over processes and accumulated batches.
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None, label_smoothing: float) -> None:
        """Store the options.

        Args:
            class_weights: Weight of each class (K,); None weighs all alike.
            label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        """
        super().__init__()
        check_range("model", "[0, 1)", label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Map logits (B, K), and class indices int64 (B,) or probabilities float32 (B, K), to float32 ()."""
        weights = None if self.class_weights is None else self.class_weights.float()  # bf16-true converts buffers too
        total = F.cross_entropy(logits, targets, weights, label_smoothing=self.label_smoothing, reduction="sum")
        return total / len(targets)


def weigh_classes(
    weights: Literal["auto"] | dict[str, float] | None, labels: list[str], counts: list[int] | None
) -> Tensor | None:
    """Return the weight of each class in the loss, (K,); automatic weights have a mean of 1 over the training examples.

    Raises:
        UserError: if a name is not a class, a weight is negative, or auto lacks the counts.
    """
    if weights is None:
        return None
    if weights == "auto":
        if counts is None:
            raise UserError(
                "expected class_counts for class_weights: auto; this data has none; set a weight for each class by name"
            )
        return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
    weights = {str(label): weight for label, weight in weights.items()}  # YAML reads a digit as a number
    if unknown := sorted(set(weights) - set(labels)):
        raise UserError(
            f"expected class_weights by class name ({', '.join(labels)}); got {', '.join(unknown)}; "
            "set them in configs/train.yaml"
        )
    check_range("model.class_weights", "[0, inf)", **weights)
    return torch.tensor([float(weights.get(label, 1.0)) for label in labels])
