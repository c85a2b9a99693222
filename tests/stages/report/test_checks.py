"""Each check of the report speaks where it must, and is silent where it must not; on made-up results."""

import pytest

from leyden.stages.report.checks import list_checks
from leyden.stages.report.results import Results
from tests.stages.report.cases import (
    AT_CHANCE,
    BORDERLINE,
    CALIBRATED,
    GAIN,
    MISCALIBRATED,
    NEARLY_ALL,
    NO_REQUIREMENT,
    THREE_RIGHT,
    TOO_SMALL,
    WEAK,
    Case,
    evaluated,
    found,
    prepared,
    robust,
    trained,
)
from tests.stages.report.fake_results import (
    SLICES,
    make_class,
    make_duplicates,
    make_explanations,
    make_exports,
    make_results,
)

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
    Case("against 90.0% without it; a loss of up to 5 points is mild.", robust(0.86, 0.88, 0.9)),
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


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case.text)
def test_a_check_has_the_outcome_and_text_of_its_case(case: Case) -> None:
    assert case.text in said_by_checks(case.speaks)
    assert case.text not in said_by_checks(case.silent)
