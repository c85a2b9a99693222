"""Training that starts from an earlier model's weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.errors import UserError
from leyden.models.build import Model, build_model
from leyden.models.load import read_checkpoint


@dataclass
class Start:
    """Which model a training starts from, and what it takes over.

    Args:
        path: A checkpoint made by `leyden fit`; to continue, a last.ckpt under runs/, which holds the optimizer's state.
        mode: finetune takes the weights, and starts the head anew where the labels changed; continue takes the optimizer's state as well.
        freeze_epochs: Epochs in which only what was not taken over learns.
    """

    path: str
    mode: Literal["finetune", "continue"] = "finetune"
    freeze_epochs: int = 0


class Inheritance:
    """What a new model took from an earlier one."""

    def __init__(self, start: Start, model: Model) -> None:
        """Copy the weights into the model, and say which.

        Raises:
            UserError: if the checkpoint is not there, fits in nothing, or cannot be continued.
        """
        if not Path(start.path).is_file():
            raise UserError(f"expected a checkpoint to start from at {start.path}, which is not there; train it with `leyden fit`, and copy it")
        checkpoint = read_checkpoint(Path(start.path))
        theirs = {key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items() if key.startswith("model.network.")}
        ours = {key: value for key, value in model.state_dict().items() if key.startswith("network.")}
        renewed = head_names(model) if checkpoint["leyden"]["labels"] != model.labels else set()
        taken = {key: theirs[key] for key, value in ours.items() if key not in renewed and key in theirs and theirs[key].shape == value.shape}
        fresh = [key for key in ours if key not in taken]
        if not taken:
            raise UserError(
                f"expected a network like that of {start.path} ({checkpoint['leyden']['network']['class_path']}); no weights fit this one"
            )
        self.optimizer_state: dict[Any, Any] | None = None
        if start.mode == "continue":
            if fresh or "optimizer_states" not in checkpoint:
                raise UserError(
                    f"expected to continue with the same network and labels, and the optimizer's state; {start.path} differs or holds none; "
                    "give a last.ckpt from runs/, or mode: finetune"
                )
            self.optimizer_state = checkpoint["optimizer_states"][0]["state"]
        model.load_state_dict(taken, strict=False)
        names = f"; starts anew: {', '.join(fresh)}" if fresh else ""
        rank_zero_info(f"fit: took {len(taken)} of {len(ours)} tensors from {start.path}{names}")
        self.freeze_epochs = start.freeze_epochs
        self.parameters = [parameter for name, parameter in model.named_parameters() if name in taken]
        self.norms = [part for name, part in model.named_modules() if isinstance(part, _BatchNorm) and f"{name}.running_mean" in taken]

    def freeze(self, epoch: int, drops_gradients: bool) -> None:
        """Set before each step what learns in this epoch: nothing hangs on having seen the steps before it.

        Args:
            epoch: The epoch that the step is of.
            drops_gradients: Compute all gradients and drop those of what is frozen: DistributedDataParallel waits for each.
        """
        frozen = epoch < self.freeze_epochs
        for parameter in self.parameters:
            parameter.requires_grad_(drops_gradients or not frozen)
        for norm in self.norms:
            norm.train(not frozen)

    def drop_gradients(self, epoch: int) -> None:
        """Keep an optimizer from touching what is frozen."""
        if epoch < self.freeze_epochs:
            for parameter in self.parameters:
                parameter.grad = None

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer the earlier one's moments; learning rate and weight decay stay its own."""
        if self.optimizer_state is None:
            return
        own = optimizer.state_dict()
        if own["param_groups"] and any(not same_shape(state, parameter) for state, parameter in self._pairs(own, optimizer)):
            raise UserError("expected the optimizer that the checkpoint was trained with, to continue; its state does not fit; give mode: finetune")
        optimizer.load_state_dict({"state": self.optimizer_state, "param_groups": own["param_groups"]})

    def _pairs(self, own: dict[str, Any], optimizer: torch.optim.Optimizer) -> list[tuple[dict[str, Any], Tensor]]:
        numbers = [number for group in own["param_groups"] for number in group["params"]]
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = self.optimizer_state or {}
        return [(state.get(number, {}), parameter) for number, parameter in zip(numbers, parameters, strict=True)]


def same_shape(state: dict[str, Any], parameter: Tensor) -> bool:
    return all(value.shape == parameter.shape for value in state.values() if isinstance(value, Tensor) and value.ndim)


def head_names(model: Model) -> set[str]:
    """Name the tensors whose shape follows the number of labels: those of the same network with one label more are another shape."""
    with torch.device("meta"):
        wider: nn.Module = build_model(model.spec["network"], [*model.labels, ""], model.spec["input"])
    shapes = {key: value.shape for key, value in wider.state_dict().items()}
    return {key for key, value in model.state_dict().items() if shapes.get(key) != value.shape}
