"""Gather what the other stages found in two pages that need no network, one of the model and one of its data, and in a model card."""

from pathlib import Path
from typing import Any

import leyden
from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.files.outputs import check_output
from leyden.stages.report.answer import answer_of, headline_metrics
from leyden.stages.report.comparison import Comparison, compare_runs
from leyden.stages.report.dataset import Dataset, read_dataset
from leyden.stages.report.evaluation import Evaluation, read_evaluation
from leyden.stages.report.explanations import Explanations, read_explanations
from leyden.stages.report.exports import Exports, read_exports
from leyden.stages.report.findings import findings_of, verdict_of
from leyden.stages.report.gallery import gallery_of
from leyden.stages.report.judgement import checks_of, judgement_of
from leyden.stages.report.limits import limits_of
from leyden.stages.report.runs import check_run, read_run
from leyden.stages.report.templates import render_card, render_page
from leyden.stages.report.training import Training, read_training


def report(
    prepare: Path = Path("artifacts/prepare"),
    train: Path = Path("artifacts/train"),
    evaluate: Path = Path("artifacts/evaluate"),
    export: Path = Path("artifacts/export"),
    explain: Path = Path("artifacts/explain"),
    data: Path = Path("data"),
    out: Path = Path("artifacts/report"),
    num_errors: int = 12,
    title: str | None = None,
    license: str = "MIT",
    against: Path | None = None,
) -> None:
    """Write self-contained pages of the model and of its data, and a model card, from what the other stages wrote.

    Args:
        prepare: Where `leyden prepare` wrote.
        train: Where `leyden fit` wrote; the section says so if it is not there, as for the next three.
        evaluate: Where `leyden evaluate` wrote.
        export: Where `leyden export` wrote.
        explain: Where `leyden explain` wrote.
        data: The folder that the examples came from, to be named.
        out: Where index.html, data.html and model_card.md go.
        num_errors: Errors shown with their images, the surest first.
        title: Heading of both; null describes the model.
        license: The model's, as the card tells it.
        against: Another run's artifacts/, to compare this one with: against.html.
    """
    theirs = [against / name for name in ("prepare", "train", "evaluate", "export")] if against else []
    check_output(out, "report", [prepare, train, evaluate, export, explain, data, *theirs])
    if num_errors < 1:
        raise UserError(f"report.num_errors must be at least 1; got {num_errors}; set it in configs/report.yaml")
    dataset = read_dataset(prepare, data)
    facts = template_context(
        dataset,
        read_training(train) if train.is_dir() else None,
        read_evaluation(evaluate, prepare, num_errors, dataset.noun) if evaluate.is_dir() else None,
        read_exports(export, dataset.noun) if export.is_dir() else None,
        read_explanations(explain, prepare) if explain.is_dir() else None,
    )
    comparison = compare_with(against, prepare, train, evaluate, export, dataset.noun) if against else None
    facts |= {"license": license, "comparison": comparison} | ({"title": title} if title else {})
    pages = ("index.html", "data.html", *(["against.html"] if comparison else []))
    write(out, {name: render_page(name, facts) for name in pages} | {"model_card.md": render_card(facts)})
    print(f"report: {facts['judgement']} {facts['answer']}\nreport: the data: {facts['data_verdict']}")
    if comparison:
        print(f"report: against {against}: {comparison.verdict}")


def write(out: Path, written: dict[str, str]) -> None:
    with replaced_folder(out, "report") as folder:
        for name, text in written.items():
            (folder / name).write_text(text, encoding="utf-8")
    sizes = ", ".join(f"{name} ({len(text.encode()) / 1e6:.2f} MB)" for name, text in written.items())
    print(f"report: {sizes} written to {out}")


def compare_with(other: Path, prepare: Path, train: Path, evaluate: Path, export: Path, noun: str) -> Comparison:
    check_run(other)
    if not evaluate.is_dir():
        raise UserError(
            f"expected {evaluate}, to be compared with {other}, which is not there; run `leyden evaluate` first"
        )
    theirs = read_run(str(other), other / "prepare", other / "train", other / "evaluate", other / "export", noun)
    return compare_runs(theirs, read_run("this", prepare, train, evaluate, export, noun))


def template_context(
    dataset: Dataset,
    training: Training | None,
    evaluation: Evaluation | None,
    exports: Exports | None,
    explanations: Explanations | None,
) -> dict[str, Any]:
    """Gather what the templates name."""
    findings = findings_of(dataset)
    checks = checks_of(dataset, findings, training, evaluation, exports, explanations)
    return {
        "title": f"{dataset.noun.capitalize()} classifier of {len(dataset.classes):,} classes",
        "judgement": judgement_of(checks),
        "checks": checks,
        "answer": answer_of(training, evaluation, exports, explanations),
        "tiles": headline_metrics(training, evaluation, exports, explanations),
        "dataset": dataset,
        "noun": dataset.noun,
        "findings": findings,
        "data_verdict": verdict_of(findings),
        "training": training,
        "evaluation": evaluation,
        "gallery": gallery_of(evaluation, explanations),
        "exports": exports,
        "explanations": explanations,
        "limits": limits_of(dataset, findings, evaluation, exports, explanations),
        "leyden_version": leyden.__version__,
    }
