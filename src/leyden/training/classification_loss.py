"""Cross-entropy with class weights, for one or several heads."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.ranges import check_range


def check_logits(heads: Sequence[Any], batch_size: int, num_classes: int) -> None:
    """Check that a network's output is logits (B, K), for each of its heads.

    Raises:
        UserError: if it is anything else.
    """
    for logits in heads or [None]:
        if not (isinstance(logits, Tensor) and logits.shape == (batch_size, num_classes)):
            got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"expected a network that returns logits of shape (batch size, num_classes), here "
                f"({batch_size}, {num_classes}); got {got}; correct its forward, or choose another network"
            )


def classification_loss(
    logits: Tensor | Sequence[Tensor], targets: Tensor, class_weights: Tensor | None, label_smoothing: float
) -> Tensor:
    """Return the mean cross-entropy over a batch, float32 ().

    Args:
        logits: (B, K), or those of several heads, whose losses are averaged.
        targets: Class indices int64 (B,), or probabilities float32 (B, K).
        class_weights: Weight of each class (K,); None weighs all alike.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
    """
    heads = [logits] if isinstance(logits, Tensor) else logits
    weights = None if class_weights is None else class_weights.float()  # bf16-true converts buffers too
    # Torch's own mean divides by the sum of the weights of the labels in a batch: the loss would then depend on how
    # examples are divided over processes and accumulated batches.
    losses = [
        F.cross_entropy(each.float(), targets, weight=weights, label_smoothing=label_smoothing, reduction="sum")
        / len(targets)
        for each in heads
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


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
