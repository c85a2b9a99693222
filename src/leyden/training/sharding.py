"""One model divided over several processes: fully sharded data parallel (FSDP2) and tensor parallel."""

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from leyden.errors import UserError


class Sharded(ModelParallelStrategy):
    """Lightning's ModelParallelStrategy over all processes, with checkpoints of one file that any number of processes reads.

    (Of plain SGD, which has no state, Lightning cannot read them back: give it a momentum.)
    """

    def __init__(self, tensor_parallel_size: int = 1, process_group_backend: str | None = None) -> None:
        """Choose how the weights are divided.

        Args:
            tensor_parallel_size: Processes that share each matrix (keep them within a machine); the groups of them share each batch, and
                hold their part of the weights and of the optimizer's state (FSDP2).
            process_group_backend: nccl or gloo; null chooses by device.
        """
        super().__init__(
            tensor_parallel_size=tensor_parallel_size,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        size, processes, module = (
            int(self._tensor_parallel_size),
            self.num_processes * self.num_nodes,
            self.lightning_module,
        )
        assert module is not None
        if processes % size or processes < 2:
            raise UserError(
                f"expected at least 2 processes, a multiple of tensor_parallel_size ({size}); got {processes}; set trainer.devices"
            )
        if any(isinstance(callback, WeightAveraging) for callback in module.trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError(
                "expected no averaging of weights that are divided over processes; leave the overlay ema or swa out"
            )
        if module.trainer.gradient_clip_val and size > 1:
            raise UserError(
                "expected no gradient_clip_val with tensor parallel: torch takes no norm over whole and divided weights; set it to null"
            )
        check_parts(module.model.network, size)  # type: ignore[arg-type, union-attr]
        self._data_parallel_size = processes // size
        super().setup_environment()


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Divide a network's weights over a mesh of processes, in place; their names stay.

    Args:
        network: Any network for the mesh's axis `data_parallel`; for `tensor_parallel` one whose blocks say how they may be split.
        mesh: As Lightning's ModelParallelStrategy makes it, `data_parallel` by `tensor_parallel`.

    Source: Zhao et al., "PyTorch FSDP", 2023; Shoeybi et al., "Megatron-LM", 2019, section 3.
    """
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # sharded weights have no other
    if mesh["tensor_parallel"].size() > 1:
        split(network, mesh["tensor_parallel"])
    if mesh["data_parallel"].size() > 1:
        for block in repeated(network):
            fully_shard(block, mesh=mesh["data_parallel"])
        fully_shard(network, mesh=mesh["data_parallel"])


def check_parts(network: nn.Module, tensor_parallel_size: int) -> None:
    """Refuse what cannot be divided, before any process waits for another.

    Raises:
        UserError: if weights are set as a whole, no block can be split, or the heads do not go round.
    """
    kind = type(network).__name__
    if hasattr(network, "initialize"):
        raise UserError(
            f"expected a network without `initialize`, which sets whole weights; {kind} trains with configs/trainer/ddp.yaml"
        )
    if tensor_parallel_size > 1 and not any(hasattr(part, "split_columns") for part in network.modules()):
        raise UserError(
            f"expected a network whose blocks have split_columns and split_rows, as leyden.models.PatchTransformer; {kind} has "
            "none; train it with -c configs/trainer/fsdp.yaml"
        )
    for part in network.modules():
        if (heads := getattr(part, "heads", tensor_parallel_size)) % tensor_parallel_size:
            raise UserError(
                f"expected heads that {tensor_parallel_size} processes can share; got {heads}; set network.init_args.heads"
            )
        if getattr(part, "save_memory", False):
            raise UserError(
                "expected save_memory: false for weights that are divided; set network.init_args.save_memory"
            )


def split(network: nn.Module, mesh: DeviceMesh) -> None:
    """Give each process some heads of every attention and some features of every perceptron."""
    blocks: list[Any] = [part for part in network.modules() if hasattr(part, "split_columns")]
    for block in blocks:
        plan: dict[str, ParallelStyle] = {name: ColwiseParallel() for name in block.split_columns}
        parallelize_module(block, mesh, plan | {name: RowwiseParallel() for name in block.split_rows})


def repeated(network: nn.Module) -> list[nn.Module]:
    """Give the blocks that a network is a chain of, inner ones first: their weights are gathered one block at a time."""
    chains = [part for part in network.modules() if isinstance(part, nn.Sequential | nn.ModuleList)]
    found = [
        block
        for chain in chains
        for block in chain
        if len({type(each) for each in chain}) == 1 and any(block.children())
    ]
    return list(dict.fromkeys(reversed(found)))
