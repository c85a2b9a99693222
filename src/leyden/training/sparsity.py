"""Weights that are zero and stay it."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor, nn
from torch.nn.utils import prune

from leyden.errors import UserError


class MagnitudePruning(Callback):
    """Sets the smallest weights to zero before the first step, and back to zero after each.

    Zeros make no runtime of ours faster, and a file smaller only where it is compressed: for both, prune channels
    (configs/experiment/prune.yaml). Lightning's `ModelPruning` prunes at the end of epochs, so that the best checkpoint may come
    from before, and forgets its masks when it is resumed; here every checkpoint has the zeros, and its weights under their own names.

    Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", 2015, section 3.
    """

    def __init__(self, fraction: float = 0.8) -> None:
        """Choose how many.

        Args:
            fraction: Share of the weights of convolutions and linear layers, all taken together, in (0, 1).

        Raises:
            ValueError: if it is out of range.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"expected a fraction of weights in (0, 1); got {fraction}")
        self.fraction = fraction
        self.masks: dict[str, Tensor] = {}  # True where a weight lives

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        before = trainer.callbacks[: trainer.callbacks.index(self)]  # type: ignore[attr-defined]
        if any(isinstance(each, WeightAveraging) for each in before):
            raise UserError(
                "expected MagnitudePruning before averaged weights, which else keep what it sets to zero; change their order in trainer.callbacks"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = self._weights(pl_module)
        if not self.masks:  # a training that goes on has them
            every = torch.cat([weight.detach().reshape(-1) for weight in weights.values()])
            mask = prune.L1Unstructured(self.fraction).compute_mask(every, torch.ones_like(every)).bool()
            parts = mask.split([weight.numel() for weight in weights.values()])
            self.masks = {name: part.reshape(weights[name].shape) for name, part in zip(weights, parts, strict=True)}
        self._apply(weights)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._apply(self._weights(pl_module))

    def _weights(self, module: LightningModule) -> dict[str, nn.Parameter]:
        model: Any = module.model
        return {name: parameter for name, parameter in model.named_parameters() if parameter.ndim > 1}

    @torch.no_grad()
    def _apply(self, weights: dict[str, nn.Parameter]) -> None:
        for name, mask in self.masks.items():
            weights[name].mul_(mask.to(weights[name].device))

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self.masks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.masks = state_dict["masks"]
