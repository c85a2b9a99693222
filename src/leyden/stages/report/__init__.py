"""Gather what the other stages found in one page that needs no network, and in a model card."""

from pathlib import Path

import leyden
from leyden.errors import UserError
from leyden.files import replaced_folder
from leyden.stages.report.answer import answer_of, tiles_of
from leyden.stages.report.dataset import read_dataset
from leyden.stages.report.evaluation import read_evaluation
from leyden.stages.report.explanations import read_explanations
from leyden.stages.report.exports import read_exports
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
    """Write one self-contained page and a model card from what the other stages wrote.

    Args:
        prepare: Where `leyden prepare` wrote.
        train: Where `leyden fit` wrote.
        evaluate: Where `leyden evaluate` wrote; the section says so if it is not there, as for the next two.
        export: Where `leyden export` wrote.
        explain: Where `leyden explain` wrote.
        data: The folder that the images came from, to be named.
        out: Where index.html and model_card.md go.
        num_errors: Errors shown with their images, the surest first.
        title: Heading of both; null describes the model.
    """
    if num_errors < 1:
        raise UserError(f"report.num_errors must be at least 1; got {num_errors}; set it in configs/report.yaml")
    dataset, training = read_dataset(prepare, data), read_training(train)
    evaluation = read_evaluation(evaluate, prepare, num_errors) if evaluate.is_dir() else None
    exports = read_exports(export) if export.is_dir() else None
    explanations = read_explanations(explain) if explain.is_dir() else None
    answer = answer_of(evaluation, exports, explanations)
    facts = {
        "title": title or f"Image classifier of {len(dataset.classes):,} classes",
        "answer": answer,
        "tiles": tiles_of(training, evaluation, exports, explanations),
        "dataset": dataset,
        "training": training,
        "evaluation": evaluation,
        "exports": exports,
        "explanations": explanations,
        "limits": limits_of(dataset, evaluation, exports, explanations),
        "leyden_version": leyden.__version__,
    }
    page, card = render_page(facts), render_card(facts)
    with replaced_folder(out) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8")
        (folder / "model_card.md").write_text(card, encoding="utf-8")
    print(f"report: {out / 'index.html'} ({len(page.encode()) / 1e6:.2f} MB) and model_card.md written; {answer}")
