"""Each finding about the data is listed only where it holds."""

import pytest

from leyden.outputs import load_reader
from leyden.stages.report.findings import check_duplicates, list_findings
from leyden.stages.report.left_out import LeftOut
from tests.stages.report.cases import Case, found, prepared
from tests.stages.report.fake_results import (
    make_dataset,
    make_duplicates,
)

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
