"""What to try next with a model that is not known to be ready: rules, each a condition and what to do about it.

docs/report.md lists the same rules; a test compares the two.
"""

from collections.abc import Callable
from typing import NamedTuple

from leyden.stages.report.findings import MAX_IMBALANCE
from leyden.stages.report.observations import (
    FEW_TRAINING_EXAMPLES,
    MAX_INTERVAL,
    MAX_RISE,
    MAX_SHRINKAGE,
    MIN_FALL,
    MIN_GAIN,
    observe_calibration,
    observe_falling_loss,
    observe_few_training_images,
    observe_guessing,
    observe_imbalance,
    observe_kept_epoch,
    observe_rising_loss,
    observe_sensitivity,
    observe_small_input,
    observe_suspects,
    observe_weak_classes,
    observe_weak_slices,
    observe_wide_interval,
)
from leyden.stages.report.results import Results


class Advice(NamedTuple):
    """What to try, and what was observed."""

    advice: str
    evidence: str


class Rule(NamedTuple):
    """A condition in words, what to try where it holds, and the function that returns what was observed, or None."""

    condition: str
    advice: str
    observe: Callable[[Results], str | None]


def list_advice(results: Results) -> list[Advice]:
    """Apply all rules; the list is empty where no condition holds."""
    observed = [(rule.advice, rule.observe(results)) for rule in RULES]
    return [Advice(advice, evidence) for advice, evidence in observed if evidence]


RULES = (
    Rule(
        "the score is not clearly better than a constant guess, and the test split is not too small to tell",
        "Check that the labels belong to the examples, and run `leyden doctor`.",
        observe_guessing,
    ),
    Rule(
        f"another epoch's validation accuracy is more than {100 * MIN_GAIN:g} points higher, or higher at all if "
        "`leyden fit` warned about the kept epoch",
        "Keep another epoch: fit with `--checkpoint.monitor=val/accuracy`.",
        observe_kept_epoch,
    ),
    Rule(
        f"the validation loss fell by more than {MIN_FALL:.0%} over the last quarter of the epochs",
        "Train for longer: raise `trainer.max_epochs`.",
        observe_falling_loss,
    ),
    Rule(
        f"the validation loss at the end is more than {MAX_RISE:.0%} above its lowest value",
        "Overfit less: stronger augmentation (`data.init_args.augment`), more weight decay, or more training examples.",
        observe_rising_loss,
    ),
    Rule(
        f"labels have fewer than {FEW_TRAINING_EXAMPLES} training images (median) and the network began with random "
        "weights",
        "Start from pretrained weights: `network.init_args.weights`, as in docs/configuration.md.",
        observe_few_training_images,
    ),
    Rule(
        "classes are significantly worse than the others",
        "Add training examples of the weak ones.",
        observe_weak_classes,
    ),
    Rule(
        "other slices (by brightness, size, length, group) are significantly worse than the others",
        "Add training examples like those in these slices.",
        observe_weak_slices,
    ),
    Rule(
        f"the largest class has {MAX_IMBALANCE} times as many training examples as the smallest, or more",
        "Balance the training: `data.init_args.sampler: balanced` or `model.init_args.class_weights: auto`.",
        observe_imbalance,
    ),
    Rule(
        f"the shorter side of the original images is at least {MAX_SHRINKAGE} times that of the model's input (median)",
        "Use a larger `image_size` in configs/prepare.yaml.",
        observe_small_input,
    ),
    Rule(
        "about one label or more of the test and validation splits is expected to be wrong",
        "Review the labels in errors/suspects.csv, and correct the wrong ones.",
        observe_suspects,
    ),
    Rule(
        "a corruption or attack at its mildest clearly worsens the score too much",
        "Train on images that are changed in the same way: `data.init_args.augment`, or "
        "configs/experiment/adversarial.yaml for attacks.",
        observe_sensitivity,
    ),
    Rule(
        "the model is poorly calibrated",
        "Use more validation examples, on which the temperature is fitted: `val_fraction` in configs/prepare.yaml.",
        observe_calibration,
    ),
    Rule(
        f"the interval of the accuracy is wider than {100 * MAX_INTERVAL:g} points",
        "Test on more examples: four times as many halve the interval.",
        observe_wide_interval,
    ),
)
