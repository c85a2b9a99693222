"""The values of measures."""

import numpy as np

from leyden.outputs.reader import OutputReader
from leyden.statistics.resampling import Resampler


def values_of(reader: OutputReader, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return each measure of a reader by its name."""
    measures = reader.measures(outputs, targets)
    values = Resampler(measures, None, has_errors=False).estimate().values[0]
    return {measure.name: float(value) for measure, value in zip(measures, values, strict=True)}
