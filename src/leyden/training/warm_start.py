"""Training that starts from an earlier model's weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.class_paths import class_paths_of
from leyden.errors import UserError
from leyden.models.build import Model, build_model
from leyden.models.channel_pruning import select_channels
from leyden.models.checkpoint import load_checkpoint, read_supervised


@dataclass
class WarmStart:
    """The earlier model that a training starts from, and what it inherits.

    Args:
        path: A checkpoint made by `leyden fit`; to continue, a last.ckpt in runs/, which holds the optimizer's state.
        mode: finetune inherits the weights, and reinitialises the head if the labels differ; continue inherits the
            optimizer's state as well, but not the number of epochs and the learning-rate schedule. prune inherits the
            weights of the strongest channels, for a network like the checkpoint's with fewer of them.
        freeze_epochs: Number of epochs in which inherited weights are frozen; 0 where all weights are inherited.
        trust: Whether the checkpoint may name a network of your own that differs from this training's.
    """

    path: str
    mode: Literal["finetune", "continue", "prune"] = "finetune"
    freeze_epochs: int = 0
    trust: bool = False


class InheritedWeights:
    """The weights that a model inherits from an earlier one, and the optimizer's state that belongs to them."""

    def __init__(self, start: WarmStart, model: Model) -> None:
        """Copy the weights into the model, and print what was not inherited.

        Raises:
            UserError: if the checkpoint is not found, no weight fits, or the training cannot be continued.
        """
        if not Path(start.path).is_file():
            raise UserError(
                f"expected a checkpoint to start from at {start.path}; not found; "
                "train it with `leyden fit` and copy it"
            )
        checkpoint = read_supervised(Path(start.path))
        new = {name: value for name, value in model.state_dict().items() if name.startswith("network.")}
        earlier = earlier_weights(start, checkpoint, model)
        fitting = (name for name, value in new.items() if name in earlier and earlier[name].shape == value.shape)
        inherited = {name: earlier[name] for name in fitting}
        if checkpoint["leyden"]["labels"] != model.labels:
            for name in head_names(model):
                inherited.pop(name, None)
        if not inherited:
            raise UserError(
                f"expected a network like that of {start.path} ({checkpoint['leyden']['network']['class_path']}); "
                "no weights fit this one; choose that network"
            )
        initialized = [name for name in new if name not in inherited]
        self.optimizer_state = read_optimizer_state(checkpoint) if start.mode == "continue" else None
        if start.mode == "continue" and (initialized or not self.optimizer_state):
            raise UserError(
                "expected the same network and labels, and an optimizer's state, to continue; "
                f"{start.path} differs or has none; use the last.ckpt of a folder in runs/, or mode: finetune"
            )
        model.load_state_dict(inherited, strict=False)
        self.names = frozenset(inherited)
        trainable = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.parameters = [parameter for name, parameter in trainable.items() if name in inherited]
        # If all weights are inherited, as with the same labels, freezing would leave none to train.
        self.freeze_epochs = start.freeze_epochs if len(self.parameters) < len(trainable) else 0
        self.batch_norms = [
            module
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and f"{name}.running_mean" in inherited
        ]
        is_ignored = self.freeze_epochs < start.freeze_epochs
        rank_zero_info(
            f"fit: inherits {len(inherited)} of {len(new)} tensors of {start.path}"
            + (f"; initialised: {', '.join(initialized)}" if initialized else "")
            + ("; all weights are inherited: freeze_epochs has no effect" if is_ignored else "")
        )

    def freeze(self, epoch: int, drops_gradients: bool) -> None:
        """Set which parameters are trained in an epoch; called before each step, it depends on no earlier one.

        With `drops_gradients`, frozen parameters have gradients too, which `drop_gradients` removes later:
        DistributedDataParallel waits for every gradient.
        """
        is_frozen = epoch < self.freeze_epochs
        for parameter in self.parameters:
            parameter.requires_grad_(drops_gradients or not is_frozen)
        for batch_norm in self.batch_norms:
            batch_norm.train(not is_frozen)

    def drop_gradients(self, epoch: int) -> None:
        """Remove the gradients of frozen parameters, so that no optimizer updates them."""
        if epoch < self.freeze_epochs:
            for parameter in self.parameters:
                parameter.grad = None

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the earlier optimizer's moments; learning rate and weight decay do not change.

        Raises:
            UserError: if the earlier optimizer was of a different kind.
        """
        if not self.optimizer_state:
            return
        state = optimizer.state_dict()
        new, earlier = (each["param_groups"][0].keys() - {"initial_lr"} for each in (state, self.optimizer_state))
        if new != earlier:
            raise UserError(
                "expected the kind of optimizer that the checkpoint was trained with; "
                f"got {type(optimizer).__name__}; set mode: finetune"
            )
        try:
            optimizer.load_state_dict({**state, "state": self.optimizer_state["state"]})
            fits = all(has_shapes_of(parameter, values) for parameter, values in optimizer.state.items())
        except Exception:  # each optimizer reads its state with other assumptions
            fits = False
        if not fits:
            raise UserError(
                "expected the state of this optimizer in the checkpoint to start from; it holds something else; "
                "set mode: finetune"
            )


def earlier_weights(start: WarmStart, checkpoint: dict[str, Any], model: Model) -> dict[str, Tensor]:
    """Return the weights of the earlier network; in mode prune, those of the channels to keep."""
    if start.mode == "prune":
        wide = load_checkpoint(
            Path(start.path), trust=start.trust, allowed_class_paths=class_paths_of(model.spec["network"])
        )
        kept = select_channels(wide.network, model.network.state_dict())
        return {f"network.{name}": value for name, value in kept.items()}
    state = checkpoint["state_dict"]
    return {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.network.")}


def read_optimizer_state(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state of the first optimizer; None if the checkpoint has none."""
    match checkpoint.get("optimizer_states"):
        case [{"param_groups": [{}, *_], "state": dict()} as state, *_]:
            return state
    return None


def has_shapes_of(parameter: Tensor, values: Any) -> bool:
    """Return whether an optimizer's values for a parameter are single numbers, or tensors of the parameter's shape."""
    tensors = [value for value in values.values() if isinstance(value, Tensor)]
    return all(value.numel() == 1 or value.shape == parameter.shape for value in tensors)


def head_names(model: Model) -> set[str]:
    """Return the names of the tensors whose shape depends on the number of labels."""
    wider = build_model(model.spec["network"], [*model.labels, ""], model.spec["input"])
    shapes = {name: value.shape for name, value in wider.network.state_dict().items()}
    return {f"network.{name}" for name, value in model.network.state_dict().items() if shapes[name] != value.shape}
