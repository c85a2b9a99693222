"""Predictions of a LightningModule of the user's: what its `predict_step` returns, of its own data."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leyden.errors import UserError, one_line, own_code_errors
from leyden.files import replaced_file
from leyden.files.names import printable
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.files.tables import write_table
from leyden.models.module_checkpoint import load_data_module, quiet_lightning
from leyden.runtimes.module_inputs import bind_batch, open_loader

MAX_COLUMNS = 1000  # of one output in a table
FIRST_COLUMN = "example"


def predict_own_module(module: LightningModule, model: Path, out: Path, trust: bool) -> None:
    """Write what `predict_step` returns for each example of the data module's `predict_dataloader`.

    Without a `predict_dataloader`, it is the test split. Outputs (B,) and (B, K) are columns of a CSV file; a file with
    the suffix .npz takes arrays of any shape.

    Raises:
        UserError: if the outputs are not tensors with a row for each example, or do not suit the file.
    """
    check_no_overlap(out, [model])
    check_file(out, start=b"PK" if out.suffix == ".npz" else f"{FIRST_COLUMN},".encode())
    arrays = concatenate(run_prediction(module, load_data_module(model, trust=trust)))
    count = len(next(iter(arrays.values())))
    if out.suffix == ".npz":
        with replaced_file(out) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    else:
        columns = {name: column for output, array in arrays.items() for name, column in columns_of(output, array)}
        rows = [
            {FIRST_COLUMN: row, **{name: f"{each[row]:.6g}" for name, each in columns.items()}} for row in range(count)
        ]
        with replaced_file(out) as partial:
            write_table(partial, rows, [FIRST_COLUMN, *columns])
    stream = sys.stderr if is_stream(out) else sys.stdout
    print(f"predict: {count:,} examples predicted; written to {printable(str(out))}", file=stream)


def run_prediction(module: LightningModule, data: LightningDataModule) -> list[dict[str, Tensor]]:
    """Return the outputs of each batch by name.

    Lightning's own `predict_step` gives the whole batch to `forward`; here, only the inputs, without targets.
    """
    if not is_overridden("predict_step", module):
        module.predict_step = partial(predict_inputs, module)  # type: ignore[method-assign]
    with own_code_errors("a predict_step that runs on its own data", type(module).__name__), quiet_lightning():
        trainer = Trainer(devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        if is_overridden("predict_dataloader", data):
            batches = trainer.predict(module, datamodule=data)
        else:
            batches = trainer.predict(module, open_loader(data, ("test",)))
    return [name_outputs(batch) for batch in batches or []]


def predict_inputs(module: LightningModule, batch: Any, *args: Any) -> Any:
    inputs, named_inputs = bind_batch(module.forward, batch)
    return module(*inputs, **named_inputs)


def name_outputs(outputs: Any) -> dict[str, Tensor]:
    """Return a tensor, a tuple or a dict of tensors by name.

    Raises:
        UserError: if it is anything else.
    """
    if isinstance(outputs, Tensor):
        outputs = {"prediction": outputs}
    elif isinstance(outputs, tuple | list):
        outputs = {f"prediction_{index}": each for index, each in enumerate(outputs)}
    is_named = isinstance(outputs, dict) and outputs and all(isinstance(each, Tensor) for each in outputs.values())
    if not is_named or len({each.shape[:1] for each in outputs.values()}) != 1 or not next(iter(outputs.values())).ndim:
        raise UserError(
            "expected predict_step to return a tensor, or a tuple or dict of tensors, with a row for each example; got "
            f"{type(outputs).__name__}; correct what it returns"
        )
    return {str(name): each.detach().cpu() for name, each in outputs.items()}


def concatenate(batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Join the batches.

    Raises:
        UserError: if there are none, or their outputs differ in name or shape.
    """
    try:
        arrays = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    except (IndexError, KeyError, RuntimeError) as error:
        raise UserError(
            f"expected batches with the same outputs; got others ({one_line(error)}); correct predict_step or its data"
        ) from error
    return {name: (each.float() if each.is_floating_point() else each).numpy() for name, each in arrays.items()}


def columns_of(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return the columns of an output (N,) or (N, K).

    Raises:
        UserError: if it has more dimensions or columns than a table can show.
    """
    if array.ndim == 1:
        return [(name, array)]
    if array.ndim > 2 or array.shape[1] > MAX_COLUMNS:
        raise UserError(
            f"expected numbers (N,) or (N, K) in a table; {name} is {array.shape}; write arrays with "
            "--out=predictions.npz"
        )
    return [(f"{name}_{index}", column) for index, column in enumerate(array.T)]
