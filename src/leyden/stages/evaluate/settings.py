"""The settings of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The arguments of `leyden evaluate` that decide its results; see there."""

    batch_size: int = 256
    top_k: int = 3
    num_resamples: int = 10_000
    confidence_level: float = 0.95
    seed: int = 0
    abstain_precision: float = 0.99
    robustness: Sequence[str] = ()
