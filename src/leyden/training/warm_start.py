"""Training that starts from an earlier model's weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.errors import UserError
from leyden.models.build import Model, build_model
from leyden.models.channel_pruning import select_channels
from leyden.models.checkpoint import load_checkpoint, read_checkpoint
from leyden.trust import class_paths_of


@dataclass
class WarmStart:
    """Which model a training starts from, and what it takes over.

    Args:
        path: A checkpoint made by `leyden fit`; to continue, a last.ckpt under runs/, which holds the optimizer's state.
        mode: finetune takes the weights, and starts the head anew where the labels changed; continue takes the
            optimizer's state as well; epochs and the learning rate's schedule are the new training's own. prune takes the
            weights of the strongest channels, for a network like the checkpoint's with fewer of them.
        freeze_epochs: Epochs in which only what was not taken over learns; none where all was.
        trust: Whether the checkpoint may name a network of your own other than this training's.
    """

    path: str
    mode: Literal["finetune", "continue", "prune"] = "finetune"
    freeze_epochs: int = 0
    trust: bool = False


class InheritedWeights:
    """What a new model took from an earlier one."""

    def __init__(self, start: WarmStart, model: Model) -> None:
        """Copy the weights into the model, and say which.

        Raises:
            UserError: if the checkpoint is not there, fits in nothing, or cannot be continued.
        """
        if not Path(start.path).is_file():
            raise UserError(
                f"expected a checkpoint to start from at {start.path}, which is not there; train it with `leyden fit`, and copy it"
            )
        checkpoint = read_checkpoint(Path(start.path))
        theirs = {
            key.removeprefix("model."): value
            for key, value in checkpoint["state_dict"].items()
            if key.startswith("model.network.")
        }
        ours = {key: value for key, value in model.state_dict().items() if key.startswith("network.")}
        if start.mode == "prune":
            wide = load_checkpoint(
                Path(start.path), trust=start.trust, allowed_classes=class_paths_of(model.spec["network"])
            )
            chosen = select_channels(wide.network, model.network.state_dict())
            theirs = {f"network.{key}": value for key, value in chosen.items()}
        renewed = head_names(model) if checkpoint["leyden"]["labels"] != model.labels else set()
        taken = {
            key: theirs[key]
            for key, value in ours.items()
            if key not in renewed and key in theirs and theirs[key].shape == value.shape
        }
        fresh = [key for key in ours if key not in taken]
        if not taken:
            raise UserError(
                f"expected a network like that of {start.path} ({checkpoint['leyden']['network']['class_path']}); no weights fit this one"
            )
        self.optimizer = optimizer_state(checkpoint) if start.mode == "continue" else None
        if start.mode == "continue" and (fresh or not self.optimizer):
            raise UserError(
                f"expected the same network and labels, and an optimizer's state, to continue; {start.path} differs or holds none; "
                "give the last.ckpt of a folder in runs/, or mode: finetune"
            )
        model.load_state_dict(taken, strict=False)
        self.names = frozenset(taken)
        names = f"; starts anew: {', '.join(fresh)}" if fresh else ""
        self.parameters = [
            parameter for name, parameter in model.named_parameters() if name in taken and parameter.requires_grad
        ]
        # Where all is taken, as with the same labels, nothing would be left to learn.
        self.freeze_epochs = (
            start.freeze_epochs
            if len(self.parameters) < sum(parameter.requires_grad for parameter in model.parameters())
            else 0
        )
        idle = (
            "; nothing starts anew: freeze_epochs freezes nothing"
            if start.freeze_epochs and not self.freeze_epochs
            else ""
        )
        rank_zero_info(f"fit: took {len(taken)} of {len(ours)} tensors from {start.path}{names}{idle}")
        self.norms = [
            part
            for name, part in model.named_modules()
            if isinstance(part, _BatchNorm) and f"{name}.running_mean" in taken
        ]

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
        """Give an optimizer the earlier one's moments; learning rate and weight decay stay its own.

        Raises:
            UserError: if the earlier one was of another kind.
        """
        if not self.optimizer:
            return
        own = optimizer.state_dict()
        if own["param_groups"][0].keys() - {"initial_lr"} != self.optimizer["param_groups"][0].keys() - {"initial_lr"}:
            raise UserError(
                f"expected the kind of optimizer that the checkpoint was trained with; got {type(optimizer).__name__}; give mode: finetune"
            )
        optimizer.load_state_dict({**own, "state": self.optimizer["state"]})


def optimizer_state(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state of the first optimizer; None where the checkpoint holds none."""
    match checkpoint.get("optimizer_states"):
        case [{"param_groups": [{}, *_], "state": dict()} as state, *_]:
            return state
    return None


def head_names(model: Model) -> set[str]:
    """Name the tensors whose shape follows the number of labels: the same network for one label more has others."""
    wider = build_model(model.spec["network"], [*model.labels, ""], model.spec["input"])
    shapes = {key: value.shape for key, value in wider.state_dict().items()}
    return {key for key, value in model.state_dict().items() if shapes[key] != value.shape}
