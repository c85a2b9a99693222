"""Batch norm with batches of one example."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from leyden.stages.doctor.finding import Finding, join_names


class BatchNormMonitor(Callback):
    """Records the smallest batch of each batch norm in training mode."""

    def __init__(self) -> None:
        self.batch_sizes: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, module in pl_module.named_modules():
            if isinstance(module, _BatchNorm):
                self._handles.append(
                    module.register_forward_pre_hook(lambda module, args, name=name: self._record(name, module, args))
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _record(self, name: str, module: nn.Module, args: Any) -> None:
        if module.training:
            self.batch_sizes[name] = min(len(args[0]), self.batch_sizes.get(name, len(args[0])))

    def make_finding(self) -> Finding:
        check = "batch norm"
        if single := [name for name, size in self.batch_sizes.items() if size == 1]:
            observation = f"batches of 1 example at {join_names(single)}"
            advice = "use a larger data.batch_size, GroupNorm, or eval mode: one example has no batch statistics"
            return Finding(check, "fail", observation, advice)
        if not self.batch_sizes:
            return Finding(check, "ok", "none in training mode")
        smallest = min(self.batch_sizes.values())
        return Finding(check, "ok", f"{len(self.batch_sizes)} layers; the smallest batch has {smallest} examples")
