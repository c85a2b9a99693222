"""This process's rank among the data-parallel replicas."""

from lightning.pytorch import Trainer


def rank_and_world_size(trainer: Trainer | None) -> tuple[int, int]:
    """Return which part of each global batch this process takes, and the number of parts; (0, 1) without a trainer.

    Processes that hold parts of one model (tensor parallel) take the same part.
    """
    kwargs = trainer.distributed_sampler_kwargs if trainer else None
    return (kwargs["rank"], kwargs["num_replicas"]) if kwargs else (0, 1)
