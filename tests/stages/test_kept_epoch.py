"""Why an epoch's weights are published, and when the choice is doubtful."""

import pytest

from leyden.stages.train.kept_epoch import describe_kept_epoch

EVEN, UNEVEN = [50, 50], [64, 36]  # validation examples by class


def epochs(*scores: tuple[float, float]) -> list[dict[str, str]]:
    """Return rows of curves.csv from (val/loss, val/accuracy); each epoch has 3 steps."""
    return [
        {"epoch": str(epoch), "step": str(3 * (epoch + 1)), "val/loss": str(loss), "val/accuracy": str(accuracy)}
        for epoch, (loss, accuracy) in enumerate(scores)
    ]


def test_the_reason_names_the_score_its_direction_and_the_epoch_counted_from_1():
    rows = epochs((0.9, 0.8), (0.4, 0.9), (0.5, 0.9))
    kept = describe_kept_epoch(rows, rows[1], "val/loss", "min", 1, EVEN)
    assert kept == ("epoch 2 of 3 has the lowest val/loss (0.4000)", [])
    kept = describe_kept_epoch(rows, rows[2], "val/accuracy", "max", 1, EVEN)
    assert kept.reason == "epoch 3 of 3 has the highest val/accuracy (0.9000)"


@pytest.mark.parametrize(("num_warmup_steps", "is_warned"), [(6, True), (5.9, False)])
def test_a_kept_epoch_within_the_warm_up_is_a_warning(num_warmup_steps, is_warned):
    rows = epochs((0.9, 0.8), (0.4, 0.9), (0.5, 0.9))
    warnings = describe_kept_epoch(rows, rows[1], "val/loss", "min", num_warmup_steps, EVEN).warnings
    assert any("within the warm-up" in warning for warning in warnings) == is_warned


@pytest.mark.parametrize(
    ("accuracy", "counts", "is_warned"),
    [
        *((0.61, EVEN, False), (0.55, EVEN, True), (0.60, UNEVEN, True), (0.7, UNEVEN, True), (0.75, UNEVEN, False)),
        *((1.0, [1, 1], True), (1.0, [2, 2], True), (1.0, [3, 3], False)),  # nearly anything can be right twice
    ],
)
def test_a_kept_epoch_no_better_than_a_constant_guess_is_a_warning(accuracy, counts, is_warned):
    rows = epochs((0.9, accuracy))
    warnings = describe_kept_epoch(rows, rows[0], "val/loss", "min", 0, counts).warnings
    assert any("always predicting the most frequent label" in warning for warning in warnings) == is_warned


def test_a_loss_that_keeps_a_clearly_less_accurate_epoch_is_a_warning():
    rows = epochs((0.4, 0.68), (0.9, 0.85))
    (warning,) = describe_kept_epoch(rows, rows[0], "val/loss", "min", 0, EVEN).warnings
    assert "epoch 2 has a val/accuracy of 0.8500" in warning
    assert "set checkpoint.monitor: val/accuracy" in warning
    assert not describe_kept_epoch(rows, rows[0], "val/balanced_accuracy", "max", 0, EVEN).warnings
    rows = epochs((0.4, 0.80), (0.9, 0.85))  # within the noise of 100 examples
    assert not describe_kept_epoch(rows, rows[0], "val/loss", "min", 0, EVEN).warnings


def test_epochs_without_validation_are_passed_over():
    rows = epochs((0.9, 0.0), (0.4, 0.0))
    rows[0]["val/accuracy"] = rows[0]["val/loss"] = ""
    (warning,) = describe_kept_epoch(rows, rows[1], "val/loss", "min", 0, EVEN).warnings
    assert "val/accuracy 0.0000 of epoch 2" in warning


def test_nothing_is_doubted_without_scores_or_counts():
    rows = epochs((0.4, 0.3))
    assert not describe_kept_epoch(rows, rows[0], "val/loss", "min", 0, []).warnings
    del rows[0]["val/accuracy"]
    assert not describe_kept_epoch(rows, rows[0], "val/loss", "min", 0, EVEN).warnings
