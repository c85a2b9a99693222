"""Predictions of a LightningModule of the user's: what its `predict_step` returns, of its own data."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from leyden.errors import UserError, one_line, own_code_errors
from leyden.files import replaced_file
from leyden.files.names import printable
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.files.tables import write_table
from leyden.models.module_batches import open_loader, warn_of_shuffling
from leyden.models.module_checkpoint import load_data_module, quiet_lightning
from leyden.runtimes.module_inputs import bind_batch, find_lengths

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
        columns = name_columns(arrays)
        rows = [
            {FIRST_COLUMN: row, **{name: format_number(each[row]) for name, each in columns.items()}}
            for row in range(count)
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
        if not is_overridden("predict_dataloader", data):
            loader = open_loader(data, ("test",))
            data.predict_dataloader = lambda: loader  # type: ignore[method-assign]  # so that the data's hooks apply
        predictions = Predictions()
        options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(devices=1, callbacks=[predictions], **options)
        trainer.predict(module, datamodule=data, return_predictions=False)
    warn_of_shuffling(trainer.predict_dataloaders, "predict")
    return predictions.batches


class Predictions(Callback):
    """Collects the outputs of each batch by name."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Tensor]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx:
            name = type(trainer.datamodule).__name__  # type: ignore[attr-defined]
            raise UserError(
                f"expected one loader to predict; {name} returns several; return one from predict_dataloader or "
                "test_dataloader"
            )
        self.batches.append(name_outputs(outputs, find_lengths(batch)))


def predict_inputs(module: LightningModule, batch: Any, *args: Any) -> Any:
    inputs, named_inputs = bind_batch(module.forward, batch)
    return module(*inputs, **named_inputs)


def name_outputs(outputs: Any, lengths: set[int]) -> dict[str, Tensor]:
    """Return a tensor, a tuple or a dict of tensors by name; one of `lengths` is the number of the batch's examples.

    Raises:
        UserError: if it is anything else.
    """
    if isinstance(outputs, Tensor):
        outputs = {"prediction": outputs}
    elif isinstance(outputs, tuple | list):
        outputs = {f"prediction_{index}": each for index, each in enumerate(outputs)}
    is_named = isinstance(outputs, dict) and outputs and all(map(is_dense, outputs.values()))
    counts = {len(each) if each.ndim else None for each in outputs.values()} if is_named else set()
    if len(counts) != 1 or None in counts or (lengths and not counts <= lengths):
        got = ", ".join(map(describe_output, outputs.values())) if isinstance(outputs, dict) else type(outputs).__name__
        raise UserError(
            "expected predict_step to return a tensor, or a tuple or dict of tensors, with a row for each example; got "
            f"{got[:200] or 'nothing'}; correct what it returns"
        )
    return {str(name): each.detach().cpu() for name, each in outputs.items()}


def is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested


def describe_output(value: Any) -> str:
    return str(tuple(value.shape)) if is_dense(value) else type(value).__name__


def concatenate(batches: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Join the batches.

    Raises:
        UserError: if there are none, or their outputs differ in name or shape.
    """
    if not batches:
        raise UserError("expected examples to predict; the loader returns no batch; add examples")
    try:
        arrays = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"expected batches with the same outputs; got others ({one_line(error)}); correct predict_step or its data"
        ) from error
    return {name: (each.float() if each.dtype == torch.bfloat16 else each).numpy() for name, each in arrays.items()}


def name_columns(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of all outputs by name.

    Raises:
        UserError: if two have the same name.
    """
    columns = [column for output, array in arrays.items() for column in columns_of(output, array)]
    names = [FIRST_COLUMN, *(name for name, _ in columns)]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"expected columns of different names; got {repeated} twice; rename an output of predict_step")
    return dict(columns)


def format_number(value: Any) -> str:
    """Write a number with 6 digits, an integer with all, and a truth value as 0 or 1."""
    return str(int(value)) if isinstance(value, np.bool_ | np.integer) else f"{value:.6g}"


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
