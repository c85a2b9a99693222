"""Which part of the work is this process's."""

from lightning.pytorch import Trainer


def rank_and_world_size(trainer: Trainer | None) -> tuple[int, int]:
    """Tell which share of each global batch is this process's, and how many shares there are.

    Processes that hold parts of one model (tensor parallel) take the same share.
    """
    told = trainer.distributed_sampler_kwargs if trainer else None
    return (told["rank"], told["num_replicas"]) if told else (0, 1)
