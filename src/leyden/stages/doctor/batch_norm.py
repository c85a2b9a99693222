"""Batch norm with batches of one example."""

import functools
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.stages.doctor.finding import Finding, join_names


class BatchNormMonitor(Callback):
    """Records the smallest batch of each batch norm in training mode."""

    def __init__(self) -> None:
        self.batch_sizes: dict[str, int] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if isinstance(module, _BatchNorm):
                module.register_forward_pre_hook(functools.partial(self._record, name))

    def _record(self, name: str, module: nn.Module, args: Any) -> None:
        if module.training:
            self.batch_sizes[name] = min(len(args[0]), self.batch_sizes.get(name, len(args[0])))

    def check(self) -> Finding:
        if single := [name for name, size in self.batch_sizes.items() if size == 1]:
            advice = "use a larger data.batch_size, GroupNorm, or eval mode: one example has no batch statistics"
            return Finding("fail", f"batches of 1 example at {join_names(single)}", advice)
        if not self.batch_sizes:
            return Finding("ok", "none in training mode")
        smallest = min(self.batch_sizes.values())
        return Finding("ok", f"{len(self.batch_sizes)} layers; the smallest batch has {smallest} examples")
