"""How a training's checkpoints are written: complete or not at all, and loadable as data alone."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from leyden.errors import UserError
from leyden.files import replaced_file
from leyden.models.checkpoint import write_checkpoint
from leyden.trust.description import is_plain


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it, so that a checkpoint is complete or absent.

    Lightning writes to the system's temporary folder, and a move from another disk can be interrupted half-way.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        with replaced_file(path) as partial:
            write_checkpoint(with_plain_hyperparameters(checkpoint), partial)
            check_loadable(partial)


def with_plain_hyperparameters(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Leave out the saved hyper-parameters that are objects: a file with them could not be loaded as data alone."""
    changed = {}
    for name in ("hyper_parameters", "datamodule_hyper_parameters"):
        if name in checkpoint:
            changed[name] = {key: to_builtin(value) for key, value in checkpoint[name].items() if is_plain(value)}
    types = ("hparams_type", "datamodule_hparams_type")  # classes of OmegaConf
    return {key: value for key, value in (checkpoint | changed).items() if key not in types}


def to_builtin(value: Any) -> Any:
    """Return nested plain values without subclasses of dict and list, such as Lightning's AttributeDict."""
    if isinstance(value, dict):
        return {key: to_builtin(each) for key, each in value.items()}
    return [to_builtin(each) for each in value] if isinstance(value, list | tuple) else value


def check_loadable(path: Path) -> None:
    """Raise UserError if a checkpoint holds objects, so that nothing could resume from it or load it.

    Only a module's or callback's own `on_save_checkpoint` or `state_dict` can add them.
    """
    if classes := sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)):
        raise UserError(
            f"expected plain values and tensors in a checkpoint; got {', '.join(classes[:3])}, by on_save_checkpoint "
            "or state_dict of the module, the data or a callback; convert them there"
        )
