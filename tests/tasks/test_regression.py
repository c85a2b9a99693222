"""The regression task: how numbers are read and standardised, the loss, scores and intervals."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.tasks import load_task
from leyden.tasks.regression import Regression
from leyden.tasks.targets import LossOptions, TargetSettings
from tests.tasks.sources import FILE, SOURCE

TWO = SOURCE._replace(columns=("target_angle_deg", "target_mass"))
TASK = Regression(["angle_deg", "mass"], mean=[10.0, 0.5], std=[20.0, 0.1])
OUTPUTS, TARGETS = torch.tensor([[0.0, 0.5], [70.0, 0.6]]), torch.tensor([[10.0, 0.5], [10.0, 0.4]])


def test_targets_are_named_by_their_columns_and_have_units():
    task = Regression.from_texts(["1;2", "-3e2; 0.5"], TWO)
    assert task.labels == ["angle_deg", "mass"]
    assert task.units == ["deg", ""]
    assert task.encode("-3e2; 0.5", FILE).tolist() == [-300.0, 0.5]
    settings = TargetSettings(units={"mass": "kg"})
    assert Regression.from_texts(["1;2"], TWO._replace(settings=settings)).units == ["deg", "kg"]


@pytest.mark.parametrize("cell", ["", "nan", "inf", "1,5"])
def test_what_is_no_finite_number_is_refused(cell):
    with pytest.raises(UserError, match=f"expected a finite number as target mass; got '{cell}'"):
        Regression.from_texts([f"1;{cell}"], TWO)


def test_a_separator_in_the_cell_of_one_target_is_no_number():
    with pytest.raises(UserError, match="expected a finite number as target target; got '1;2'"):
        Regression.from_texts(["1;2"], SOURCE)


def test_units_of_unknown_targets_are_refused():
    with pytest.raises(UserError, match="expected units of the targets angle_deg, mass; got one of length"):
        Regression.from_texts(["1;2"], TWO._replace(settings=TargetSettings(units={"length": "m"})))


def test_strata_are_tenths_of_the_first_target():
    task = Regression(["a"])
    assert task.strata([str(value) for value in range(40, 0, -1)]) == [str(rank // 4) for rank in range(39, -1, -1)]
    assert task.strata(["5", "5", "5"]) == ["0"] * 3
    assert Regression(["a", "b"]).strata(["1;0", "7;0"] * 6) == ["0", "1"] * 6  # 12 are too few for more than 3 strata


def test_issues_of_targets_are_found():
    task = Regression(["a"])
    values = [*map(str, range(1000, 1100)), "-10000"]
    assert task.find_issues(values) == [
        "1 targets a are far from all others (for example -10000, where half of them lie between 1024 and 1074)"
    ]
    assert task.find_issues([*["7"] * 3, "1", "2"]) == ["3 of 5 targets a are 7"]
    assert task.find_issues([*["7"] * 8, "1", "2"]) == ["8 of 10 targets a are 7"]  # half of them differ by 0
    assert task.find_issues([*["7"] * 2, "1", "2"]) == task.find_issues(values[:100]) == []
    with pytest.raises(UserError, match="every a is 7; there is nothing to learn"):
        task.find_issues(["7", "7"])


def test_a_clue_that_tells_a_target_is_named():
    generator = np.random.default_rng(0)
    heights = generator.permutation(100).astype(float)
    texts = [f"{generator.normal()};{-(height**3)}" for height in heights]
    clues = {"the image's height": heights, "the image's width": generator.permutation(heights)}
    assert Regression(["a", "b"]).find_leaks(texts, clues) == [
        "the image's height almost tells the target b (rank correlation -1.00): the model may learn it alone"
    ]
    assert Regression(["a", "b"]).find_leaks(texts[:19], {"the image's height": heights[:19]}) == []


def test_mean_and_deviation_are_those_of_the_training_targets():
    targets = np.array([[1.0, 5.0], [3.0, 9.0]], np.float32)
    fitted = Regression(["a", "b"], ["m", ""]).fitted(targets)
    assert fitted.describe() == {"name": "regression", "units": ["m", ""], "mean": [2.0, 7.0], "std": [1.0, 2.0]}
    assert load_task({"labels": ["a", "b"], "task": fitted.describe()}).describe() == fitted.describe()
    with pytest.raises(UserError, match="expected training targets that differ; every b is the same"):
        Regression(["a", "b"]).fitted(np.array([[1.0, 5.0], [3.0, 5.0]]))


def test_the_model_returns_units_and_the_loss_is_huber_in_standard_deviations():
    """Distances of 0.5 and 3 deviations (angle), 0 and 2 (mass)."""
    assert torch.allclose(
        TASK.make_output()(torch.tensor([[0.0, 0.0], [1.0, -1.0]])), torch.tensor([[10, 0.5], [30, 0.4]])
    )
    loss = TASK.make_loss(LossOptions())(OUTPUTS, TARGETS)
    assert float(loss) == pytest.approx((0.5**2 / 2 + 2.5 + 0 + 1.5) / 4)


def test_options_of_classes_are_refused():
    for options in (LossOptions(label_smoothing=0.1), LossOptions(class_weights="auto")):
        with pytest.raises(UserError, match=r"expected no model\.\w+ for regression"):
            TASK.make_loss(options)
    with pytest.raises(UserError, match="whose targets have no classes to balance"):
        TASK.sampling_weights(TARGETS.numpy())


def test_scores_are_the_loss_and_the_mean_absolute_error():
    scores = TASK.make_scores("val/")
    scores.update(OUTPUTS[:1], TARGETS[:1])
    scores.update(OUTPUTS[1:], TARGETS[1:])
    values = scores.compute()
    assert values["val/mae"] == pytest.approx(float(F.l1_loss(OUTPUTS, TARGETS)))
    assert values["val/loss"] == pytest.approx(float(TASK.make_loss(LossOptions())(OUTPUTS, TARGETS)))


@pytest.mark.parametrize("count", [1, 2])
def test_radii_become_facts_unless_there_are_too_few_examples(count):
    task = Regression(TASK.labels[:count])
    radii = torch.tensor([3.0, 4.0])[:count]
    assert task.describe_calibration(radii.squeeze())["task"]["radius"] == radii.tolist()
    radii[-1] = math.inf
    assert "radius" not in task.describe_calibration(radii.squeeze())["task"]


def test_the_distance_to_a_teacher_is_the_loss_with_its_outputs_as_targets():
    assert torch.equal(TASK.distance(OUTPUTS, TARGETS, 4.0), TASK.make_loss(LossOptions())(OUTPUTS, TARGETS))


def test_examples_of_evenly_spaced_targets_are_shown():
    assert Regression(["a"]).rows_with(np.arange(31)[::-1, None], 0).tolist() == list(range(30, -1, -2))


@pytest.mark.parametrize("facts", [{"std": [0.0, 1.0]}, {"mean": [1.0]}, {"radius": [1.0]}, {"units": ["m"]}])
def test_facts_that_do_not_fit_are_refused(facts):
    with pytest.raises(UserError, match=r"units, mean, std or radius that do not fit 2 target\(s\)"):
        load_task({"labels": ["a", "b"], "task": {"name": "regression"} | facts})
