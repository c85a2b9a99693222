"""The evaluation of a LightningModule of the user's: what its `test_step` logs and returns."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leyden import artifacts
from leyden.errors import UserError, own_code_errors
from leyden.models.module_batches import warn_of_shuffling
from leyden.models.module_checkpoint import load_data_module, quiet_lightning
from leyden.runtimes.module_inputs import find_lengths
from leyden.stages.evaluate.results import Results, Row, Table
from leyden.statistics.bootstrap import bootstrap_intervals
from leyden.statistics.measures import mean_measure
from leyden.training.score_names import guess_mode

RESERVED = ("example", "examples", "confidence_level")


class ExampleValues(Callback):
    """Collects what `test_step` returns for each example: a dict of tensors (B,), such as {"error": (B,)}.

    Other entries, such as a loss (), are not values of examples, and are left out.
    """

    def __init__(self) -> None:
        self.batches: list[dict[str, Tensor]] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        returned = outputs if isinstance(outputs, dict) else {}
        tensors = {str(name): torch.from_numpy(each) if is_numeric(each) else each for name, each in returned.items()}
        values = {name: each for name, each in tensors.items() if is_vector(each)}
        lengths = find_lengths(batch)
        if values and dataloader_idx:
            raise UserError(
                "expected one test loader, as test_step returns values of examples; got several; return one from "
                "test_dataloader, or log the scores instead"
            )
        if lengths and not all(len(each) in lengths for each in values.values()):
            raise shape_error(values)
        self.batches.append({name: each.detach().double().cpu() for name, each in values.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the values of all examples by name, each (N,).

        Raises:
            UserError: if a batch lacks a name, or its values are not of the same number of examples.
        """
        names = list(dict.fromkeys(name for batch in self.batches for name in batch))
        for batch in self.batches:
            if batch.keys() != set(names) or len({len(each) for each in batch.values()}) > 1:
                raise shape_error(batch)
        return {name: torch.cat([batch[name] for batch in self.batches]).numpy() for name in names}


def is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def is_vector(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and value.layout == torch.strided and not value.is_complex()


def shape_error(values: dict[str, Tensor]) -> UserError:
    shapes = {name: tuple(each.shape) for name, each in values.items()}
    return UserError(
        "expected test_step to return the same names in each batch, with a value for each example; got "
        f"{shapes}; correct what it returns"
    )


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
    seed_everything(seed, verbose=False)  # of a test_step that draws random numbers
    logged = run_test(module, data, values)
    if not values.batches:
        raise UserError(
            f"expected test batches of {type(data).__name__}; got none; add examples, or set drop_last: false"
        )
    arrays = values.arrays()
    check_names(logged, arrays)
    not_finite = [name for name, each in (logged | arrays).items() if not np.isfinite(each).all()]
    finite = {name: each for name, each in arrays.items() if name not in not_finite}
    estimates = estimate_means(finite, confidence_level, num_resamples, seed)
    scores = {name: value for name, value in logged.items() if name not in not_finite}
    scores |= {name: float(each.mean()) for name, each in finite.items()}  # a single example has no interval
    check_scored(module, scores, not_finite)
    metrics: dict[str, Any] = dict(scores)
    for name, (value, low, high) in estimates.items():
        metrics |= {name: value, f"{name}_low": low, f"{name}_high": high}
    num_examples = max(map(len, arrays.values()), default=0)
    metrics |= {"confidence_level": confidence_level} | ({"examples": num_examples} if num_examples else {})
    rows = [{"example": index, **{name: each[index] for name, each in arrays.items()}} for index in range(num_examples)]
    return Results(
        metrics=metrics,
        lower_is_better=[name for name in metrics if guess_mode(name) == "min"],
        tables={artifacts.PREDICTIONS: Table(rows, ["example", *arrays])},
        pictures={},
        summary=[summarise(scores, estimates)]
        + ([f"left out, as they are NaN or infinite: {', '.join(not_finite)}"] if not_finite else []),
    )


def estimate_means(
    arrays: dict[str, np.ndarray], confidence_level: float, num_resamples: int, seed: int
) -> dict[str, Any]:
    """Return the mean of each array (N,) with its interval, by name."""
    measures = [mean_measure(name, each, higher_is_better=True) for name, each in arrays.items()]
    return bootstrap_intervals(measures, confidence_level, num_resamples, seed) if measures else {}


def check_scored(module: LightningModule, scores: dict[str, float], not_finite: list[str]) -> None:
    """Raise UserError if there is no score, or none that is finite."""
    if scores:
        return
    if not_finite:
        raise UserError(
            f"expected finite test scores; got NaN or infinity as {', '.join(not_finite)}; correct test_step"
        )
    raise UserError(
        f"expected scores that {type(module).__name__}.test_step logs, or values of examples that it returns in a "
        "dict; got neither; add self.log or a return value"
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
    warn_of_shuffling(trainer.test_dataloaders, "evaluate")
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def check_names(logged: Row, returned: dict[str, Any]) -> None:
    """Raise UserError if scores have names of other entries of metrics.json or predictions.csv."""
    bounds = [f"{name}_{end}" for name in returned for end in ("low", "high")]
    if taken := sorted({*logged, *returned} & {*RESERVED, *bounds}):
        raise UserError(
            f"expected names of scores other than {', '.join(RESERVED)} and those of the bounds of intervals; "
            f"test_step logs or returns {', '.join(taken)}; rename them"
        )


def summarise(scores: dict[str, float], estimates: dict[str, Any]) -> str:
    """Describe each score in a clause, with its interval if it has one."""
    intervals = {name: f" [{each.low:.4g}, {each.high:.4g}]" for name, each in estimates.items()}
    return ", ".join(f"{name} {value:.4g}{intervals.get(name, '')}" for name, value in scores.items())
