"""The ordinal task: in which order grades are, the loss and scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import cohen_kappa_score
from torch.nn import functional as F

from leyden.cli import main
from leyden.data.packed import read_report
from leyden.errors import UserError
from leyden.tasks.ordinal import Ordinal
from leyden.tasks.targets import LossOptions, TargetSource
from tests.tasks.sources import SOURCE

TASK = Ordinal(["none", "mild", "severe"])
LOGITS, TARGETS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [0.2, 0.0, 0.1]]), torch.tensor([0, 1, 2])
SHARES = torch.tensor([[1, 0.367879, 0.018316], [0.367879, 1, 0.367879], [0.018316, 0.367879, 1]])  # exp(-distance^2)
SHARES /= SHARES.sum(dim=1, keepdim=True)


def loss_of(logits: torch.Tensor, targets: torch.Tensor, **options) -> float:
    return float(TASK.make_loss(LossOptions(**options))(logits, targets))


@pytest.fixture
def source(tmp_path: Path):
    """Return a function that writes grades.csv and returns where targets come from."""

    def write(content: str) -> TargetSource:
        (tmp_path / "grades.csv").write_text(content)
        return SOURCE._replace(data=tmp_path, columns=("grade",))

    return write


def test_the_order_is_that_of_the_table(source):
    assert Ordinal.from_texts(["mild", "none", "mild", "=2"], source("Grade ,n\nnone\n'=2,9\n\n mild ,7\n")).labels == [
        "none",
        "=2",
        "mild",
    ]


def test_without_a_table_numbers_are_in_their_order():
    assert Ordinal.from_texts(["10", "9", "-1", "10"], SOURCE).labels == ["-1", "9", "10"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["2", "mild"], r"expected grades that are numbers, or data/grades\.csv .*got 'mild' and no such file"),
        (["2", "nan"], "expected grades that are numbers.*got 'nan'"),
        (["2", "3", "2.0"], r"expected one spelling of each grade; got 2, 2\.0, 3"),
        (["2", "2"], "expected examples of two grades or more in data; got only '2'"),
    ],
)
def test_grades_without_an_order_are_refused(texts, message):
    with pytest.raises(UserError, match=message):
        Ordinal.from_texts(texts, SOURCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("grade\nnone\nsevere\n", r"expected the grades of .*grades\.csv \(none, severe\); got 'mild'; correct it"),
        ("grade\nnone\nmild\nsevere\n", "expected examples of every grade of .*; got none of 'severe'"),
        ("grade\nnone\nmild\nnone\n", "expected each grade once in .*; got none, mild, none"),
        ("n,grade\n1,none\n2\n", "expected each grade once in .*; got none, ;"),
        ("none\nmild\n", "expected one column grade in .*; got 'none'"),
        ("", "expected one column grade in .*; got ''"),
        ('grade\n"none\n', "expected a CSV file in UTF-8"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(content, message, source):
    with pytest.raises(UserError, match=message):
        Ordinal.from_texts(["none", "mild"], source(content))


def test_class_folders_may_be_the_grades(tmp_path):
    """The table is not among what is left out."""
    generator = np.random.default_rng(0)
    for grade in ("none", "mild", "severe"):
        (tmp_path / "data" / grade).mkdir(parents=True)
        for number in range(8):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / grade / f"{number}.png")
    (tmp_path / "data" / "grades.csv").write_text("grade\nnone\nmild\nsevere\n")
    assert main(["prepare", f"--data={tmp_path}/data", f"--out={tmp_path}/out", "--task=ordinal"]) == 0
    report = read_report(tmp_path / "out")
    assert (report["labels"], report["left_out"]) == (["none", "mild", "severe"], [])


def test_the_loss_is_cross_entropy_to_a_grade_and_its_neighbours():
    expected = -(SHARES * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert loss_of(LOGITS, TARGETS) == pytest.approx(float(expected), abs=1e-5)


def test_a_distant_grade_costs_more_than_a_neighbour():
    """Cross-entropy to the grade alone would be the same for both."""
    target, neighbour, distant = torch.tensor([0]), torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    assert loss_of(distant, target) > loss_of(neighbour, target) + 0.5


def test_class_weights_apply_to_the_examples_of_a_grade():
    by_example = [loss_of(LOGITS[i : i + 1], TARGETS[i : i + 1]) for i in range(3)]
    weighted = loss_of(LOGITS, TARGETS, class_weights={"mild": 4.0})
    assert weighted == pytest.approx((by_example[0] + 4 * by_example[1] + by_example[2]) / 3, rel=1e-5)


def test_label_smoothing_spreads_targets_over_all_grades():
    expected = F.cross_entropy(LOGITS, 0.8 * SHARES + 0.2 / 3)
    assert loss_of(LOGITS, TARGETS, label_smoothing=0.2) == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(UserError, match="label_smoothing must lie in"):
        TASK.make_loss(LossOptions(label_smoothing=1.0))


def test_a_mixture_of_grades_has_the_mixture_of_their_losses():
    loss = TASK.make_loss(LossOptions(class_weights={"mild": 4.0}))
    soft, others = TASK.soft_targets(TARGETS), TASK.soft_targets(TARGETS.flip(0))
    expected = 0.3 * loss(LOGITS, TARGETS) + 0.7 * loss(LOGITS, TARGETS.flip(0))
    assert torch.allclose(loss(LOGITS, 0.3 * soft + 0.7 * others), expected)


def test_the_loss_is_float32_in_a_bfloat16_module():
    loss, logits = TASK.make_loss(LossOptions(class_weights={"mild": 4.0})), LOGITS.bfloat16()
    expected = float(loss(logits.float(), TARGETS))
    value = loss.bfloat16()(logits, TARGETS)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(expected, rel=2e-3)  # the shares are rounded


def test_scores_are_exact_for_batches_of_unequal_sizes():
    targets = torch.tensor([0] * 20 + [1] * 5 + [2] * 9)
    logits = torch.eye(3)[targets] + torch.randn(34, 3, generator=torch.Generator().manual_seed(0))
    predicted, scores = logits.argmax(dim=1), TASK.make_scores("val/")
    for batch in (slice(0, 3), slice(3, 34)):
        scores.update(logits[batch], targets[batch])
    kappa = cohen_kappa_score(targets, predicted, weights="quadratic")
    assert {name: float(value) for name, value in scores.compute().items()} == {
        "val/loss": pytest.approx(loss_of(logits, targets)),
        "val/accuracy": pytest.approx(float((predicted == targets).float().mean())),
        "val/quadratic_kappa": pytest.approx(kappa),
    }
