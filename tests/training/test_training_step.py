"""Training steps under Lightning's Trainer: accumulated batches, clipped gradients, and float32 losses."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader

from leyden import SupervisedModule
from leyden.tasks.temperature import Temperature
from leyden.training.adversarial import attack
from leyden.training.mixing import Mixing
from leyden.training.schedules import Schedule
from tests.training.test_supervised_module import GREY

FP16 = "16-mixed on the CPU"


class MLP(nn.Module):
    """A network without batch norm, whose outputs do not depend on how examples are divided into batches."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 16), nn.Tanh(), nn.Linear(16, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def train(
    batches,
    precision="32-true",
    lr=0.5,
    schedule="cosine",
    epochs=2,
    classifier: dict[str, Any] | None = None,
    **options,
):
    """Train; return the model, its weights before and after, and the number of steps."""
    torch.manual_seed(0)
    network = {"class_path": f"{__name__}.MLP", "init_args": {}}
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=lr)  # noqa: E731
    model = SupervisedModule(
        network, ["a", "b"], GREY, optimizer=sgd, schedule=Schedule(schedule, warmup_fraction=0.0), **(classifier or {})
    )
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    plugins, precision = ([MixedPrecision("16-mixed", "cpu")], None) if precision == FP16 else ([], precision)
    quiet = {
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, precision=precision, plugins=plugins, **quiet, **options)
    trainer.fit(model, DataLoader(batches, batch_size=None), DataLoader(batches[:1], batch_size=None))
    after = nn.utils.parameters_to_vector(model.parameters()).detach()
    return model, before.float(), after.float(), trainer.global_step


def make_batches(count, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count * size, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (count * size,), generator=generator)
    return list(zip(images.split(size), labels.split(size), strict=True))


@pytest.mark.parametrize("count", [8, 10, 3])
def test_accumulated_batches_equal_one_large_batch_also_in_an_incomplete_group(count):
    """10 batches in groups of 4 make steps of 4, 4 and 2."""
    small = make_batches(count, 6)
    groups = [small[start : start + 4] for start in range(0, count, 4)]
    large = [tuple(torch.cat(part) for part in zip(*group, strict=True)) for group in groups]
    _, before, accumulated, steps = train(small, accumulate_grad_batches=4)
    _, _, whole, whole_steps = train(large)
    assert steps == whole_steps == 2 * len(groups)
    largest_change = (whole - before).abs().max()
    assert largest_change > 0.01
    assert (accumulated - whole).abs().max() < 1e-5 * largest_change


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_examples():
    batches = [
        tuple(part[:size] for part in batch) for batch, size in zip(make_batches(3, 16), (16, 3, 9), strict=True)
    ]
    model, *_ = train(batches, lr=1e-9, epochs=1)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert float(model.trainer.callback_metrics["train/loss"]) == pytest.approx(
        float(model.loss(model(images), labels).detach())
    )


def test_validation_scores_and_the_calibration_are_of_the_last_epochs_validation_examples_alone():
    batches = make_batches(4, 16)
    model, *_ = train(batches, epochs=3)  # which validates on the first batch
    images, labels = batches[0]
    logits, calibration = model(images).detach(), Temperature(2)
    calibration.update(logits, labels)
    assert model.model.spec["temperature"] == pytest.approx(float(calibration.compute()))
    expected = float(nn.functional.cross_entropy(logits, labels))
    assert float(model.trainer.callback_metrics["val/loss"]) == pytest.approx(expected)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", FP16])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_after_accumulation_and_unscaling(precision, algorithm):
    options = {"precision": precision, "lr": 1.0, "schedule": "constant", "epochs": 1, "accumulate_grad_batches": 2}
    clipping = {"gradient_clip_val": 0.002, "gradient_clip_algorithm": algorithm}
    _, before, unclipped, steps = train(make_batches(2, 8), **options)
    _, _, clipped, _ = train(make_batches(2, 8), **options, **clipping)
    assert steps == 1
    size = torch.linalg.vector_norm if algorithm == "norm" else lambda change: change.abs().max()
    assert size(unclipped - before) > 0.01
    assert float(size(clipped - before)) == pytest.approx(0.002, rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", FP16])
def test_losses_and_their_targets_are_float32_in_every_precision(precision, monkeypatch):
    calls = []
    cross_entropy = nn.functional.cross_entropy

    def record_dtypes(logits, targets, weight=None, **options):
        loss = cross_entropy(logits, targets, weight=weight, **options)
        floats = [logits, loss, *([] if weight is None else [weight]), *([targets] if targets.ndim == 2 else [])]
        calls.append({each.dtype for each in floats})
        return loss

    monkeypatch.setattr(nn.functional, "cross_entropy", record_dtypes)
    for extra in ({}, {"mixing": Mixing(mixup_alpha=0.4), "class_weights": {"b": 3.0}}):
        model, before, after, _ = train(make_batches(4, 16), precision, classifier=extra)
        assert next(model.parameters()).dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
        assert not torch.equal(before, after)
        assert torch.isfinite(after).all()
    assert len(calls) == 20
    assert all(dtypes == {torch.float32} for dtypes in calls)


def test_adversarial_training_makes_a_network_more_robust():
    """The first pixel predicts 90% of the labels. The others predict them better together, but are easy to attack.

    Source: Tsipras et al., "Robustness may be at odds with accuracy", 2019, section 2.1.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (256,), generator=generator)
    pixels = 0.5 + 0.04 * (2 * labels - 1)[:, None] + 0.1 * torch.randn(256, 64, generator=generator)
    pixels[:, 0] = torch.where(torch.rand(256, generator=generator) < 0.9, labels, 1 - labels)
    images = (255 * pixels.clamp(0, 1)).byte().view(256, 1, 8, 8)
    batches, accuracies = list(zip(images.split(32), labels.split(32), strict=True)), []
    for epsilon in (0.0, 0.08):
        model, *_ = train(
            batches, lr=0.1, epochs=15, classifier={"adversarial_epsilon": epsilon, "label_smoothing": 0.0}
        )
        preprocess, network = model.model.preprocess, model.model.network
        clean = preprocess(images)
        loss_of = lambda each, network=network: nn.functional.cross_entropy(network(each), labels)  # noqa: E731
        attacked = attack(clean, loss_of, 0.08, preprocess.mean, preprocess.std)
        accuracies.append([float((network(each).argmax(1) == labels).float().mean()) for each in (clean, attacked)])
    (standard_clean, standard_attacked), (robust_clean, robust_attacked) = accuracies
    assert robust_attacked > standard_attacked + 0.1
    assert standard_clean >= robust_clean > 0.7
