"""Score a model on the test split, with an interval of every metric: `leyden evaluate`."""

from pathlib import Path

from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.files.outputs import check_output, discard, is_made_by, resolved
from leyden.outputs import load_reader
from leyden.ranges import SEEDS, check_range
from leyden.runtimes.compatibility import check_fits, description_of
from leyden.runtimes.load import load
from leyden.stages.evaluate.generic import evaluate_generic
from leyden.stages.evaluate.requirements import find_unmet
from leyden.stages.evaluate.results import Results, write_results
from leyden.stages.evaluate.robustness import check_kinds, find_supported
from leyden.stages.evaluate.settings import Settings
from leyden.stages.evaluate.single_label import evaluate_single_label
from leyden.tasks import load_task


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
        out: Output folder for predictions.csv, metrics.json, the other tables, the plots and predicted masks.
        batch_size: Number of examples per batch of predictions.
        top_k: Number of highest-scoring classes among which `top_k_accuracy` looks for the label.
        num_resamples: Number of random draws behind the interval of the calibration error, and behind the intervals
            of metrics and the tests of slices where an example has not exactly one label. Where examples are in
            groups, these are drawn as a whole.
        confidence_level: Confidence level of each interval, in (0, 1).
        seed: Seed of these draws, and of the choice of examples for `robustness`.
        abstain_precision: Fraction of answers that must be correct, in (0, 1]. The confidence below which the model
            does not answer is chosen on the validation split.
        robustness: Corruptions and attacks under which 512 random examples are scored, each at three strengths, by the
            measure that sums up the task; an empty list skips it. Rotation is skipped if it would change what is to be
            predicted.
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
    if hasattr(predictor, "test_step"):  # a LightningModule of the user's
        from leyden.stages.evaluate.own_module import evaluate_own_module  # Lightning takes seconds to import

        results = evaluate_own_module(predictor, model, num_resamples, confidence_level, seed, trust)
        return publish(results, out, failed_out, require)
    check_fits(predictor, read_report(data), model, data)

    description = description_of(predictor, model)
    reader, task = load_reader(description), load_task(description)
    settings = Settings(
        batch_size=batch_size,
        top_k=top_k,
        num_resamples=num_resamples,
        confidence_level=confidence_level,
        seed=seed,
        abstain_precision=abstain_precision,
        robustness=find_supported(predictor, reader, robustness),
    )
    if reader.has_one_label:
        results = evaluate_single_label(predictor, reader, data, settings)
    else:
        results = evaluate_generic(predictor, reader, task, data, settings)
    publish(results, out, failed_out, require)


def publish(results: Results, out: Path, failed_out: Path, require: dict[str, float]) -> None:
    """Write the results to `out`, or to `failed_out` if a requirement is not met.

    Raises:
        UserError: if one is not met.
    """
    unmet = find_unmet(require, results.metrics, results.lower_is_better)
    results.metrics.update({"required": require} if require else {})
    with replaced_folder(failed_out if unmet else out, "evaluate") as folder:
        write_results(folder, results)
    print("\n".join(f"evaluate: {line}" for line in results.summary))
    if unmet:
        raise UserError(
            f"expected {'; '.join(unmet)}, on {results.metrics['examples']:,} test examples; "
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
