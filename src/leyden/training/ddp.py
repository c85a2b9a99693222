"""Distributed data parallel training with compressed or infrequent gradient exchange."""

from typing import Any, Literal

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from leyden.ranges import check_range

# Steps with full gradients before PowerSGD or local SGD begin: early gradients are too noisy for either.
NUM_WARM_UP_STEPS = 100


class DDP(DDPStrategy):
    """Lightning's DDPStrategy with communication hooks by name.

    Lightning registers communication hooks on GPUs only, and silently ignores them on other devices.
    """

    def __init__(
        self,
        compress: Literal["no", "fp16", "bf16", "power_sgd"] = "no",
        rank: int = 2,
        average_every: int | None = None,
        find_unused_parameters: bool = False,
        process_group_backend: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Choose how processes exchange gradients.

        Args:
            compress: fp16 and bf16 halve the traffic; power_sgd sends a low-rank approximation with error feedback
                (Vogels et al., 2019).
            rank: Rank of power_sgd's approximation: a higher one is more accurate, and slower.
            average_every: Local SGD (Lin et al., 2020): after 100 steps, average the weights every so many steps
                instead of the gradients at each step; null is off. Processes of one machine still exchange gradients.
            find_unused_parameters: Required by a network that leaves parameters without a gradient in some steps.
            process_group_backend: nccl or gloo; null chooses by device.
            kwargs: Further arguments of torch's DistributedDataParallel.
        """
        check_range("trainer.strategy", "[1, inf)", rank=rank)
        if average_every is not None:
            check_range("trainer.strategy", "[1, inf)", average_every=average_every)
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
            machine, _ = torch.distributed.new_subgroups(group_size=self.num_processes)
            state = post_localSGD_hook.PostLocalSGDState(
                process_group=None, subgroup=machine, start_localSGD_iter=NUM_WARM_UP_STEPS
            )
            self._ddp_comm_state = state  # by which Lightning averages the weights
            self.model.register_comm_hook(state, post_localSGD_hook.post_localSGD_hook)
        elif self._compress == "power_sgd":
            low_rank = powerSGD_hook.PowerSGDState(
                None, matrix_approximation_rank=self._rank, start_powerSGD_iter=NUM_WARM_UP_STEPS
            )
            self.model.register_comm_hook(low_rank, powerSGD_hook.powerSGD_hook)
        elif self._compress != "no":
            hook = {"fp16": default_hooks.fp16_compress_hook, "bf16": default_hooks.bf16_compress_hook}[self._compress]
            self.model.register_comm_hook(None, hook)
