"""The report of a LightningModule of the user's: what its training, its test loop and the later stages recorded.

What its numbers mean is not known, so that they are shown as they were logged, without a verdict.
"""

from pathlib import Path
from typing import Any, NamedTuple

import leyden
from leyden.artifacts import CHECKED, CONFIG, EXAMPLES, EXPORT_REPORT, METRICS
from leyden.data.packed import REPORT, read_report
from leyden.files import read_json
from leyden.outputs.number_format import four_digits
from leyden.stages.report.explanations import Explanations, read_explanations
from leyden.stages.report.exports import BASELINE, file_label, speedups
from leyden.stages.report.formatting import duration, factor
from leyden.stages.report.measures import Score
from leyden.stages.report.templates import render_card, render_page
from leyden.stages.report.training import Training, read_provenance, read_training
from leyden.yaml_files import load_yaml

NOT_SCORES = ("examples", "confidence_level", "required")  # of artifacts/evaluate/metrics.json
MAX_TEST_SCORES = 3  # in the tiles
Row = dict[str, Any]


class LoggedScores(NamedTuple):
    """What `test_step` logged or returned; `level` is that of the intervals, such as 95%."""

    scores: list[Score]
    level: str
    num_examples: int | None
    required: dict[str, float]  # bounds that were met, by name: `leyden evaluate` fails otherwise


class ModuleExports(NamedTuple):
    """Rows of `leyden export`'s report: the files and the checkpoint itself, and the formats that were skipped."""

    files: list[Row]
    skipped: list[Row]

    @property
    def fastest(self) -> Row | None:
        timed = [row for row in self.files if row["format"] != BASELINE and row["speedup_b1"] is not None]
        return max(timed, key=lambda row: row["speedup_b1"], default=None)


class OwnModule(NamedTuple):
    """The results of each stage, None for one that was not run."""

    config: dict[str, Any]  # of the training
    training: Training
    tested: LoggedScores | None
    exports: ModuleExports | None
    explanations: Explanations | None
    reads_prepared_data: bool  # of `leyden prepare`, by the hash of the data that it was trained on

    @property
    def class_path(self) -> str:
        return str(self.config["model"]["class_path"])

    @property
    def name(self) -> str:
        return self.class_path.rpartition(".")[2]


def is_own_module(prepare: Path, train: Path) -> bool:
    """Return whether `leyden fit` trained a module of the user's, not one that composes a network and a task.

    A network in its config alone does not tell: configs/train.yaml sets one, which such a module does not use. What is
    composed of a network was trained on prepared data, whose hash is recorded.
    """
    if not (train / CONFIG).is_file():
        return False
    config = read_config(train)
    class_path = (config.get("model") or {}).get("class_path", "leyden.")
    if class_path.startswith("leyden."):
        return False
    has_prepared_data = (prepare / REPORT).is_file() and read_provenance(train)["data_hash"]
    return not (config.get("network") and has_prepared_data)


def read_config(train: Path) -> dict[str, Any]:
    return load_yaml((train / CONFIG).read_text(encoding="utf-8")) or {}


def read_own_module(prepare: Path, train: Path, evaluate: Path, export: Path, explain: Path) -> OwnModule:
    training, report = read_training(train), prepare / REPORT
    data_hash = training.provenance["data_hash"]
    return OwnModule(
        config=read_config(train),
        training=training,
        tested=read_test_scores(evaluate) if (evaluate / METRICS).is_file() else None,
        exports=read_module_exports(export) if (export / EXPORT_REPORT).is_file() else None,
        explanations=read_explanations(explain, prepare) if (explain / EXAMPLES).is_file() else None,
        reads_prepared_data=report.is_file() and read_report(prepare)["data_hash"] == data_hash,
    )


def read_test_scores(evaluate: Path) -> LoggedScores:
    metrics = read_json(evaluate / METRICS, "evaluate")
    bounds = {f"{name}_{end}" for name in metrics for end in ("low", "high")}
    names = [name for name in metrics if name not in bounds and name not in NOT_SCORES]
    return LoggedScores(
        scores=[Score(name, four_digits(metrics[name]), format_interval(name, metrics), "") for name in names],
        level=f"{100 * metrics.get('confidence_level', 0.95):g}%",
        num_examples=metrics.get("examples"),
        required=metrics.get("required", {}),
    )


def format_interval(name: str, metrics: Row) -> str:
    """Return the interval of a score as text; empty if it has none."""
    ends = [metrics.get(f"{name}_{end}") for end in ("low", "high")]
    return "" if None in ends else " to ".join(map(four_digits, ends))


def read_module_exports(export: Path) -> ModuleExports:
    rows = read_json(export / EXPORT_REPORT, "export")
    baseline = next((row for row in rows if row["format"] == BASELINE), None)
    files = [row | speedups(row, baseline) for row in rows if row["status"] == CHECKED]
    return ModuleExports(files, [row for row in rows if row["status"] != CHECKED])


def list_tiles(module: OwnModule) -> list[tuple[str, str, str]]:
    """Return name, value and note of the monitored score, the first test scores, the size and the fastest file."""
    training, tested, exports = module.training, module.tested, module.exports
    monitor = (module.config.get("checkpoint") or {}).get("monitor")
    tiles = []
    if monitor in training.metrics:
        note = f"monitored; epoch {training.kept_epoch} of {training.num_epochs}, whose weights were kept"
        tiles.append((monitor, four_digits(training.metrics[monitor]), note))
    for score in tested.scores[:MAX_TEST_SCORES] if tested else []:
        note = f"{tested.level} interval {score.interval}" if tested and score.interval else "on the test data"
        tiles.append((score.title, score.value, note))
    if "parameters" in training.metrics:
        note = f"trained in {duration(training.metrics.get('seconds'))}"
        tiles.append(("parameters", f"{training.metrics['parameters']:,}", note))
    if exports and exports.fastest:
        note = f"{file_label(exports.fastest)}; speedup over eager PyTorch for one example"
        tiles.append(("fastest file", factor(exports.fastest["speedup_b1"]), note))
    return tiles


def render_own_module(module: OwnModule, title: str | None, license: str) -> dict[str, str]:
    """Return the page and the model card by file name."""
    context = module._asdict() | {
        "title": title or module.name,
        "class_path": module.class_path,
        "data_class_path": (module.config.get("data") or {}).get("class_path", "unknown data"),
        "headline_metrics": list_tiles(module),
        "license": license,
        "leyden_version": leyden.__version__,
        "dataset": None,  # the page has no section about it
        "evaluation": None,  # no measures of a known task
    }
    return {
        "index.html": render_page("own_module.html", context),
        "model_card.md": render_card(context, "own_module_card.md"),
    }


def summarize_own_module(module: OwnModule) -> str:
    """Return the module's name, why the epoch was kept, and the test scores, as one line."""
    scores = ", ".join(f"{score.title} {score.value}" for score in module.tested.scores) if module.tested else ""
    tested = f"on the test data: {scores}" if scores else "not evaluated"
    return "; ".join(filter(None, (f"{module.name}: {module.training.reason}", tested)))
