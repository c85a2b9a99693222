"""Pipeline parallel training on the GPUs of one machine: the network's blocks one behind another, small parts of the batch in a row."""

import functools
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn

from leyden.errors import UserError


class Pipeline(SingleDeviceStrategy):
    """One process whose network lies on several devices. GPUs work while Python goes on, so that each has a part of the batch at a time."""

    def __init__(self, devices: list[str], micro_batches: int = 4) -> None:
        """Choose where the network lies.

        Args:
            devices: Of the parts, first to last: [cuda:0, cuda:1].
            micro_batches: Parts of a batch that follow one another; batch norm sees each by itself.
        """
        self._places, self._micro_batches = [torch.device(name) for name in devices], micro_batches
        super().__init__(self._places[0])

    def setup_environment(self) -> None:
        if len(self._places) < 2 or not all(map(is_there, self._places)):
            raise UserError(
                f"expected at least 2 devices of this machine; got {', '.join(map(str, self._places))}, and it has {torch.cuda.device_count()} GPUs; "
                "set trainer.strategy.init_args.devices, or leave -c configs/trainer/pipeline.yaml out"
            )
        super().setup_environment()

    def model_to_device(self) -> None:
        super().model_to_device()
        assert self.model is not None
        spread(self.model.model.network, self._places, self._micro_batches)  # type: ignore[union-attr, arg-type]


def is_there(place: torch.device) -> bool:
    return place.type != "cuda" or (place.index or 0) < torch.cuda.device_count()


def spread(network: nn.Module, devices: list[torch.device], micro_batches: int) -> None:
    """Put the parts of a network on devices in their order, equal shares of the weights on each; names and results stay.

    Source: Huang et al., "GPipe", 2019, section 2.

    Raises:
        UserError: if the network is no chain: it has no `blocks`.
    """
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.Sequential):
        raise UserError(
            f"expected a network with a chain of `blocks`, as leyden.models.ResNet; {type(network).__name__} has none"
        )
    chain = [part for child in network.children() for part in (blocks if child is blocks else [child])]
    total, before = sum(map(weigh, chain)), 0
    for part in chain:
        device = devices[min(len(devices) - 1, before * len(devices) // max(1, total))]
        before += weigh(part)
        part.to(device)
        part.register_forward_pre_hook(functools.partial(bring, device))
    forward = network.forward
    first = devices[0]

    def piecewise(inputs: Tensor) -> Any:
        outputs = [forward(piece) for piece in inputs.chunk(micro_batches)]
        return torch.cat([output.to(first) for output in outputs])

    network.forward = piecewise


def weigh(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def bring(device: torch.device, part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.to(device, non_blocking=True) for tensor in inputs)
