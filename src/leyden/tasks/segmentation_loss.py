"""The loss of segmentation: cross-entropy and soft Dice."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.imaging.mask_classes import IGNORED
from leyden.ranges import check_range


class SegmentationLoss(nn.Module):
    """Cross-entropy plus the soft Dice loss, the mean over the images.

    Both are computed for each image, from the pixels that are not ignored: the loss does not depend on how images are
    divided over processes and accumulated batches. Dice is the mean over the classes that the image shows, each
    weighted alike however small it is; class weights and label smoothing apply to the cross-entropy alone. Of an image
    without pixels of a class, the loss is 0.

    Source: Drozdzal et al., "The importance of skip connections in biomedical image segmentation", 2016, equation 1
    (Dice loss); Isensee et al., "nnU-Net", 2021 (its sum with cross-entropy).
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        """Store the options.

        Args:
            class_weights: Weight of each class (K,) in the cross-entropy; None weighs all alike.
            label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        """
        super().__init__()
        check_range("model", "[0, 1)", label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Map logits (B, K, H, W) and class indices uint8 (B, H, W), 255 for ignored pixels, to float32 ()."""
        logits = logits.float()
        weights = None if self.class_weights is None else self.class_weights.float()  # bf16-true converts buffers too
        is_counted = (targets != IGNORED).unsqueeze(1)
        indices = targets.long().unsqueeze(1).where(is_counted, 0)
        # Probabilities, not indices: CUDA has no deterministic kernel for indices of pixels.
        actual = torch.zeros_like(logits).scatter(1, indices, is_counted.float())
        by_pixel = F.cross_entropy(logits, actual, weights, label_smoothing=self.label_smoothing, reduction="none")
        counts = is_counted.sum((1, 2, 3))
        cross_entropy = (by_pixel * is_counted[:, 0]).sum((1, 2)) / counts.clamp(min=1)
        predicted = logits.softmax(1) * is_counted
        sizes = actual.sum((2, 3))
        is_shown = sizes > 0
        dice = 2 * (predicted * actual).sum((2, 3)) / (predicted.sum((2, 3)) + sizes.clamp(min=1))
        dice_loss = ((1 - dice) * is_shown).sum(1) / is_shown.sum(1).clamp(min=1)
        return (cross_entropy + dice_loss).mean()
