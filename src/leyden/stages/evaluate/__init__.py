"""Score a model on the test split, with an interval of every headline metric: `leyden evaluate`."""

from pathlib import Path
from typing import Any

from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.files.outputs import check_output, discard, is_made_by, resolved
from leyden.ranges import SEEDS, check_range
from leyden.runtimes.compatibility import check_fits
from leyden.runtimes.load import load
from leyden.stages.evaluate.abstention import measure_abstention
from leyden.stages.evaluate.metrics import metrics_with_intervals
from leyden.stages.evaluate.predictions import predict_split
from leyden.stages.evaluate.requirements import find_unmet
from leyden.stages.evaluate.results import summarise, write_results
from leyden.stages.evaluate.robustness import check_kinds, mean_accuracies, measure_robustness
from leyden.stages.evaluate.slices import list_slices
from leyden.stages.evaluate.suspects import list_suspects


def evaluate(
    model: Path = Path("artifacts/train/model.ckpt"),
    data: Path = Path("artifacts/prepare"),
    out: Path = Path("artifacts/evaluate"),
    batch_size: int = 256,
    top_k: int = 3,
    num_resamples: int = 10_000,
    confidence_level: float = 0.95,
    seed: int = 0,
    abstain_precision: float = 0.99,
    robustness: list[str] = ["noise", "blur", "contrast", "jpeg", "rotation", "fgsm", "pgd"],
    require: dict[str, float] | None = None,
    trust: bool = False,
) -> None:
    """Predict the test split; write predictions, metrics with intervals, tables and plots.

    Args:
        model: A checkpoint or an exported file.
        data: Output folder of `leyden prepare`.
        out: Output folder for predictions.csv, metrics.json, the other tables and the plots.
        batch_size: Number of examples per batch of predictions.
        top_k: Number of highest-scoring classes among which `top_k_accuracy` looks for the label.
        num_resamples: Number of random draws behind the interval of the calibration error.
        confidence_level: Confidence level of each interval, in (0, 1).
        seed: Seed of these draws, and of the choice of examples for `robustness`.
        abstain_precision: Fraction of answers that must be correct, in (0, 1]. The confidence below which the model
            does not answer is chosen on the validation split.
        robustness: Corruptions and attacks under which the accuracy of 512 random examples is measured, each at three
            strengths; an empty list skips it.
        require: Minimum values of metrics in metrics.json (maximum, of losses and errors). If one is not met, the stage
            fails and writes its results to a folder beside `out` whose name ends in -failed.
        trust: Load files even if they run code (TorchScript, AOTInductor's library, networks that are not from leyden,
            torchvision or timm); files that this project has published do not need it.
    """
    require = require or {}
    failed_out = check_outputs(out, [model, data], may_fail=bool(require))
    check_range("evaluate", "[1, inf)", batch_size=batch_size, top_k=top_k)
    check_range("evaluate", "[1, 1000000]", num_resamples=num_resamples)
    check_range("evaluate", "(0, 1)", confidence_level=confidence_level)
    check_range("evaluate", "(0, 1]", abstain_precision=abstain_precision)
    check_range("evaluate", SEEDS, seed=seed)
    check_range("evaluate.require", "(-inf, inf)", **require)
    check_kinds(robustness)
    predictor = load(model, trust=trust)
    check_fits(predictor, read_report(data), model, data)

    test = predict_split(predictor, data, "test", batch_size)
    validation = predict_split(predictor, data, "val", batch_size)
    accuracies = measure_robustness(predictor, data, robustness, confidence_level, seed)
    metrics: dict[str, Any] = {
        **metrics_with_intervals(test, top_k, num_resamples, confidence_level, seed),
        "temperature": getattr(predictor, "temperature", 1.0),
        **measure_abstention(validation, test, abstain_precision, confidence_level),
        **mean_accuracies(accuracies),
    }
    unmet = find_unmet(require, metrics)
    metrics |= {"required": require} if require else {}
    suspects = list_suspects(test, "test", confidence_level) + list_suspects(validation, "val", confidence_level)
    slices = list_slices(test, data, confidence_level)
    with replaced_folder(failed_out if unmet else out, "evaluate") as folder:
        write_results(folder, test, metrics, slices, suspects, accuracies)
    print(summarise(metrics, slices, suspects))
    if unmet:
        raise UserError(
            f"expected {'; '.join(unmet)}, on {len(test.labels):,} test examples; "
            f"look at {failed_out}, and train a better model or lower evaluate.require in configs/evaluate.yaml"
        )
    discard(failed_out, "evaluate")


def check_outputs(out: Path, inputs: list[Path], may_fail: bool) -> Path:
    """Check the output folder, and return the one beside it for results that miss a requirement.

    That one is checked only if it may be written or was written before: a user's own folder of its name is left alone.
    """
    check_output(out, "evaluate", inputs)
    failed_out = out.with_name(f"{out.name}-failed")
    if may_fail or is_made_by(resolved(failed_out), "evaluate"):
        check_output(failed_out, "evaluate", inputs)
    return failed_out
