"""Compare two models on the same test examples: `leyden compare OLD NEW`."""

import sys
from pathlib import Path

from leyden.data.packed import read_report
from leyden.files import write_json
from leyden.files.outputs import check_file, check_no_overlap, is_stream
from leyden.outputs import load_reader
from leyden.ranges import SEEDS, check_range
from leyden.runtimes.compatibility import check_inputs, check_task, description_of
from leyden.runtimes.load import load
from leyden.stages.compare.accuracy import compare_accuracies
from leyden.stages.compare.headline import compare_headlines
from leyden.stages.compare.summary import summarise


def compare(
    old: Path,
    new: Path,
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("comparison.json"),
    batch_size: int = 256,
    confidence_level: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
    trust: bool = False,
) -> None:
    """Compare two models on the same test split by the measure that sums up their task.

    It is the accuracy of classification, where each model may predict any of its labels; examples of a label that one
    of them does not have are left out and counted. On the old model's data, the change shows what a new model with
    other labels has forgotten.

    Args:
        old: A checkpoint, an exported file, or a predictions.csv that `leyden evaluate` wrote for this test split.
        new: The same; its labels may differ.
        data: Output folder of `leyden prepare`.
        out: JSON file for both scores, their change with its interval and p-value, and for accuracies the numbers of
            examples lost and gained.
        batch_size: Number of examples per batch.
        confidence_level: Confidence level of the interval, in (0, 1).
        num_resamples: Number of bootstrap resamples behind the interval of another measure than the accuracy, or of any
            measure where examples are in groups, which are drawn as a whole.
        seed: Seed of these resamples.
        trust: Load files even if they run code (TorchScript, AOTInductor's library, networks that are not from leyden,
            torchvision or timm); files that this project has published do not need it.
    """
    check_no_overlap(out, [old, new, data])
    check_range("compare", "[1, inf)", batch_size=batch_size)
    check_range("compare", "[1, 1000000]", num_resamples=num_resamples)
    check_range("compare", "(0, 1)", confidence_level=confidence_level)
    check_range("compare", SEEDS, seed=seed)
    paths = (old, new)
    first, second = (None if path.suffix == ".csv" else load(path, trust=trust) for path in paths)
    for path, model in zip(paths, (first, second), strict=True):
        if model is not None:
            description_of(model, path)  # before the data, which a LightningModule of the user's does not need
    report = read_report(data)
    reader = load_reader(report)
    check_file(out, start=f'{{\n  "{reader.headline}_old": '.encode())
    for path, model in zip(paths, (first, second), strict=True):
        if model is not None:
            check_task(model, report, path, data)
            check_inputs(model, report, path, data)
    compare_scores = compare_accuracies if reader.headline == "accuracy" else compare_headlines
    comparison = compare_scores(paths, (first, second), data, batch_size, confidence_level, num_resamples, seed)
    write_json(out, comparison)
    print(summarise(comparison, reader), file=sys.stderr if is_stream(out) else sys.stdout)
