"""The pages of tasks where an example does not have exactly one label speak of what the model does."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from leyden.errors import UserError
from leyden.files import write_json
from leyden.outputs import load_reader
from leyden.outputs.regression import RegressionReader
from leyden.stages.report import distributions
from leyden.tasks.regression import COVERAGE
from tests.stages.report.fake_artifacts import SPLITS, Artifacts, Elements, decode_png, write_rows
from tests.stages.report.fake_measured import make_masks, make_multilabel, make_regression

OF_CLASSIFIERS = ("classified", "classifier", "accuracy", "confidence of", "classes")
TASKS = (make_regression, make_multilabel, make_masks)


def page(artifacts: Artifacts) -> str:
    return Elements(artifacts.report()[0]).text


@pytest.mark.parametrize("make", TASKS)
def test_no_page_speaks_of_what_only_classifiers_have(artifacts: Artifacts, make: Callable[..., None]) -> None:
    make(artifacts)
    index, card = artifacts.report()
    is_dense = make is make_masks  # its labels are classes of pixels
    for text in (Elements(index).text, Elements(artifacts.read("data.html")).text, card):
        found = [word for word in OF_CLASSIFIERS if word in text.replace("pixel accuracy", "")]
        assert found == (["classes"] if is_dense and "classes" in text else [])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (make_regression, "Image regression with 1 target (angle_deg)"),
        (make_regression, "Mean absolute error 1.5 deg on 12 test images (95% interval 1.25 deg to 1.75 deg)."),
        (make_regression, "R\u00b2 0.900 (0.800 to 0.950) is clearly above 0, that of always predicting the mean."),
        (make_regression, "36 images with 1 target (angle_deg) from data"),
        (make_regression, "angle_deg: 1 predicted as 3 (-1 to 5) deg error 2"),
        (make_regression, "The test images with the largest error (absolute error in deg)."),
        (make_regression, "1.48 deg to 1.52 deg; at 2"),
        (make_regression, "Strengths: blur: sigma in pixels"),
        (make_regression, "Passed The predicted intervals have the right width"),
        (make_regression, "agrees with the checkpoint on every prediction"),
        (make_multilabel, "Image multi-label classification with 2 labels"),
        (make_multilabel, "95% interval 0.700 to 0.900; clearly above 0.333, that of random scores; "),
        (make_multilabel, "day 4 75.0% 50.0% to 90.0% night 4 50.0%"),
        (make_multilabel, "day;night predicted as day error 1"),
        (make_masks, "Image segmentation with 2 classes"),
        (make_masks, "clearly above 0.375, that of always predicting ground."),
        (make_masks, "agrees with the checkpoint on every pixel"),
        (make_masks, "label my_label present 5 2.5 1.5 to 3.5"),
        (make_masks, "1 of 1 slice (by the presence of my_label) is significantly worse"),
        (
            make_masks,
            "Passed Robust to mild changes At the mildest strength, the mean IoU is worst under blur (1): 0.600",
        ),
    ],
)
def test_the_page_says_in_the_words_of_the_task(artifacts: Artifacts, make: Callable[..., None], expected: str) -> None:
    make(artifacts)
    assert expected in page(artifacts)


def test_a_target_without_a_name_is_not_named(artifacts: Artifacts) -> None:
    make_regression(artifacts)
    artifacts.change_report(
        labels=["target"], task={"name": "regression"}, counts={split: {"target": 4} for split in SPLITS}
    )
    shutil.rmtree(artifacts.root / "evaluate")
    assert "Image regression with 1 target Skip" in page(artifacts)


@pytest.mark.parametrize("make", TASKS)
def test_results_of_an_earlier_task_do_not_keep_the_data_from_being_checked(
    artifacts: Artifacts, make: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(artifacts.root / "evaluate", tmp_path / "earlier")
    make(artifacts)
    shutil.rmtree(artifacts.root / "evaluate")
    shutil.copytree(tmp_path / "earlier", artifacts.root / "evaluate")
    with pytest.raises(UserError, match="run `leyden evaluate` "):
        artifacts.report()
    artifacts.change_report(data_hash="new")
    write_json(artifacts.root / "train/provenance.json", {"code_version": "1", "data_hash": "abc", "versions": {}})
    text = page(artifacts)
    assert "No model has been trained yet." in text
    assert "3 epochs" not in text
    assert "83.3%" not in text
    assert "left out the model in" in capsys.readouterr().out
    assert "The data is ready to train on" in artifacts.read("data.html")


def test_near_duplicates_with_other_numbers_are_no_finding(artifacts: Artifacts) -> None:
    make_regression(artifacts)
    artifacts.write_duplicates(["near"] * 2)
    text = Elements(artifacts.data_page()).text
    assert "2 pairs of near duplicates in different splits" in text
    assert "of near duplicates with different" not in text
    assert "Pairs of duplicates over all splits Kind Pairs Different targets" in text
    assert "Near duplicates , different splits , different targets" in text
    assert "different labels" not in text
    artifacts.write_duplicates(["exact"])
    assert "1 pair of exact duplicates with different targets" in Elements(artifacts.data_page()).text


@pytest.mark.parametrize(("make", "low"), [(make_regression, -0.1), (make_multilabel, 0.3), (make_masks, 0.37)])
def test_a_model_no_better_than_a_constant_guess_fails(
    artifacts: Artifacts, make: Callable[..., None], low: float
) -> None:
    make(artifacts, low)
    text = page(artifacts)
    assert "Not ready to ship: 1 check failed." in text
    assert "not clearly above" in text
    assert "Check that the labels belong to the examples" in text


def test_intervals_that_hold_too_few_true_values_are_a_warning(artifacts: Artifacts) -> None:
    make_regression(artifacts, coverage=(0.6, 0.5, 0.7))
    assert "Warning The predicted intervals are too narrow" in page(artifacts)


@pytest.mark.parametrize(
    ("required", "verdict"),
    [(1.8, "Passed Requirement met"), (1.6, "Uncertain Requirement met"), (1, "Failed Requirement missed")],
)
def test_a_required_error_is_a_maximum(artifacts: Artifacts, required: float, verdict: str) -> None:
    make_regression(artifacts)
    artifacts.change_json("evaluate/metrics.json", required={"mae": required})
    assert verdict in page(artifacts)
    assert f"mae of at most {required:g}" in page(artifacts)


def test_the_largest_error_of_masks_is_shown_as_its_overlay(artifacts: Artifacts) -> None:
    make_masks(artifacts)
    elements = Elements(artifacts.report()[0])
    uris = [
        attrs["src"]
        for tag, attrs in elements.tags
        if tag == "img" and attrs["alt"] == f"Test image {artifacts.paths[11]}"
    ]
    assert decode_png(uris[0]).shape == (60, 190, 3)
    assert elements.text.count("its true mask and the predicted one. ground tree") == 1


def test_the_data_page_shows_the_distribution_of_each_target(artifacts: Artifacts) -> None:
    make_regression(artifacts)
    text = Elements(artifacts.data_page()).text
    assert "angle_deg deg train 0 5.5 11" in text
    assert "from its lowest value to its highest" in text
    assert 'aria-label="Histogram of angle_deg: train from 0 to 11;' in artifacts.read("data.html")


def test_the_legend_of_a_histogram_covers_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "draw", lambda name, text, width, height, plot: plot(figure))
    figure = Figure((4.6, 2.9))
    values = np.random.default_rng(0).normal(size=300)
    distributions.draw_histogram(0, "target", "", {"train": values[:200], "val": values[200:], "test": values[:50]})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert not any(legend.get_window_extent().overlaps(bar.get_window_extent()) for bar in axes.patches)


def test_the_data_page_counts_examples_once(artifacts: Artifacts) -> None:
    make_multilabel(artifacts)
    text = Elements(artifacts.data_page()).text
    assert "images 36 from data" in text
    assert "Number of images with each label (one image can count for several)" in text


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            make_regression,
            "No significant difference: mean absolute error 1.5 deg in the other run, 1.5 deg in this run",
        ),
        (make_masks, "Significance not tested: run `leyden compare` with both models"),
    ],
)
def test_runs_of_the_same_task_are_compared(artifacts: Artifacts, make: Callable[..., None], expected: str) -> None:
    make(artifacts)
    artifacts.report(against=artifacts.root)
    text = Elements(artifacts.read("against.html")).text
    assert expected in text
    assert "Recall" not in text


def test_a_better_regression_is_significant(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Artifacts(tmp_path_factory.mktemp("other"), artifacts.labels)
    for run in (artifacts, other):
        make_regression(run)
    path = artifacts.root / "evaluate/predictions.csv"
    header, *rows = path.read_text().splitlines()
    exact = [",".join([*(cells := row.split(","))[:2], str(float(cells[1]) + 0.125), *cells[3:]]) for row in rows]
    path.write_text("\n".join([header, *exact]) + "\n")
    artifacts.report(against=other.root)
    assert "Significant difference: mean absolute error" in Elements(artifacts.read("against.html")).text


def test_intervals_are_judged_by_the_fraction_that_they_are_calibrated_to() -> None:
    assert RegressionReader.coverage == COVERAGE


def test_errors_in_units_have_the_unit_of_their_target() -> None:
    reader = load_reader({"labels": ["a", "b/c"], "task": {"name": "regression", "units": ["cm", "kg"]}})
    assert [reader.unit(name) for name in ("mae/a", "rmse/b/c", "r2/a", "coverage/a")] == ["cm", "kg", "", ""]


def test_a_grader_is_a_classifier_with_further_measures(artifacts: Artifacts) -> None:
    artifacts.change_report(task={"name": "ordinal"})
    measures = {"quadratic_kappa": 0.75, "mean_absolute_grade_error": 0.25, "within_one_accuracy": 0.9}
    interval = {"quadratic_kappa_low": 0.6, "quadratic_kappa_high": 0.9, "noise_quadratic_kappa": 0.5}
    artifacts.change_json("evaluate/metrics.json", **measures, **interval, required={"mean_absolute_grade_error": 0.5})
    (artifacts.root / "evaluate/robustness").mkdir()
    columns = ["kind", "strength", "quadratic_kappa", "quadratic_kappa_low", "quadratic_kappa_high", "examples"]
    rows = [["noise", 0.1, 0.5, 0.4, 0.6, 12], ["noise", 0.2, 0.3, 0.2, 0.4, 12], ["noise", 0.3, "", "", "", 12]]
    write_rows(artifacts.root / "evaluate/robustness/quadratic_kappa.csv", columns, rows)
    text = page(artifacts)
    assert "Image classifier with 3 ordered grades" in text
    assert "Quadratic kappa 0.750 on 12 test images (95% interval 0.600 to 0.900)." in text
    assert "clearly better than always predicting the same grade (0.000)" in text
    assert (
        "the quadratic kappa is worst under noise (0.1): 0.500 (95% interval 0.400 to 0.600) on 12 test images" in text
    )
    assert "Quadratic kappa under corruptions and attacks on 12 test images" in text
    assert "noise quadratic kappa" not in text  # it is in the table of robustness
    assert "Scores of each grade" in text
    card = artifacts.read("model_card.md")
    assert "predict the grade of an image: one of\n  3 ordered grades, from the lowest: " in card
    assert "type: quadratic_kappa" in card
    assert re.findall(r"(?i)\bclass(?:es|ify|ified|ifying|ification)?\b", text + card) == []
    assert "Passed Requirement met: mean absolute grade error of at most 0.5" in text
    assert "1 is best, 0 is chance 0.750" in text
    assert "accuracy within one grade fraction of examples predicted at most one grade off 90.0%" in text


def test_the_pages_say_which_intervals_are_of_groups(artifacts: Artifacts) -> None:
    assert "resampled as a whole" not in page(artifacts)
    artifacts.change_json("evaluate/metrics.json", groups=4)
    assert "They are in 4 groups, which are resampled as a whole for the intervals of the accuracy;" in page(artifacts)
    assert "are in 4 groups, which only the intervals of\nthe accuracy take into account." in artifacts.read(
        "model_card.md"
    )
    make_regression(artifacts)
    artifacts.change_json("evaluate/metrics.json", groups=4)
    assert "Intervals resample their 4 groups as a whole." in page(artifacts)
    assert "a bootstrap over the 4 groups of the test images." in artifacts.read("model_card.md")
