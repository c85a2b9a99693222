"""Batch norm with batches of one example."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from leyden.stages.doctor.finding import Finding, named


class BatchNorms(Callback):
    """Takes down how many examples each batch norm in training mode normalised together."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if isinstance(module, _BatchNorm):
                self._handles.append(
                    module.register_forward_pre_hook(lambda module, args, name=name: self._see(name, module, args))
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _see(self, name: str, module: nn.Module, args: Any) -> None:
        if module.training:
            self.sizes[name] = min(len(args[0]), self.sizes.get(name, len(args[0])))

    def finding(self) -> Finding:
        check = "batch norm"
        if single := [name for name, size in self.sizes.items() if size == 1]:
            seen = f"batches of 1 example at {named(single)}"
            return Finding(
                check,
                "fail",
                seen,
                "a larger data.batch_size, GroupNorm, or freeze it in eval mode: one example has no statistics to share",
            )
        if not self.sizes:
            return Finding(check, "ok", "none in training mode")
        return Finding(
            check, "ok", f"{len(self.sizes)} layers; the smallest batch has {min(self.sizes.values())} examples"
        )
