"""A model's outputs of all examples, some at a time where all would fill the memory."""

from collections.abc import Iterator

import numpy as np

from leyden.cost import announce_cost
from leyden.outputs.reader import OutputReader
from leyden.runtimes.load import Predictor, SliceableExamples, predict_logits


def predict_parts(
    predictor: Predictor, reader: OutputReader, examples: SliceableExamples, batch_size: int, stage: str | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield outputs and which rows they are of: all at once, or those of a batch if they have a value per pixel.

    With the name of a stage, announce what it will cost.
    """
    if not reader.is_dense:
        yield slice(0, len(examples)), predict_logits(predictor, examples, batch_size, stage).numpy()
        return
    starts = range(0, len(examples), batch_size)
    for start in announce_cost(starts, stage, f"predictions of {len(examples):,} examples") if stage else starts:
        rows = slice(start, start + batch_size)
        yield rows, predict_logits(predictor, examples[rows], batch_size).numpy()
