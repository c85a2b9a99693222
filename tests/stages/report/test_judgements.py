"""Each judgement of the report speaks where it must, and is silent where it must not; on made-up results."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from leyden.outputs import load_reader
from leyden.outputs.number_format import decimal
from leyden.stages.report import advice, observations
from leyden.stages.report.checks import list_checks
from leyden.stages.report.findings import check_duplicates, list_findings
from leyden.stages.report.formatting import list_smallest, number_of
from leyden.stages.report.left_out import LeftOut
from leyden.stages.report.limitations import list_limitations
from leyden.stages.report.results import Results, summarize_model
from leyden.stages.report.verdict import model_verdict, needs_advice
from tests.stages.report.fake_results import (
    SLICES,
    make_class,
    make_dataset,
    make_duplicates,
    make_evaluation,
    make_explanations,
    make_exports,
    make_results,
    make_slice,
    make_training,
)


class Case(NamedTuple):
    """What a judgement says (a part of its text), and results on which it must say so and must not."""

    text: str
    speaks: Results
    silent: Results = make_results()


def evaluated(metrics: dict[str, Any] | None = None, **changes: Any) -> Results:
    return make_results(evaluation=make_evaluation(metrics, **changes))


def trained(*arguments: Any, **options: Any) -> Results:
    return make_results(training=make_training(*arguments, **options))


def prepared(**changes: Any) -> Results:
    return make_results(dataset=make_dataset(**changes))


def interval(name: str, low: float, value: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def robust(low: float, value: float, high: float, kind: str = "blur", examples: int = 400) -> Results:
    row = {"kind": kind, "strength": "1", "accuracy": value, "accuracy_low": low, "accuracy_high": high}
    return evaluated(robustness={kind: [{key: str(value) for key, value in (row | {"examples": examples}).items()}]})


AT_CHANCE = interval("accuracy", 0.48, 0.55, 0.62)
NO_REQUIREMENT = {"required": {}}
THREE_RIGHT = interval("accuracy", 0.27, 1, 1) | {"examples": 3, "errors": 0}
CALIBRATED, BORDERLINE, MISCALIBRATED = (
    evaluated(interval("calibration_error", *bounds) | NO_REQUIREMENT)
    for bounds in ((0.01, 0.02, 0.03), (0.03, 0.051, 0.07), (0.06, 0.08, 0.1))
)
WEAK = make_slice("group", "camera 1", 30, 0.5, "True")
NEARLY_ALL = [WEAK, make_slice("class", "bee", 99, 0.9, ""), make_slice("class", "ant", 1, 0, "")]
TOO_SMALL = make_slice("class", "bee", 3, 0, "")
SEQUENCES = make_dataset(input={"features": 2, "mean": [0, 0], "std": [1, 1]}, spreads={}, modes={"npy": 9})
GAIN = {"gain": 0.1, "gain_low": 0.05, "gain_high": 0.3}
FEW = make_dataset({"ant": 20, "bee": 30})
SUSPECT = {"path": "a.png", "label": "ant", "suggested": "bee", "suggested_probability": "0.9"}

CHECKS = [
    Case("Missing the model was not evaluated", make_results(evaluation=None)),
    Case("not clearly better than always predicting the most frequent label (50.0%)", evaluated(AT_CHANCE)),
    Case("No requirement was set; set evaluate.require", evaluated(NO_REQUIREMENT)),
    Case(
        "Missing 3 test images cannot show that the model is better than a constant guess",
        evaluated(THREE_RIGHT, majority_fraction=2 / 3),
        evaluated(THREE_RIGHT, majority_fraction=1),  # no better than a constant guess
    ),
    Case("Passed Requirement met: accuracy of at least 0.8", evaluated(), evaluated(NO_REQUIREMENT)),
    Case("Uncertain Requirement met, but not certain to be: accuracy", evaluated({"required": {"accuracy": 0.89}})),
    Case("Failed Requirement missed: accuracy of at least 0.95", evaluated({"required": {"accuracy": 0.95}})),
    Case(
        "Failed Requirement missed: calibration error of at most 0.01",
        evaluated({"required": {"calibration_error": 0.01}}),
        evaluated({"required": {"calibration_error": 0.03}}),
    ),
    Case(
        "Uncertain Requirement met, but not certain to be: calibration error of at most 0.025",
        evaluated({"required": {"calibration_error": 0.025}}),
        evaluated({"required": {"calibration_error": 0.03}}),
    ),
    Case("Passed Requirement met: accuracy low of at least 0.87", evaluated({"required": {"accuracy_low": 0.87}})),
    Case("Passed Well calibrated", CALIBRATED, BORDERLINE),
    Case("Warning Poorly calibrated", MISCALIBRATED, BORDERLINE),
    Case("Warning Calibration cannot be judged", BORDERLINE, MISCALIBRATED),
    Case("and 400 images are too few to tell", BORDERLINE, CALIBRATED),
    Case("Warning 1 weak slice Worst: group camera 1, with an accuracy of 50.0%", evaluated(slices=[*SLICES, WEAK])),
    Case("Passed No weak slices None of 2 slices (by class and brightness)", evaluated(), evaluated(slices=[WEAK])),
    Case("Passed No weak slices among those that can be judged", evaluated(slices=[*SLICES, TOO_SMALL])),
    Case("1 slice cannot be judged: with at most 3 images each", evaluated(slices=[*SLICES, TOO_SMALL])),
    Case(
        "Of 3 slices (by class and brightness), 2 can be judged, and none is significantly worse than the others. 1",
        evaluated(slices=[*SLICES, TOO_SMALL]),
    ),
    Case("Of 3 slices (by group and class), 1 can be judged, and 1 is significantly", evaluated(slices=NEARLY_ALL)),
    Case(
        "2 slices cannot be judged: with at most 1 image inside or outside each, even a slice",
        evaluated(slices=NEARLY_ALL),
        evaluated(slices=[TOO_SMALL, TOO_SMALL]),
    ),
    Case("Warning No slice can be judged None of 1 slice (by class)", evaluated(slices=[TOO_SMALL])),
    Case("No weak slices", evaluated(), evaluated(slices=[TOO_SMALL])),
    Case("slice", evaluated(), evaluated(slices=[])),
    Case(
        "1 of 2 classes has fewer than 30 test images Too few to measure the accuracy on a class well: bee (29)",
        evaluated(classes=[make_class("ant", 30, 1), make_class("bee", 29, 1)]),
    ),
    Case("Passed Robust to mild changes", robust(0.86, 0.88, 0.9), robust(0.8, 0.86, 0.9)),
    Case("Warning Sensitive to blur", robust(0.7, 0.75, 0.8), robust(0.8, 0.84, 0.88)),
    Case("Warning Robustness to mild changes cannot be judged", robust(0.8, 0.84, 0.88), robust(0.7, 0.75, 0.8)),
    Case("obust", robust(0.86, 0.88, 0.9)),
    Case("under blur (1): 91.0% (95% interval 90.0% to 92.0%) on 400 test images, against", robust(0.9, 0.91, 0.92)),
    Case("on 300 random test images", robust(0.9, 0.91, 0.92, examples=300), robust(0.9, 0.91, 0.92)),
    Case("Sensitive to FGSM", robust(0.7, 0.75, 0.8, "fgsm"), robust(0.7, 0.75, 0.8)),
    Case("The kept epoch is doubtful Too early.", trained(warnings=["too early"])),
    Case("Failed The data has changed since the training", trained(trained_on="other")),
    Case("Passed No problems in the data", make_results(), prepared(num_rejected=1)),
    Case("Warning The data should be reviewed", prepared(num_rejected=1)),
    Case(
        "Failed Problems in the data must be fixed first",
        prepared(duplicates=make_duplicates(exact=(0, 1))),
        prepared(duplicates=make_duplicates(near=(0, 1))),
    ),
    Case("Missing there is no exported file to ship", make_results(exports=None)),
    Case("Failed 1 exported file not verified", make_results(exports=make_exports("failed"))),
    Case("Passed 1 exported file checked", make_results(), make_results(exports=make_exports("failed"))),
    Case("Warning 1 exported file checked, 1 refused", make_results(exports=make_exports(num_refused=1))),
    Case("Warning Not explained", make_results(explanations=None)),
    Case("Passed Explanations beat chance", make_results(), make_results(explanations=None)),
    Case("Warning No explanation", make_results(explanations=make_explanations(deletion_auc=0.6))),
    Case("Warning No explanation", make_results(explanations=make_explanations(randomisation_similarity=0.9))),
    Case(
        "saliency, beats a random map (deletion AUC 0.200, against 0.500; lower is better), but its maps hardly depend",
        make_results(explanations=make_explanations(randomisation_similarity=0.9)),
    ),
    Case(
        "does not clearly beat a random map (gain 0.100, interval -0.100 to 0.300; 0 is chance)",
        make_results(explanations=make_explanations(**GAIN | {"gain_low": -0.1})),
        make_results(explanations=make_explanations(**GAIN)),
    ),
    Case("(400 test images)", make_results(exports=make_exports(examples=400)), make_results()),
]


def said_by_checks(results: Results) -> str:
    return "\n".join(
        f"{check.outcome} {check.title} {check.evidence}" for check in list_checks(results, found(results))
    )


def found(results: Results) -> list[Any]:
    return list_findings(results.dataset)


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case.text)
def test_a_check_has_the_outcome_and_text_of_its_case(case: Case) -> None:
    assert case.text in said_by_checks(case.speaks)
    assert case.text not in said_by_checks(case.silent)


NEAR_LABELS = make_duplicates(near=(2, 0))
FINDINGS = [
    Case("pair of exact duplicates in different splits", prepared(duplicates=make_duplicates(exact=(0, 1)))),
    Case("pairs of exact duplicates with different labels", prepared(duplicates=make_duplicates(exact=(2, 0)))),
    Case("group in more than one split", prepared(duplicates=make_duplicates(num_groups=1))),
    Case("pair of near duplicates in different splits", prepared(duplicates=make_duplicates(near=(0, 1)))),
    Case("pairs of near duplicates with different labels", prepared(duplicates=NEAR_LABELS)),
    Case("pairs of duplicates within one split", prepared(duplicates=make_duplicates(num_harmless=3))),
    Case("times as many images as the smallest", prepared(train={"ant": 2500, "bee": 20})),
    Case(
        "has fewer than 10 training images",
        prepared(train={"ant": 10, "bee": 9}),
        prepared(train={"ant": 10, "bee": 10}),
    ),
    Case("has no test images", prepared(test={"ant": 200, "bee": 0}), prepared(test={"ant": 200, "bee": 1})),
    Case("1 file rejected", prepared(num_rejected=1)),
    Case("Aspect ratios from", prepared(spreads={"aspect_ratio": {"min": 0.5, "median": 1, "max": 1.1}})),
    Case("Files in 2 modes", prepared(modes={"L": 1, "RGB": 9})),
]


@pytest.mark.parametrize("case", FINDINGS, ids=lambda case: case.text)
def test_a_finding_is_listed_only_where_it_holds(case: Case) -> None:
    assert any(case.text in finding.title for finding in found(case.speaks))
    assert not any(case.text in finding.title for finding in found(case.silent))


def test_files_that_were_left_out_are_a_finding() -> None:
    dataset = make_dataset()
    (finding,) = list_findings(dataset, [LeftOut("unknown suffix .heic", 20, ["a.heic"])])
    assert finding.title == "20 files left out"
    assert finding.advice.startswith("unknown suffix .heic (20).")
    assert list_findings(dataset, []) == []


LIMITATIONS = [
    Case("exact duplicates in different splits", prepared(duplicates=make_duplicates(exact=(0, 1)))),
    Case("resized to 32", make_results(), make_results(dataset=SEQUENCES)),
    Case("The accuracy of the model was not measured", make_results(evaluation=None)),
    Case(
        "off by 0.020 on average (expected calibration error; 95% interval 0.010 to 0.030)",
        make_results(),
        make_results(evaluation=None),
    ),
    Case("not clearly better than always predicting", evaluated(AT_CHANCE)),
    Case("Both classes have fewer than 30", evaluated(classes=[make_class("a", 9, 1), make_class("b", 9, 1)])),
    Case("lowest recall is bee: 0.0% of its 9 test images", evaluated(classes=[make_class("bee", 9, 0)])),
    Case("The class with the lowest recall", make_results(), evaluated(classes=[make_class("bee", 9, 1)])),
    Case(
        "2 classes share the lowest recall, 0.0%; with test images: ant (3) and bee (9).",
        evaluated(classes=[make_class("ant", 3, 0), make_class("bee", 9, 0), make_class("cat", 9, 1)]),
        evaluated(classes=[make_class("ant", 3, 0.5), make_class("bee", 9, 0)]),
    ),
    Case("can be judged", evaluated(slices=[TOO_SMALL])),
    Case("Not every exported file passed", make_results(exports=make_exports("failed"))),
    Case(
        "not clearly better than a random map: saliency", make_results(explanations=make_explanations(deletion_auc=0.5))
    ),
]


@pytest.mark.parametrize("case", LIMITATIONS, ids=lambda case: case.text)
def test_a_limitation_is_listed_only_where_it_holds(case: Case) -> None:
    speaks, silent = ("\n".join(list_limitations(each, found(each))) for each in (case.speaks, case.silent))
    assert case.text in speaks
    assert case.text not in silent


VERDICTS = {
    "No model has been trained yet.": make_results(training=None, evaluation=None),
    "Not ready to ship: 2 checks failed. 55.0% of 400 test images": evaluated(AT_CHANCE),
    "Not yet known whether the model is ready to ship: the model was not evaluated.": make_results(evaluation=None),
    "Not yet known whether the model is ready to ship: 3 test images cannot show that": evaluated(
        THREE_RIGHT, majority_fraction=2 / 3
    ),
    "Might not be ready to ship: 1 requirement is met on the test split but might not be on another.": evaluated(
        {"required": {"accuracy": 0.89}}
    ),
    "90.0% of 400 test images classified correctly (95% interval 87.0% to 93.0%). No requirement was set.": evaluated(
        NO_REQUIREMENT
    ),
    "Ready to ship, with 1 warning. 90.0%": make_results(explanations=None),
    "Ready to ship: all 7 checks passed. 90.0% of 400 test images": make_results(),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_headline_is_a_verdict_only_with_a_target(verdict: str) -> None:
    results = VERDICTS[verdict]
    checks = list_checks(results, found(results))
    assert model_verdict(checks, results.evaluation).startswith(verdict)
    is_verdict_positive = verdict.startswith("Ready")
    assert needs_advice(checks) == (bool(checks) and not is_verdict_positive)


def test_a_good_score_without_a_target_is_never_called_ready() -> None:
    results = evaluated(interval("accuracy", 0.99, 1.0, 1.0) | NO_REQUIREMENT)
    assert "ready" not in model_verdict(list_checks(results, found(results)), results.evaluation).lower()


def test_without_a_model_there_is_one_sentence_about_it() -> None:
    assert summarize_model(make_results(training=None, evaluation=None)) == ""


ADVICE = {
    observations.observe_guessing: (evaluated(AT_CHANCE), make_results(), "correct for 50.0%"),
    observations.observe_kept_epoch: (
        trained(val_accuracy=[0.5, 0.28, 0.3, 0.45]),
        make_results(),
        "epoch 1 had 50.0%",
    ),
    observations.observe_falling_loss: (trained([4, 3, 2, 1]), trained([1, 0.5, 0.5, 0.49]), "from 2 to 1"),
    observations.observe_rising_loss: (trained([1, 0.5, 0.6, 0.7]), trained([1, 0.5, 0.5, 0.59]), "from 0.5 to 0.7"),
    observations.observe_few_training_images: (
        make_results(dataset=FEW),
        make_results(),
        "A class has 25 training images",
    ),
    observations.observe_weak_classes: (
        evaluated(slices=[make_slice("class", "bee", 9, 0, "True")]),
        evaluated(slices=[WEAK, TOO_SMALL]),
        "bee (500)",
    ),
    observations.observe_weak_slices: (evaluated(slices=[WEAK]), evaluated(slices=SLICES), "group camera 1"),
    observations.observe_imbalance: (
        prepared(train={"ant": 500, "bee": 50}),
        prepared(train={"ant": 500, "bee": 51}),
        "bee has 50, ant has 500",
    ),
    observations.observe_small_input: (
        prepared(spreads={name: {"min": 1, "median": 64, "max": 99} for name in ("height", "width")}),
        prepared(spreads={name: {"min": 1, "median": 63, "max": 99} for name in ("height", "width")}),
        "64 pixels (median), the model's input has 32",
    ),
    observations.observe_suspects: (
        evaluated(suspects=[SUSPECT | {"wrong_probability": "0.6"}] * 4),
        evaluated(suspects=[SUSPECT | {"wrong_probability": "0.004"}] * 72),
        "About 2 labels",
    ),
    observations.observe_sensitivity: (robust(0.7, 0.75, 0.8), robust(0.8, 0.84, 0.88), "Sensitive to blur"),
    observations.observe_calibration: (MISCALIBRATED, BORDERLINE, "off by 0.080"),
    observations.observe_wide_interval: (
        evaluated(interval("accuracy", 0.67, 0.785, 0.867)),
        make_results(),
        "67.0% to 86.7%",
    ),
}


@pytest.mark.parametrize("rule", advice.RULES, ids=lambda rule: rule.observe.__name__)
def test_advice_is_given_only_where_its_rule_holds(rule: advice.Rule) -> None:
    speaks, silent, evidence = ADVICE[rule.observe]
    said = {each.advice: each.evidence for each in advice.list_advice(speaks)}
    assert evidence in said[rule.advice]
    assert rule.advice not in {each.advice for each in advice.list_advice(silent)}


def test_another_epoch_is_advised_only_if_it_is_more_accurate() -> None:
    """With one epoch, or where the kept one is the best, there is none to keep instead."""
    warnings = ["not clearly better than always predicting the most frequent label"]
    assert observations.observe_kept_epoch(trained(val_accuracy=[0.5, 0.9, 0.9, 0.9], warnings=warnings)) is None
    better = [0.5, 0.88, 0.9, 0.9]
    assert observations.observe_kept_epoch(trained(val_accuracy=better)) is None
    assert "epoch 3 had 90.0%" in str(observations.observe_kept_epoch(trained(val_accuracy=better, warnings=warnings)))


@pytest.mark.parametrize(
    "config",
    ["network: {init_args: {weights: a.pth}}", "model: {init_args: {start_from: {path: old.ckpt}}}"],
)
def test_pretrained_weights_are_not_advised_twice(config: str) -> None:
    assert (
        observations.observe_few_training_images(make_results(dataset=FEW, training=make_training(config=config)))
        is None
    )


def test_sequences_get_no_advice_on_images() -> None:
    results = make_results(dataset=SEQUENCES)
    assert observations.observe_few_training_images(results) is observations.observe_small_input(results) is None


def test_the_rules_are_those_of_the_documentation() -> None:
    rows = [f"| {rule.condition} | {rule.advice} |" for rule in advice.RULES]
    text = (Path(__file__).parents[3] / "docs/report.md").read_text()
    assert "\n".join(["| if | try |", "|---|---|", *rows]) in text


def test_names_that_are_too_many_are_examples_smallest_first() -> None:
    counts = {f"class {number}": 300 - number for number in range(242)}
    assert list_smallest(counts, 2) == "for example class 241 (59) and class 240 (60)"
    assert list_smallest({"ant": 3, "bee": 2}) == "ant (3) and bee (2)"
    totals = ((242, 242), (2, 2), (1, 1), (1, 9), (2, 9))
    assert [number_of(*total, "class", "classes") for total in totals] == [
        *("All 242 classes have", "Both classes have", "The only class has", "1 of 9 classes has"),
        "2 of 9 classes have",
    ]


def test_numbers_stay_beside_names_in_right_to_left_letters() -> None:
    assert list_smallest({"\u05db\u05dc\u05d1": 3, "ant": 2}) == "\u2068\u05db\u05dc\u05d1\u2069 (3) and ant (2)"


def test_a_number_that_is_rounded_to_0_is_not_written_as_0_with_many_digits() -> None:
    assert [decimal(value) for value in (0, 1e-9, 0.0004, 0.0000004, 0.12345)] == [
        *("0.000", "0.000", "0.0004", "0.000", "0.123")
    ]


def test_too_few_examples_lead_to_no_doubt_about_the_labels() -> None:
    """A perfect score on three images needs more of them, and not another look at the labels."""
    results = evaluated(THREE_RIGHT, majority_fraction=2 / 3)
    assert observations.observe_guessing(results) is None
    assert observations.observe_wide_interval(results)
    assert observations.observe_guessing(evaluated(AT_CHANCE))


@pytest.mark.parametrize(("task", "target"), [("ordinal", "grade"), ("regression", "target"), ("segmentation", "mask")])
def test_findings_about_duplicates_name_what_differs(task: str, target: str) -> None:
    reader = load_reader({"labels": ["a", "b"], "task": {"name": task}})
    duplicates = make_duplicates(exact=(2, 0), near=(1, 0), num_harmless=3)
    findings = list(check_duplicates(duplicates, reader))
    assert [finding.title for finding in findings] == [
        f"2 pairs of exact duplicates with different {target}s",
        # Nearly the same image may well have a slightly different number.
        *([] if reader.predicts_numbers else [f"1 pair of near duplicates with different {target}s"]),
        f"3 pairs of duplicates within one split, with the same {target}",
    ]
    assert f"One {target} of each pair must be wrong" in findings[0].advice
