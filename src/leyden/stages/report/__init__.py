"""Gather what the other stages found in two pages that need no network, one of the model and one of its data, and in a model card."""

from pathlib import Path

import leyden
from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.stages.report.answer import answer_of, tiles_of
from leyden.stages.report.dataset import read_dataset
from leyden.stages.report.evaluation import read_evaluation
from leyden.stages.report.explanations import read_explanations
from leyden.stages.report.exports import read_exports
from leyden.stages.report.findings import findings_of, verdict_of
from leyden.stages.report.limits import limits_of
from leyden.stages.report.templates import render_card, render_page
from leyden.stages.report.training import read_training


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
    """
    if num_errors < 1:
        raise UserError(f"report.num_errors must be at least 1; got {num_errors}; set it in configs/report.yaml")
    dataset = read_dataset(prepare, data)
    findings = findings_of(dataset)
    training = read_training(train) if train.is_dir() else None
    evaluation = read_evaluation(evaluate, prepare, num_errors, dataset.noun) if evaluate.is_dir() else None
    exports = read_exports(export, dataset.noun) if export.is_dir() else None
    explanations = read_explanations(explain) if explain.is_dir() else None
    answer = answer_of(training, evaluation, exports, explanations)
    facts = {
        "title": title or f"{dataset.noun.capitalize()} classifier of {len(dataset.classes):,} classes",
        "answer": answer,
        "tiles": tiles_of(training, evaluation, exports, explanations),
        "dataset": dataset,
        "noun": dataset.noun,
        "findings": findings,
        "data_verdict": verdict_of(findings),
        "training": training,
        "evaluation": evaluation,
        "exports": exports,
        "explanations": explanations,
        "limits": limits_of(dataset, findings, evaluation, exports, explanations),
        "leyden_version": leyden.__version__,
    }
    written = {name: render_page(name, facts) for name in ("index.html", "data.html")} | {"model_card.md": render_card(facts)}
    with replaced_folder(out) as folder:
        for name, text in written.items():
            (folder / name).write_text(text, encoding="utf-8")
    sizes = ", ".join(f"{name} ({len(text.encode()) / 1e6:.2f} MB)" for name, text in written.items())
    print(f"report: {sizes} written to {out}; {answer}\nreport: the data: {verdict_of(findings)}")
