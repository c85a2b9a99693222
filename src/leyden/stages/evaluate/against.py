"""Whether a model is better or worse than an earlier one, or whether other test examples could have said the opposite."""

from pathlib import Path
from typing import Any

from leyden.runtimes.load import load
from leyden.stages.evaluate.metrics import columns_of, draw, named, score
from leyden.stages.evaluate.predictions import Predictions, check_labels, predict_split, read_predictions
from leyden.statistics.bootstrap import percentile_interval
from leyden.statistics.mcnemar import compare_paired


def predict_other(path: Path, data: Path, current: Predictions, batch_size: int, trust: bool = False) -> Predictions:
    """Give what another model says of the test split: a checkpoint, an exported file, or its predictions.csv."""
    if path.suffix == ".csv" and path.is_file():
        return read_predictions(path, current)
    predictor = load(path, trust=trust)
    check_labels(predictor, current.names, path)
    return predict_split(predictor, data, "test", batch_size)


def compare_with(
    old: Predictions, new: Predictions, top_k: int, num_resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """Compare two models figure by figure on the same examples.

    Returns:
        Under `figures` old, new, change with its interval, and whether it is more than noise: for accuracy by McNemar's exact test, for
        the others if the interval of paired resamples leaves out 0. Beside them lost, gained, p_value of that test.
    """
    counted = compare_paired(old.is_right.numpy(), new.is_right.numpy(), num_resamples, level, seed)
    before, after = score(old, top_k), score(new, top_k)
    drawn_old, drawn_new = draw([columns_of(old, top_k), columns_of(new, top_k)], num_resamples, seed)
    figures: dict[str, Any] = {}
    for key in drawn_old:
        name = next(iter(named({key: 0.0}, top_k)))
        low, high = percentile_interval(drawn_new[key] - drawn_old[key], level)
        row = {
            "old": before[name],
            "new": after[name],
            "change": after[name] - before[name],
            "change_low": low,
            "change_high": high,
        }
        figures[name] = row | {"is_more_than_noise": low > 0 or high < 0}
    p_value = counted["accuracy_change_p_value"]
    figures["accuracy"]["is_more_than_noise"] = p_value < 1 - level
    return {"figures": figures, "p_value": p_value} | {
        name: counted[name] for name in ("lost", "gained", "examples", "confidence_level")
    }


def verdict(found: dict[str, Any], path: Path) -> str:
    row = found["figures"]["accuracy"]
    noise = "more than noise" if row["is_more_than_noise"] else "no more than noise"
    beyond = {name: figure["change"] for name, figure in found["figures"].items() if figure["is_more_than_noise"]}
    others = ", ".join(f"{name} {change:+.4f}" for name, change in beyond.items() if name != "accuracy")
    return (
        f"evaluate: against {path}: accuracy {row['change']:+.4f} [{row['change_low']:+.4f}, {row['change_high']:+.4f}], {noise} "
        f"(McNemar p {found['p_value']:.2g}; {found['lost']} lost, {found['gained']} gained)"
        + (f"; beyond noise: {others}" if others else "")
    )
