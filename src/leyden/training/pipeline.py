"""Pipeline parallel training: a network's blocks on several GPUs of one machine, fed with micro-batches."""

import functools
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from leyden.errors import UserError


class Pipeline(SingleDeviceStrategy):
    """One process whose network is spread over several devices.

    CUDA kernels run asynchronously, so that every GPU computes on a different micro-batch at the same time.
    """

    def __init__(self, devices: list[str], micro_batches: int = 4) -> None:
        """Choose the devices.

        Args:
            devices: Devices of the network's parts, first to last: [cuda:0, cuda:1].
            micro_batches: Number of parts that a batch is divided into; batch norm normalises each by itself.
        """
        self._devices, self._num_micro_batches = [torch.device(name) for name in devices], micro_batches
        super().__init__(self._devices[0])

    def setup_environment(self) -> None:
        num_gpus = torch.cuda.device_count()
        are_available = all(each.type != "cuda" or (each.index or 0) < num_gpus for each in self._devices)
        if len(self._devices) < 2 or not are_available:
            raise UserError(
                f"expected at least 2 devices of this machine; got {', '.join(map(str, self._devices))}, "
                f"and it has {num_gpus} GPUs; "
                "set trainer.strategy.init_args.devices, or leave -c configs/trainer/pipeline.yaml out"
            )
        super().setup_environment()

    def model_to_device(self) -> None:
        super().model_to_device()
        assert self.model is not None
        network: Any = self.model.model.network  # type: ignore[union-attr]
        partition_network(network, self._devices, self._num_micro_batches)


def partition_network(network: nn.Module, devices: list[torch.device], num_micro_batches: int) -> None:
    """Move a network's modules to devices in their order, with about equally many parameters on each, in place.

    Parameter names and outputs stay the same.

    Source: Huang et al., "GPipe", 2019, section 2.

    Raises:
        UserError: if the network is not a chain of `blocks`.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Sequential):
        raise UserError(
            f"expected a network with a chain of `blocks`, as leyden.models.ResNet; {type(network).__name__} has none; "
            "choose such a network, or leave -c configs/trainer/pipeline.yaml out"
        )
    chain = [module for child in network.children() for module in (blocks if child is blocks else [child])]
    total, num_placed = sum(map(count_parameters, chain)), 0
    for module in chain:
        device = devices[min(len(devices) - 1, num_placed * len(devices) // max(1, total))]
        num_placed += count_parameters(module)
        module.to(device)
        module.register_forward_pre_hook(functools.partial(move_inputs, device))
    forward = network.forward

    def forward_micro_batches(inputs: Tensor) -> Any:
        outputs = [forward(micro_batch) for micro_batch in inputs.chunk(num_micro_batches)]
        return torch.cat([output.to(devices[0]) for output in outputs])

    network.forward = forward_micro_batches


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def move_inputs(device: torch.device, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.to(device, non_blocking=True) for tensor in inputs)
