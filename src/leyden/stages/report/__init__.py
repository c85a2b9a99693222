"""Summarise the results of the other stages in self-contained HTML pages and a model card."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

import leyden
from leyden.artifacts import METRICS
from leyden.errors import UserError, one_line
from leyden.files import replaced_folder
from leyden.files.outputs import check_output
from leyden.outputs.score_format import as_words
from leyden.ranges import check_range
from leyden.stages.report.advice import list_advice
from leyden.stages.report.checks import has_changed, list_checks
from leyden.stages.report.comparison import compare_runs
from leyden.stages.report.dataset import Dataset, read_dataset
from leyden.stages.report.evaluation import read_evaluation
from leyden.stages.report.explanations import build_gallery, read_explanations
from leyden.stages.report.exports import read_exports
from leyden.stages.report.findings import data_verdict, list_findings
from leyden.stages.report.left_out import LeftOut, read_left_out
from leyden.stages.report.limitations import list_limitations
from leyden.stages.report.measured import PLOT_CAPTIONS, read_measured
from leyden.stages.report.own_module import (
    is_own_module,
    read_own_module,
    render_own_module,
    summarize_own_module,
)
from leyden.stages.report.results import Results, headline_metrics, summarize_model
from leyden.stages.report.runs import check_run, read_run
from leyden.stages.report.templates import render_card, render_page
from leyden.stages.report.training import read_training
from leyden.stages.report.verdict import model_verdict, needs_advice

# What files with other content lead to.
DAMAGE = (ArithmeticError, AttributeError, FileNotFoundError, LookupError, TypeError, ValueError, yaml.YAMLError)


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
    """Write a page about the model, a page about its data, and a model card from the results of the other stages.

    Args:
        prepare: Output folder of `leyden prepare`.
        train: Output folder of `leyden fit`. If it does not exist, the page says so; the same for the next three.
        evaluate: Output folder of `leyden evaluate`.
        export: Output folder of `leyden export`.
        explain: Output folder of `leyden explain`.
        data: Folder that the examples came from; only its name is used.
        out: Folder to write index.html, data.html and model_card.md to.
        num_errors: Number of errors shown with their images, most confident first.
        title: Title of the page and the card; null describes the model.
        license: Licence of the model, for the card.
        against: The artifacts/ folder of a run to compare this one with, in against.html.
    """
    other = [against / name for name in ("prepare", "train", "evaluate", "export")] if against else []
    check_output(out, "report", [prepare, train, evaluate, export, explain, data, *other])
    check_range("report", "[1, inf)", num_errors=num_errors)
    with named_damage(train):
        is_own = is_own_module(prepare, train)
    if is_own:
        if against:
            raise UserError(
                f"expected no --against, which compares predictions of tasks; got {against} and, in {train}, a "
                "LightningModule of your own; leave it out, and compare scores with `dvc metrics diff`"
            )
        with named_damage(*filter(Path.exists, (prepare, train, evaluate, export, explain))):
            module = read_own_module(prepare, train, evaluate, export, explain)
            pages = render_own_module(module, title, license)
            if module.reads_prepared_data:
                pages["data.html"] = render_data_page(prepare, data, title or module.name)
        write(out, pages)
        print(f"report: {summarize_own_module(module)}")
        return
    results = read_results(prepare, train, evaluate, export, explain, data, num_errors)
    noun = results.dataset.noun
    comparison = None
    if against:
        check_run(against)
        if not has_results(evaluate):
            raise UserError(f"expected {evaluate} to compare with {against}; not found; run `leyden evaluate` first")
        with named_damage(against):
            this = read_run("this", [prepare, train, evaluate, export], noun)
            comparison = compare_runs(read_run(str(against), other, noun), this)
    with named_damage(*filter(has_results, (prepare, train, evaluate, export, explain))):
        context = template_context(results, read_left_out(prepare)) | {"license": license, "comparison": comparison}
        context |= {"title": title} if title else {}
        names = ("index.html", "data.html", *(["against.html"] if comparison else []))
        pages = {name: render_page(name, context) for name in names} | {"model_card.md": render_card(context)}
    write(out, pages)
    verdict = f"{context['model_verdict']} {context['summary']}".strip()
    print(f"report: {verdict}\nreport: {context['data_verdict']}")
    if comparison:
        print(f"report: compared with {against}: {comparison.verdict}")


def read_results(
    prepare: Path, train: Path, evaluate: Path, export: Path, explain: Path, data: Path, num_errors: int
) -> Results:
    with named_damage(prepare):
        dataset = read_dataset(prepare, data)
    with named_damage(train):
        training = read_training(train) if has_results(train) else None
    try:
        with named_damage(evaluate):
            evaluation = None
            if has_results(evaluate):
                read = read_evaluation if dataset.reader.has_one_label else read_measured
                evaluation = read(evaluate, prepare, num_errors, dataset)
        with named_damage(export):
            exports = read_exports(export, dataset.noun, dataset.reader) if has_results(export) else None
        with named_damage(explain):
            explanations = read_explanations(explain, prepare) if has_results(explain) else None
    except UserError:
        if training is None or not has_changed(dataset, training):
            raise
        print(f"report: note: left out the model in {train} and its results: it was trained on other data")
        return Results(dataset, None, None, None, None)
    return Results(dataset, training, evaluation, exports, explanations)


@contextmanager
def named_damage(*folders: Path) -> Iterator[None]:
    """Raise what files with other content than a stage writes lead to as UserError: edited ones, or another version's.

    JSON and tables that cannot be parsed have messages of their own, which name the file.
    """
    try:
        yield
    except DAMAGE as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"expected results as the stages write them in {', '.join(map(str, folders))}; got other content "
            f"({type(error).__name__}: {one_line(error, 200)}, in {where.name}); run the stage again "
            "(LEYDEN_DEBUG=1 shows the traceback)"
        ) from error


def has_results(folder: Path) -> bool:
    """Return whether a stage has written to a folder. In a fresh clone, metrics.json alone is there: git keeps it."""
    return folder.is_dir() and any(path.name not in (METRICS, ".gitignore") for path in folder.iterdir())


def write(out: Path, pages: dict[str, str]) -> None:
    with replaced_folder(out, "report") as folder:
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
    sizes = ", ".join(f"{name} ({len(text.encode()) / 1e6:.2f} MB)" for name, text in pages.items())
    print(f"report: {sizes} written to {out}")


def render_data_page(prepare: Path, data: Path, title: str) -> str:
    """Render data.html alone, for a model of which no more than its data is known to this stage."""
    results = Results(read_dataset(prepare, data), None, None, None, None)
    return render_page("data.html", template_context(results, read_left_out(prepare)) | {"title": title})


def template_context(results: Results, left_out: list[LeftOut]) -> dict[str, Any]:
    """Return the variables of the templates."""
    dataset = results.dataset
    findings = list_findings(dataset, left_out)
    checks = list_checks(results, findings)
    return results._asdict() | {
        "title": describe_model(dataset),
        "model_verdict": model_verdict(checks, results.evaluation),
        "advice": list_advice(results) if needs_advice(checks) else [],
        "left_out": left_out,
        "checks": checks,
        "summary": summarize_model(results),
        "headline_metrics": headline_metrics(results),
        "noun": dataset.noun,
        "plot_captions": PLOT_CAPTIONS,
        "findings": findings,
        "data_verdict": data_verdict(findings),
        "gallery": build_gallery(results.evaluation, results.explanations),
        "limitations": list_limitations(results, findings),
        "leyden_version": leyden.__version__,
    }


def describe_model(dataset: Dataset) -> str:
    """Return a title for the page: what the model does with what, and its labels."""
    reader, noun = dataset.reader, dataset.noun.capitalize()
    if reader.has_one_label:
        return f"{noun} classifier with {dataset.labels_text}"
    task = "multi-label classification" if reader.has_label_set else as_words(reader.name)
    return f"{noun} {task} with {dataset.labels_text}"
