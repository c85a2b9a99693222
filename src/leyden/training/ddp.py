"""Data-parallel training whose gradients are compressed, or exchanged rarely; by name in configs/trainer/ddp.yaml."""

from typing import Any, Literal

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

WARM_UP_STEPS = 100  # exchanged in full before PowerSGD or local steps begin: early gradients are too noisy for either


class DDP(DDPStrategy):
    """Lightning's DDPStrategy with communication hooks by name. (Lightning registers hooks on GPUs alone, and silently on no other device.)"""

    def __init__(
        self,
        compress: Literal["no", "fp16", "bf16", "power_sgd"] = "no",
        rank: int = 2,
        average_every: int | None = None,
        find_unused_parameters: bool = False,
        process_group_backend: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Choose how gradients travel.

        Args:
            compress: fp16 and bf16 halve what is sent; power_sgd sends a low-rank form (Vogels et al., 2019), with error feedback.
            rank: Of power_sgd: higher is closer to the gradient, and slower.
            average_every: Local SGD: after a start of 100 steps, average weights every so many steps in place of each step's gradients
                (Lin et al., 2020); null is off. Processes of one machine go on to exchange gradients.
            find_unused_parameters: Needed by a network that leaves parameters without a gradient in some steps.
            process_group_backend: nccl or gloo; null chooses by device.
            kwargs: More arguments of torch's DistributedDataParallel.
        """
        super().__init__(
            model_averaging_period=average_every,
            process_group_backend=process_group_backend,
            find_unused_parameters=find_unused_parameters,
            **kwargs,
        )
        self._compress, self._rank, self._average_every = compress, rank, average_every

    def _register_ddp_hooks(self) -> None:
        assert isinstance(self.model, DistributedDataParallel)
        if self._average_every:
            neighbours, _ = torch.distributed.new_subgroups(group_size=self.num_processes)
            state = post_localSGD_hook.PostLocalSGDState(
                process_group=None, subgroup=neighbours, start_localSGD_iter=WARM_UP_STEPS
            )
            self._ddp_comm_state = state  # Lightning then averages the weights
            self.model.register_comm_hook(state, post_localSGD_hook.post_localSGD_hook)
        elif self._compress == "power_sgd":
            low_rank = powerSGD_hook.PowerSGDState(
                None, matrix_approximation_rank=self._rank, start_powerSGD_iter=WARM_UP_STEPS
            )
            self.model.register_comm_hook(low_rank, powerSGD_hook.powerSGD_hook)
        elif self._compress != "no":
            hook = {"fp16": default_hooks.fp16_compress_hook, "bf16": default_hooks.bf16_compress_hook}[self._compress]
            self.model.register_comm_hook(None, hook)
