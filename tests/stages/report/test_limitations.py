"""Each limitation of the model card is listed only where it holds."""

import pytest

from leyden.stages.report.limitations import list_limitations
from tests.stages.report.cases import AT_CHANCE, SEQUENCES, TOO_SMALL, Case, evaluated, found, prepared
from tests.stages.report.fake_results import (
    make_class,
    make_duplicates,
    make_explanations,
    make_exports,
    make_results,
)

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
