"""What a file tells about its target before it is opened. A model that finds a target there may learn nothing else."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from leyden.stages.prepare.examples import Example

LAST_NUMBER = re.compile(r"(\d{1,15})\D*$")


def list_clues(examples: Sequence[Example]) -> dict[str, np.ndarray]:
    """Return numbers that should not tell the targets, (N,) by name: those in file names, and sizes that differ."""
    matches = [LAST_NUMBER.search(PurePosixPath(example.path).stem) for example in examples]
    clues = {"the number in the file's name": [int(match[1]) if match else -1 for match in matches]}
    if not all(matches):
        clues.clear()
    for index, name in enumerate(examples[0].content.size_names):
        clues[name] = [example.content.shape[index] for example in examples]
    arrays = {name: np.array(values, np.float64) for name, values in clues.items()}
    return {name: values for name, values in arrays.items() if values.min() < values.max()}
