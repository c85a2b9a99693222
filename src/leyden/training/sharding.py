"""A model divided over several processes: fully sharded data parallel (FSDP2) and tensor parallel."""

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from leyden.errors import UserError
from leyden.ranges import check_range


class Sharded(ModelParallelStrategy):
    """Lightning's ModelParallelStrategy over all processes, with single-file checkpoints for any number of processes.

    Lightning cannot load those of SGD without momentum, whose optimizer state is empty.
    """

    def __init__(self, tensor_parallel_size: int = 1, process_group_backend: str | None = None) -> None:
        """Choose how the weights are divided.

        Args:
            tensor_parallel_size: Number of processes that share each matrix; keep them within one machine. The groups
                of such processes divide each batch, the weights and the optimizer's state among them (FSDP2).
            process_group_backend: nccl or gloo; null chooses by device.
        """
        check_range("trainer.strategy", "[1, inf)", tensor_parallel_size=tensor_parallel_size)
        super().__init__(
            tensor_parallel_size=tensor_parallel_size,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )

    def setup_environment(self) -> None:
        size, num_processes = int(self._tensor_parallel_size), self.num_processes * self.num_nodes
        module = self.lightning_module
        assert module is not None
        if num_processes % size or num_processes < 2:
            raise UserError(
                f"expected at least 2 processes, a multiple of tensor_parallel_size ({size}); got {num_processes}; "
                "set trainer.devices"
            )
        callbacks: list[Any] = module.trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, WeightAveraging) for callback in callbacks):
            raise UserError(
                "expected no weight averaging with weights that are divided over processes; got a WeightAveraging "
                "callback; leave the overlay ema or swa out"
            )
        if module.trainer.gradient_clip_val and size > 1:
            raise UserError(
                "expected no gradient_clip_val with tensor parallel, because torch cannot compute a norm over whole "
                f"and divided weights; got {module.trainer.gradient_clip_val}; set it to null"
            )
        check_shardable(module.model.network, size)  # type: ignore[arg-type, union-attr]
        self._data_parallel_size = num_processes // size
        super().setup_environment()


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Divide a network's weights over a mesh of processes, in place; their names stay the same.

    The mesh has the axes `data_parallel` and `tensor_parallel`; the latter divides the heads of every attention and the
    hidden features of every MLP, for which the network's blocks have `split_columns` and `split_rows`.

    Source: Zhao et al., "PyTorch FSDP", 2023; Shoeybi et al., "Megatron-LM", 2019, section 3.
    """
    # Sharded weights support no other memory format.
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if mesh["tensor_parallel"].size() > 1:
        splittable: list[Any] = [module for module in network.modules() if hasattr(module, "split_columns")]
        for block in splittable:
            plan: dict[str, ParallelStyle] = {name: ColwiseParallel() for name in block.split_columns}
            plan |= {name: RowwiseParallel() for name in block.split_rows}
            parallelize_module(block, mesh["tensor_parallel"], plan)
    if mesh["data_parallel"].size() > 1:
        for block in find_blocks(network):
            fully_shard(block, mesh=mesh["data_parallel"])
        fully_shard(network, mesh=mesh["data_parallel"])


def check_shardable(network: nn.Module, tensor_parallel_size: int) -> None:
    """Raise UserError if a network cannot be divided, before any process waits for another."""
    name = type(network).__name__
    if hasattr(network, "initialize"):
        raise UserError(
            f"expected a network without `initialize`, which sets whole weights; got {name}; "
            "train it with configs/trainer/ddp.yaml"
        )
    if tensor_parallel_size > 1 and not any(hasattr(module, "split_columns") for module in network.modules()):
        raise UserError(
            "expected a network whose blocks have split_columns and split_rows, as leyden.models.PatchTransformer; "
            f"{name} has none; train it with -c configs/trainer/fsdp.yaml"
        )
    for module in network.modules():
        num_heads = getattr(module, "heads", tensor_parallel_size)
        if num_heads % tensor_parallel_size:
            raise UserError(
                f"expected a multiple of {tensor_parallel_size} heads, the number of processes; got {num_heads}; "
                "set network.init_args.heads"
            )
        if getattr(module, "save_memory", False):
            raise UserError(
                "expected save_memory: false for weights that are divided; got true; set network.init_args.save_memory"
            )


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a network, inner ones first: their weights are gathered one block at a time."""
    chains = (module for module in network.modules() if isinstance(module, nn.Sequential | nn.ModuleList))
    uniform_chains = (chain for chain in chains if len(set(map(type, chain))) == 1)
    blocks = [block for chain in uniform_chains for block in chain if any(block.children())]
    return list(dict.fromkeys(reversed(blocks)))
