"""The multi-label task: how labels are read and split, the loss, scores and calibration."""

import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.classification import multilabel_f1_score

from leyden.errors import UserError
from leyden.tasks import load_task
from leyden.tasks.multilabel import Multilabel
from leyden.tasks.targets import LossOptions
from tests.tasks.sources import FILE, SOURCE

TEXTS = ["cat; dog", "", " dog ;cat;dog", "mouse", ";"]
TASK = Multilabel(["cat", "dog", "mouse"])
LOGITS = torch.tensor([[0.5, 0.2, 0.9], [3.0, -2.0, 0.0], [-1.0, 4.0, 1.0]])
TARGETS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.uint8)


def test_labels_are_separated_by_semicolons_and_may_be_empty():
    assert Multilabel.from_texts(TEXTS, SOURCE).labels == ["cat", "dog", "mouse"]
    assert [TASK.encode(text, FILE).tolist() for text in TEXTS] == [[1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0] * 3]
    assert TASK.inspect(TEXTS[0], FILE) == TASK.inspect(TEXTS[2], FILE) == (["cat", "dog"], "cat;dog")


def test_data_without_any_label_is_refused():
    with pytest.raises(UserError, match="expected labels, separated by ;"):
        Multilabel.from_texts(["", " ; "], SOURCE)


def test_the_stratum_is_the_rarest_label():
    assert TASK.strata(["cat;dog", "cat", "", "cat;dog;mouse"]) == ["dog", "cat", "", "mouse"]


def test_issues_of_labels_are_found():
    labels = ["Sea", "beach", "rare", "sea", "twin a", "twin_b"]
    texts = ["sea;beach"] * 30 + ["Sea;beach;rare"] * 3 + ["twin a;twin_b"] * 40 + [""] * 2
    assert Multilabel(labels).find_issues(texts) == [
        "labels whose names look alike: 'Sea' and 'sea'",
        "labels with fewer than 20 examples: Sea (3), rare (3)",
        "labels that always occur together: Sea and rare, twin a and twin_b",
        "examples without any label: 2 of 75",
    ]
    assert Multilabel(["a"]).find_issues(["a"] * 20) == ["labels that every example has: a"]
    assert Multilabel([*"abcdefg"]).find_issues([*"abcdefg"])[0].endswith("e (1) and 2 more")
    assert Multilabel([*"abcde"]).find_issues([*"abcde"])[0].endswith("e (1)")
    assert Multilabel(["a", "b"]).find_issues(["a", "b"] * 20) == []


def test_the_loss_is_binary_cross_entropy():
    loss = TASK.make_loss(LossOptions())(LOGITS, TARGETS)
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(LOGITS, TARGETS.float()))


def test_class_weights_apply_to_examples_with_the_label():
    """Class counts of 6, 3 and 1 give automatic weights of 10/18, 10/9 and 10/3."""
    by_name, automatic = LossOptions(class_weights={"dog": 3.0}), LossOptions(None, "auto", [6, 3, 1])
    for options, weights in ((by_name, [1.0, 3.0, 1.0]), (automatic, [10 / 18, 10 / 9, 10 / 3])):
        signs, factors = 2 * TARGETS.float() - 1, torch.where(TARGETS > 0, torch.tensor(weights), 1.0)
        expected = (factors * F.softplus(-signs * LOGITS)).mean()
        assert torch.allclose(TASK.make_loss(options)(LOGITS, TARGETS), expected)


def test_label_smoothing_moves_targets_towards_a_half():
    loss = TASK.make_loss(LossOptions(label_smoothing=0.2))(LOGITS, TARGETS)
    assert torch.allclose(loss, F.binary_cross_entropy_with_logits(LOGITS, 0.1 + 0.8 * TARGETS))


@pytest.mark.parametrize("count", [1, 3])
def test_scores_take_outputs_for_logits_even_if_they_lie_between_0_and_1(count):
    """The first batch's logits are all positive: each label is predicted."""
    scores = Multilabel(TASK.labels[:count]).make_scores("val/")
    for batch in ([0], [1, 2]):
        scores.update(LOGITS[batch, :count], TARGETS[batch, :count])
    values = {name: float(value) for name, value in scores.compute().items()}
    predicted = (LOGITS[:, :count] > 0).int()
    expected = 4 / 4 if count == 1 else float(multilabel_f1_score(predicted, TARGETS, num_labels=3))
    assert values["val/f1"] == pytest.approx(expected)
    targets = TARGETS[:, :count].float()
    assert values["val/loss"] == pytest.approx(
        float(F.binary_cross_entropy_with_logits(LOGITS[:, :count], targets)), rel=1e-6
    )


def test_calibration_becomes_facts_of_the_task():
    description = {"labels": TASK.labels, **TASK.describe_calibration(torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]]))}
    assert description["task"] == {
        "name": "multilabel",
        "temperatures": [1.0, 2.0, 3.0],
        "thresholds": pytest.approx([0.1, 0.2, 0.3]),
    }
    assert load_task(description).describe() == description["task"]
    one = Multilabel(["cat"]).describe_calibration(torch.tensor([2.0, 0.25]))  # as torchmetrics squeezes one label's
    assert one["task"] == {"name": "multilabel", "temperatures": [2.0], "thresholds": [0.25]}
    assert TASK.describe() == {"name": "multilabel"}


def test_the_distance_to_a_teacher_is_the_divergence_of_each_label():
    teacher, temperature = torch.tensor([[2.0, -1.0, 0.0]] * 3), 3.0
    p, q = (torch.sigmoid(logits / temperature) for logits in (teacher, LOGITS))
    expected = 9 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert torch.allclose(TASK.distance(LOGITS, teacher, temperature), expected, atol=1e-6)


def test_balanced_sampling_is_refused():
    with pytest.raises(UserError, match=r"expected data\.sampler: uniform for multilabel"):
        TASK.sampling_weights(TARGETS.numpy())
