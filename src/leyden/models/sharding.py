"""One network in parts on several processes: fully sharded data parallel and tensor parallel, by torch's own means."""

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

from leyden.errors import UserError


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
        raise UserError(f"expected a network without `initialize`, which sets whole weights; {kind} trains with configs/trainer/ddp.yaml")
    if tensor_parallel_size > 1 and not any(hasattr(part, "split_columns") for part in network.modules()):
        raise UserError(
            f"expected a network whose blocks have split_columns and split_rows, as leyden.models.PatchTransformer; {kind} has "
            "none; train it with -c configs/trainer/fsdp.yaml"
        )
    for part in network.modules():
        if (heads := getattr(part, "heads", tensor_parallel_size)) % tensor_parallel_size:
            raise UserError(f"expected heads that {tensor_parallel_size} processes can share; got {heads}; set network.init_args.heads")
        if getattr(part, "save_memory", False):
            raise UserError("expected save_memory: false for weights that are divided; set network.init_args.save_memory")


def split(network: nn.Module, mesh: DeviceMesh) -> None:
    """Give each process some heads of every attention and some features of every perceptron."""
    blocks: list[Any] = [part for part in network.modules() if hasattr(part, "split_columns")]
    for block in blocks:
        plan: dict[str, ParallelStyle] = {name: ColwiseParallel() for name in block.split_columns}
        parallelize_module(block, mesh, plan | {name: RowwiseParallel() for name in block.split_rows})


def repeated(network: nn.Module) -> list[nn.Module]:
    """Give the blocks that a network is a chain of, inner ones first: their weights are gathered one block at a time."""
    chains = [part for part in network.modules() if isinstance(part, nn.Sequential | nn.ModuleList)]
    found = [block for chain in chains for block in chain if len({type(each) for each in chain}) == 1 and any(block.children())]
    return list(dict.fromkeys(reversed(found)))
