"""The evaluation of a LightningModule of the user's: what its `test_step` logs and returns."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leyden import artifacts
from leyden.errors import UserError, own_code_errors
from leyden.models.module_checkpoint import load_data_module, quiet_lightning
from leyden.stages.evaluate.results import Results, Row, Table
from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.measures import mean_measure
from leyden.training.score_names import guess_mode


class ExampleValues(Callback):
    """Collects what `test_step` returns for each example: a dict of tensors (B,), such as {"error": (B,)}.

    Other entries, such as a loss (), are not values of examples, and are left out.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Tensor]] = []

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any) -> None:
        if isinstance(outputs, dict):
            values = {name: each for name, each in outputs.items() if isinstance(each, Tensor) and each.ndim == 1}
            self.batches.append({name: each.detach().double().cpu() for name, each in values.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the values of all examples by name, each (N,).

        Raises:
            UserError: if a batch lacks a name, or its values are not of the same number of examples.
        """
        names = list(dict.fromkeys(name for batch in self.batches for name in batch))
        for batch in self.batches:
            if batch.keys() != set(names) or len({len(each) for each in batch.values()}) > 1:
                raise UserError(
                    "expected test_step to return the same names in each batch, with a value for each example; got "
                    f"{ {name: tuple(each.shape) for name, each in batch.items()} }; correct what it returns"
                )
        return {name: torch.cat([batch[name] for batch in self.batches]).numpy() for name in names}


def evaluate_own_module(
    module: LightningModule, path: Path, num_resamples: int, confidence_level: float, seed: int, trust: bool
) -> Results:
    """Run a module's test loop on the data that it was trained with.

    The metrics are what it logs and, of values that it returns for each example, the means with bootstrap intervals.

    Raises:
        UserError: if the module has no `test_step`, the data no test split, or nothing was logged.
    """
    if not is_overridden("test_step", module):
        raise UserError(
            f"expected a test_step, whose scores are recorded; {type(module).__name__} has none; add one, or leave "
            "`leyden evaluate` out"
        )
    data = load_data_module(path, trust=trust)
    values = ExampleValues()
    logged = run_test(module, data, values)
    arrays = values.arrays()
    measures = [mean_measure(name, each, higher_is_better=True) for name, each in arrays.items()]
    estimates = bootstrap_intervals(measures, confidence_level, num_resamples, seed) if measures else {}
    metrics: dict[str, Any] = dict(logged)
    for name, (value, low, high) in estimates.items():
        metrics |= {name: value, f"{name}_low": low, f"{name}_high": high}
    num_examples = max(map(len, arrays.values()), default=0)
    if not metrics:
        raise UserError(
            f"expected scores that {type(module).__name__}.test_step logs, or values of examples that it returns in a "
            "dict; got neither; add self.log or a return value"
        )
    metrics |= {"confidence_level": confidence_level} | ({"examples": num_examples} if num_examples else {})
    rows = [{"example": index, **{name: each[index] for name, each in arrays.items()}} for index in range(num_examples)]
    return Results(
        metrics=metrics,
        lower_is_better=[name for name in metrics if guess_mode(name) == "min"],
        tables={artifacts.PREDICTIONS: Table(rows, ["example", *arrays])},
        pictures={},
        summary=summarise(metrics, estimates),
    )


def run_test(module: LightningModule, data: LightningDataModule, values: ExampleValues) -> Row:
    """Return what the module's test loop logs, as numbers."""
    with own_code_errors("a test_step that runs on the test data", type(module).__name__), quiet_lightning():
        trainer = Trainer(
            devices=1,
            logger=False,
            callbacks=[values],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(module, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def summarise(metrics: dict[str, Any], estimates: dict[str, Any]) -> list[str]:
    """Describe each score in a clause, with its interval if it has one."""
    clauses = []
    for name, value in metrics.items():
        if name in estimates:
            clauses.append(f"{name} {value:.4g} [{estimates[name].low:.4g}, {estimates[name].high:.4g}]")
        elif name not in ("examples", "confidence_level") and not name.endswith(("_low", "_high")):
            clauses.append(f"{name} {value:.4g}")
    return [", ".join(clauses)]
