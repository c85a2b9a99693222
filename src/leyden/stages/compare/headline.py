"""Compares models of any task by its headline measure."""

from pathlib import Path
from typing import Any

import numpy as np

from leyden.data.packed import read_examples, read_paths, read_report
from leyden.errors import UserError
from leyden.outputs import load_reader
from leyden.runtimes.compatibility import check_labels, description_of
from leyden.runtimes.output_parts import predict_parts
from leyden.stages.compare.groups import read_test_groups
from leyden.stages.compare.predictions import read_outputs
from leyden.statistics.bootstrap import paired_bootstrap
from leyden.statistics.joined_measures import find_measure, join_measures
from leyden.statistics.measures import AnyMeasure


def compare_headlines(
    paths: tuple[Path, Path],
    models: tuple[Any, Any],
    data: Path,
    batch_size: int,
    confidence_level: float,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare the old and the new model, each None for a predictions.csv, by the paired bootstrap.

    Raises:
        UserError: if their labels are not those of the data, or the measure is undefined on its test examples.
    """
    report = read_report(data)
    for path, model in zip(paths, models, strict=True):
        if model is not None:
            check_labels(model, report["labels"], path)
    old, new = (
        measure_headline(path, model, data, report, batch_size) for path, model in zip(paths, models, strict=True)
    )
    groups = read_test_groups(data)
    changes = paired_bootstrap([old], [new], confidence_level, num_resamples, seed, groups)
    if old.name not in changes:
        raise UserError(
            f"expected test examples on which {old.name} is defined; it is not on the {old.num_examples} of {data}; "
            "prepare more test examples"
        )
    change = changes[old.name]._asdict()
    name = f"{old.name}_change"
    return {
        f"{old.name}_old": change["old"],
        f"{old.name}_new": change["new"],
        name: change["change"],
        **{f"{name}_{key}": change[key] for key in ("low", "high", "p_value")},
        "higher_is_better": old.higher_is_better,
        "confidence_level": confidence_level,
        "examples": old.num_examples,
        **({} if groups is None else {"groups": len(np.unique(groups))}),
    }


def measure_headline(path: Path, model: Any, data: Path, report: dict[str, Any], batch_size: int) -> AnyMeasure:
    """Return the headline measure of a model, or of a predictions.csv, on the test split."""
    examples, targets = read_examples(data, "test")
    if model is None:
        reader = load_reader(report)
        outputs = read_outputs(path, reader, read_paths(data, "test"), targets)
        return find_measure(reader.headline, reader.measures(outputs, targets))
    reader = load_reader(description_of(model, path))
    parts = [
        [find_measure(reader.headline, reader.measures(outputs, targets[rows]))]
        for rows, outputs in predict_parts(model, reader, examples, batch_size)
    ]
    return join_measures(parts)[0]
