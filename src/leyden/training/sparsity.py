"""Magnitude pruning: weights that are set to zero and stay zero."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor, nn
from torch.nn.utils import prune

from leyden.errors import UserError


class MagnitudePruning(Callback):
    """Sets the smallest weights to zero before the first step, and again after each step.

    Zeros speed up none of Leyden's runtimes, and make a file smaller only where it is compressed: for both, prune
    channels (configs/experiment/prune.yaml). Lightning's `ModelPruning` prunes at the end of epochs, so that the best
    checkpoint may be an earlier, dense one, and loses its masks on resumption; here every checkpoint has the zeros, and
    its weights under their usual names.

    Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015, section 3.
    """

    def __init__(self, fraction: float = 0.8) -> None:
        """Choose how many weights to prune.

        Args:
            fraction: Share of the weights of all convolutions and linear layers together, in (0, 1).

        Raises:
            ValueError: if it is out of range.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"expected a fraction of weights in (0, 1); got {fraction}")
        self.fraction = fraction
        self.masks: dict[str, Tensor] = {}  # False where a weight is pruned

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(each, WeightAveraging) for each in callbacks[: callbacks.index(self)]):
            raise UserError(
                "expected MagnitudePruning before averaged weights, which otherwise keep the pruned weights; "
                "got it after them; change their order in trainer.callbacks"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = self._prunable_weights(pl_module)
        if not self.masks:  # a resumed training has loaded them
            flat = torch.cat([weight.detach().reshape(-1) for weight in weights.values()])
            mask = prune.L1Unstructured(self.fraction).compute_mask(flat, torch.ones_like(flat)).bool()
            parts = mask.split([weight.numel() for weight in weights.values()])
            self.masks = {name: part.reshape(weights[name].shape) for name, part in zip(weights, parts, strict=True)}
        self._apply_masks(weights)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._apply_masks(self._prunable_weights(pl_module))

    def _prunable_weights(self, module: LightningModule) -> dict[str, nn.Parameter]:
        model: Any = module.model
        return {name: parameter for name, parameter in model.named_parameters() if parameter.ndim > 1}

    @torch.no_grad()
    def _apply_masks(self, weights: dict[str, nn.Parameter]) -> None:
        for name, mask in self.masks.items():
            weights[name].mul_(mask.to(weights[name].device))

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self.masks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks = state_dict["masks"]
