"""Stochastic weight averaging over the last part of a training."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from leyden.ranges import check_range


class TailAveraging(WeightAveraging):
    """Averages the weights over every step of the last part of a training.

    Lightning's `StochasticWeightAveraging` swaps the average in after the last epoch, so that no validation scores it,
    and saves it only for networks with batch norm. Here each validation scores the current average, and checkpoints
    contain it. Running statistics of batch norm are averaged like weights.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018, algorithm 1.
    """

    def __init__(self, start_fraction: float = 0.75) -> None:
        """Choose when averaging starts.

        Args:
            start_fraction: Share of the steps after which averaging starts, in [0, 1); until then the average is the
                current weights.
        """
        check_range("trainer.callbacks", "[0, 1)", start_fraction=start_fraction)
        super().__init__(avg_fn=self._update_mean)
        self._start_fraction, self._start_step = start_fraction, 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start_step = int(self._start_fraction * trainer.estimated_stepping_batches)

    def _update_mean(self, mean: Tensor, value: Tensor, num_averaged: Tensor) -> Tensor:
        """Return the mean with one more value; `num_averaged` also counts the values before the start."""
        return mean + (value - mean) / (num_averaged - self._start_step + 1).clamp(min=1)
