"""Training of a model whose weights are divided over processes."""

from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy

from leyden.errors import UserError
from leyden.models.sharding import check_parts


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
        super().__init__(tensor_parallel_size=tensor_parallel_size, save_distributed_checkpoint=False, process_group_backend=process_group_backend)

    def setup_environment(self) -> None:
        size, processes, module = int(self._tensor_parallel_size), self.num_processes * self.num_nodes, self.lightning_module
        assert module is not None
        if processes % size or processes < 2:
            raise UserError(f"expected at least 2 processes, a multiple of tensor_parallel_size ({size}); got {processes}; set trainer.devices")
        if any(isinstance(callback, WeightAveraging) for callback in module.trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError("expected no averaging of weights that are divided over processes; leave the overlay ema or swa out")
        if module.trainer.gradient_clip_val and size > 1:
            raise UserError("expected no gradient_clip_val with tensor parallel: torch takes no norm over whole and divided weights; set it to null")
        check_parts(module.model.network, size)  # type: ignore[arg-type, union-attr]
        self._data_parallel_size = processes // size
        super().setup_environment()
