"""Advice is given only where its rule holds."""

from pathlib import Path

import pytest

from leyden.stages.report import advice, observations
from tests.stages.report.cases import (
    AT_CHANCE,
    BORDERLINE,
    FEW,
    MISCALIBRATED,
    SEQUENCES,
    SUSPECT,
    THREE_RIGHT,
    TOO_SMALL,
    WEAK,
    evaluated,
    interval,
    prepared,
    robust,
    trained,
)
from tests.stages.report.fake_results import (
    SLICES,
    make_results,
    make_slice,
    make_training,
)

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


def test_too_few_examples_lead_to_no_doubt_about_the_labels() -> None:
    """A perfect score on three images needs more of them, and not another look at the labels."""
    results = evaluated(THREE_RIGHT, majority_fraction=2 / 3)
    assert observations.observe_guessing(results) is None
    assert observations.observe_wide_interval(results)
    assert observations.observe_guessing(evaluated(AT_CHANCE))
