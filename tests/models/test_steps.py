"""Several steps in a call of Lightning's loop are the steps that it takes one by one."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging

from leyden import Classifier
from leyden.models import steps
from tests.models.test_training_step import FP16, make_batches, train

NUM_BATCHES = 10


class Record(Callback):
    """Keeps what a callback sees at each step, and what is in a checkpoint at its end."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.loops: list[Any] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(("start", batch_idx, trainer.global_step, float(batch[0].float().mean())))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append(("end", batch_idx, trainer.global_step, float(outputs["loss"]), rate))
        self.loops.append(trainer.fit_loop.state_dict())

    def on_validation_start(self, trainer, pl_module):
        self.seen.append(("validation", trainer.global_step))


class Inside(Callback):
    """Is called in the middle of a step."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.norms.append(float(sum(parameter.grad.norm() for parameter in pl_module.parameters())))


def both(monkeypatch, callbacks=(Record,), **options):
    """Train by single steps and by four a call; give the weights, the steps and the callbacks of each, and by which kind of step."""
    found, kinds = [], set()
    for name in ("short_step", "whole_step"):
        original = getattr(steps, name)
        monkeypatch.setattr(steps, name, lambda *args, name=name, original=original: (kinds.add(name), original(*args))[1])
    for steps_per_call in (1, 4):
        made = [make() for make in callbacks]
        classifier = {"steps_per_call": steps_per_call, "mixup_alpha": 0.4}
        _, before, after, count = train(make_batches(NUM_BATCHES, 6), callbacks=made, classifier=classifier, **options)
        assert not torch.equal(before, after)
        found.append((after, count, made))
    return (*found, kinds)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"val_check_interval": 3},
        {"limit_train_batches": 7},
        {"max_steps": 13},
        {"check_val_every_n_epoch": 2},
    ],
)
def test_weights_counters_and_checkpoints_are_those_of_single_steps(options, monkeypatch):
    (one, steps_of_one, [record_of_one]), (four, steps_of_four, [record_of_four]), kinds = both(monkeypatch, **options)
    assert torch.equal(one, four) and steps_of_one == steps_of_four
    assert record_of_one.seen == record_of_four.seen
    assert record_of_one.loops == record_of_four.loops
    assert kinds == {"short_step"}


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 0.002},
        {"accumulate_grad_batches": 4},
        {"precision": FP16},
        {"callbacks": (Record, Inside)},
    ],
)
def test_what_is_asked_for_in_the_middle_of_a_step_is_done(options, monkeypatch):
    (one, steps_of_one, made_of_one), (four, steps_of_four, made_of_four), kinds = both(monkeypatch, **options)
    assert torch.equal(one, four) and steps_of_one == steps_of_four
    assert made_of_one[0].seen == made_of_four[0].seen and made_of_one[0].loops == made_of_four[0].loops
    assert kinds == {"whole_step"}
    if len(made_of_one) > 1:
        assert made_of_one[1].norms == made_of_four[1].norms and len(made_of_one[1].norms) == steps_of_one


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model")  # that shards: this one does not
def test_averaged_weights_hear_of_every_step(monkeypatch):
    (one, *_), (four, count, [average]), kinds = both(monkeypatch, callbacks=(lambda: EMAWeightAveraging(decay=0.9),))
    assert torch.equal(one, four) and kinds == {"short_step"}
    assert average._latest_update_step == count


def test_fewer_hooks_are_called(monkeypatch):
    """What it is for: of two epochs of 10 batches, Lightning's loop sees 3 calls each."""
    calls = []

    def fetched(self, *args, original=Classifier.on_train_batch_end):
        calls.append(1)
        return original(self, *args)

    monkeypatch.setattr(Classifier, "on_train_batch_end", fetched)
    *_, count = train(make_batches(NUM_BATCHES, 6), classifier={"steps_per_call": 4})
    assert (len(calls), count) == (2 * 3, 2 * NUM_BATCHES)


def test_a_subclass_is_called_in_the_middle_of_every_step(monkeypatch):
    calls = []
    monkeypatch.setattr(Classifier, "on_after_backward", lambda self: calls.append(1))
    *_, count = train(make_batches(NUM_BATCHES, 6), classifier={"steps_per_call": 4})
    assert len(calls) == count == 2 * NUM_BATCHES


def test_a_step_of_a_subclass_may_return_what_lightning_takes(monkeypatch):
    step = Classifier.training_step

    class Own(Classifier):
        def training_step(self, batch, batch_idx):
            return {"loss": step(self, batch, batch_idx)}

    monkeypatch.setattr("tests.models.test_training_step.Classifier", Own)
    batches = make_batches(NUM_BATCHES, 6)
    (_, _, one, count), (_, _, several, same) = (train(batches, classifier={"steps_per_call": number}) for number in (1, 4))
    assert torch.equal(one, several) and count == same == 2 * NUM_BATCHES
