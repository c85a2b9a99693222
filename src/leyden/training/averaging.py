"""The mean of the weights along the end of a training."""

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class TailAveraging(WeightAveraging):
    """Stochastic weight averaging, over every step of the last part of a training.

    Lightning's `StochasticWeightAveraging` takes over in an epoch after the last, so that no score decides about what it made,
    and saves nothing of it without batch norm. Here each validation scores the mean so far, and the checkpoints hold it.
    Running statistics of batch norm are averaged like weights.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018, algorithm 1.
    """

    def __init__(self, start_fraction: float = 0.75) -> None:
        """Choose the part.

        Args:
            start_fraction: Share of the steps after which the mean begins, in [0, 1); before it, the weights stand for themselves.
        """
        super().__init__(avg_fn=self._mean)
        self._start_fraction, self._start = start_fraction, 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = int(self._start_fraction * trainer.estimated_stepping_batches)

    def _mean(self, mean: Tensor, value: Tensor, count: Tensor) -> Tensor:
        """Give the mean of one more value, of which `count` came before, those ahead of the start included."""
        return mean + (value - mean) / (count - self._start + 1).clamp(min=1)
