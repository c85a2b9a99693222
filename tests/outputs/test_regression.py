"""What a regression model's numbers mean."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from leyden.errors import UserError
from leyden.outputs import load_reader
from leyden.tasks import load_task
from tests.outputs.values import values_of

ONE = load_reader(
    {"labels": ["angle"], "task": {"name": "regression", "units": ["deg"], "std": [20.0], "radius": [5.0]}}
)
TWO = load_reader({"labels": ["x", "y"], "task": {"name": "regression", "std": [10.0, 1.0]}})
OUTPUTS = np.array([[1.0, 2.0], [30.0, 4.0], [-5.0, 0.5]], np.float32)
TARGETS = np.array([[1.0, 1.0], [10.0, 4.0], [-9.0, 0.5]], np.float32)


def test_errors_are_in_the_unit_of_one_target_and_in_deviations_of_several():
    assert ONE.errors(OUTPUTS[:, :1], TARGETS[:, :1]).tolist() == [0.0, 20.0, 4.0]
    assert TWO.errors(OUTPUTS, TARGETS) == pytest.approx([(0 + 1) / 2, (2 + 0) / 2, (0.4 + 0) / 2])


def test_models_agree_within_a_twentieth_of_the_deviation():
    others = OUTPUTS + np.array([[0.4, 0.04], [-0.6, 0.0], [0.6, -0.06]], np.float32)
    assert TWO.agreement(OUTPUTS, others).tolist() == [1.0, 0.5, 0.0]


def test_measures_are_scikit_learns():
    values = values_of(ONE, OUTPUTS[:, :1], TARGETS[:, :1])
    assert ONE.headline == "mae"
    assert values["mae"] == pytest.approx(mean_absolute_error(TARGETS[:, 0], OUTPUTS[:, 0]))
    assert values["rmse"] == pytest.approx(root_mean_squared_error(TARGETS[:, 0], OUTPUTS[:, 0]))
    assert values["r2"] == pytest.approx(r2_score(TARGETS[:, 0], OUTPUTS[:, 0]))


def test_coverage_is_the_fraction_of_targets_inside_of_the_intervals():
    assert values_of(ONE, OUTPUTS[:, :1] + 100, TARGETS[:, :1] + 100)["coverage"] == pytest.approx(2 / 3)
    assert "coverage/x" not in values_of(TWO, OUTPUTS, TARGETS)
    both = load_reader({"labels": ["x", "y"], "task": {"name": "regression", "radius": [3.0, 0.5]}})
    values = values_of(both, OUTPUTS + 100, TARGETS + 100)
    assert (values["coverage/x"], values["coverage/y"]) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize(
    ("units", "headline"), [(["m", "m"], "mae"), (["m", "deg"], "r2"), (["", ""], "r2"), (["m"], "mae"), ([""], "mae")]
)
def test_without_a_common_unit_r2_sums_up_several_targets(units, headline):
    description = {"labels": ["x", "y"][: len(units)], "task": {"name": "regression", "units": units}}
    assert load_reader(description).headline == headline
    assert values_of(TWO, OUTPUTS, TARGETS)["r2"] == pytest.approx(r2_score(TARGETS, OUTPUTS))


def test_errors_have_the_unit_of_their_target():
    reader = load_reader({"labels": ["x", "y"], "task": {"name": "regression", "units": ["m", "deg"]}})
    names = ("mae/x", "rmse/y", "median_absolute_error/y", "r2/x", "r2", "coverage/y")
    assert [reader.unit(name) for name in names] == ["m", "deg", "deg", "", "", ""]
    assert ONE.unit("mae") == "deg"


def test_rows_have_each_target_and_its_interval():
    assert ONE.rows(OUTPUTS[1:2, :1], 3) == [{"angle": "30", "angle_low": "25", "angle_high": "35"}]
    assert TWO.rows(OUTPUTS[1:2], 3) == [{"x": "30", "y": "4"}]
    assert TWO.target_rows(TARGETS[:1]) == [{"true_x": "1", "true_y": "1"}]


def test_tables_hold_what_is_scored():
    rows = [true | row for true, row in zip(TWO.target_rows(TARGETS), TWO.rows(OUTPUTS, 1), strict=True)]
    assert TWO.parse_targets(rows).tolist() == TARGETS.tolist()
    assert TWO.parse_rows(rows).tolist() == OUTPUTS.tolist()


def test_every_target_is_explained_and_curves_fall_with_the_change():
    outputs = torch.from_numpy(OUTPUTS)
    assert TWO.explained_labels(OUTPUTS) == [[0, 1]] * 3
    assert torch.equal(TWO.response(outputs, TWO.reference(outputs)), torch.ones_like(outputs))
    assert torch.allclose(TWO.response(outputs + 1, outputs), torch.full_like(outputs, 1 / torch.e))


INVALID_FACTS = [
    {"radius": "x"},
    {"radius": [-1.0]},
    {"radius": [float("nan")]},
    {"std": [0.0]},
    {"mean": [float("nan")]},
    {"units": [3]},
]


@pytest.mark.parametrize("facts", INVALID_FACTS)
def test_invalid_facts_are_an_error(facts):
    description = {"labels": ["x"], "task": {"name": "regression", **facts}}
    for load in (load_reader, load_task):
        with pytest.raises(UserError, match="expected a valid description of the task regression; got units, mean"):
            load(description)


@pytest.mark.parametrize("labels", [["path"], ["error"], ["x", "x_low"]])
def test_targets_named_as_another_column_are_an_error(labels):
    task = {"name": "regression", "radius": [1.0] * len(labels)}
    with pytest.raises(UserError, match="targets named as other columns of predictions"):
        load_reader({"labels": labels, "task": task})
