"""Every task keeps its interface: targets, loss, scores and calibration fit one another, and a reader its outputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from leyden.data.packed import read_examples, read_report
from leyden.errors import UserError
from leyden.outputs import load_reader
from leyden.tasks import TASKS, load_task, task_class
from leyden.tasks.targets import LossOptions
from tests.outputs.values import values_of
from tests.tasks.sources import FILE

Prepared = Callable[..., Path]


def outputs_for(task, targets: np.ndarray) -> torch.Tensor:
    """Draw outputs of a network for some targets."""
    shape = task.output_shape(torch.from_numpy(targets))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=TASKS)
def case(request: pytest.FixtureRequest, prepared: Prepared):
    """Return a task, its description, and the packed training targets."""
    folder = prepared(request.param) / "artifacts/prepare"
    report = read_report(folder)
    return load_task(report), report, np.array(read_examples(folder, "train").targets)


@pytest.mark.parametrize("load", [load_task, load_reader])
@pytest.mark.parametrize("name", ["nothing", "", "../reader", "reader.x"])
def test_an_unknown_task_is_refused(load, name):
    with pytest.raises(UserError, match=r"expected a (known )?task.*; got"):
        load({"labels": ["a"], "task": {"name": name}})


@pytest.mark.parametrize("load", [load_task, load_reader])
@pytest.mark.parametrize("name", TASKS)
def test_unknown_facts_are_refused(load, name):
    with pytest.raises(UserError, match=f"expected a valid description of the task {name}; got .*flavour"):
        load({"labels": ["a", "b"], "task": {"name": name, "flavour": 1}})


def test_without_a_task_it_is_classification():
    assert load_task({"labels": ["a"]}).name == load_reader({"labels": ["a"]}).name == "classification"


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_reader_that_agrees_with_it(name):
    task, reader = task_class(name), type(load_reader({"labels": ["a", "b"], "task": {"name": name}}))
    assert (task.name, reader.name) == (name, name)
    for attribute in ("noun", "has_one_label", "is_dense"):
        assert getattr(task, attribute) == getattr(reader, attribute)
    assert getattr(task(["a", "b"]).make_calibration(), "coverage", None) == reader.coverage


def test_targets_are_packed_as_the_task_says(case):
    task, report, targets = case
    assert targets.dtype == task.dtype
    assert targets.shape[1:] == task.target_shape(tuple(report["stored_size"]))
    for index in range(len(task.labels)):
        rows = task.rows_with(targets, index)
        assert len(rows) and set(rows) <= set(range(len(targets)))


@pytest.mark.parametrize("name", [name for name in TASKS if not task_class(name).folders])
def test_targets_are_the_texts_of_the_manifest(name, prepared):
    """Encoded, and read again from the cells of a table, they are the same."""
    folder = prepared(name) / "artifacts/prepare"
    report = read_report(folder)
    task, reader = load_task(report), load_reader(report)
    targets = np.array(read_examples(folder, "train").targets)
    texts = [";".join(row.values()) for row in reader.target_rows(targets)]
    assert np.array_equal(np.stack([task.encode(text, FILE) for text in texts]), targets)


def test_a_description_is_plain_and_complete(case):
    task, report, _ = case
    described = json.loads(json.dumps(task.describe()))
    assert described == report["task"]
    assert load_task({"labels": task.labels, "task": described}).describe() == described


def test_the_loss_is_a_number_with_a_gradient(case):
    task, _, targets = case
    outputs = outputs_for(task, targets).requires_grad_()
    loss = task.make_loss(LossOptions())(task.make_output()(outputs), torch.from_numpy(targets))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad.abs().sum() > 0


def test_mixed_targets_of_equal_examples_have_their_loss(case):
    task, _, targets = case
    if not task.can_mix:
        pytest.skip("targets of this task cannot be mixed")
    outputs, loss = task.make_output()(outputs_for(task, targets)), task.make_loss(LossOptions())
    soft = task.soft_targets(torch.from_numpy(targets))
    assert soft.dtype == torch.float32
    assert torch.allclose(loss(outputs, soft), loss(outputs, torch.from_numpy(targets)))


def test_the_distance_to_equal_outputs_is_zero(case):
    task, _, targets = case
    outputs = outputs_for(task, targets)
    assert float(task.distance(outputs, outputs, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(task.distance(outputs, outputs.flip(1) + 0.5 * outputs, 2.0)) > 1e-3


def test_scores_have_the_value_by_which_epochs_are_compared(case):
    task, _, targets = case
    scores = task.make_scores("val/")
    scores.update(outputs_for(task, targets), torch.from_numpy(targets))
    values = scores.compute()
    assert task.monitor in values
    assert all(name.startswith("val/") and torch.isfinite(value) for name, value in values.items())


def test_a_reader_reads_what_a_calibrated_model_returns(case):
    task, report, targets = case
    outputs, calibration = task.make_output()(outputs_for(task, targets)), task.make_calibration()
    assert (calibration is None) == task.is_dense
    if calibration is not None:
        calibration.update(outputs, torch.from_numpy(targets))
        report = report | task.describe_calibration(calibration.compute())
        assert load_task(report).describe() == json.loads(json.dumps(report["task"]))
    reader, array = load_reader(report), outputs.numpy()
    decisions = reader.decide(array)
    assert decisions.shape == targets.shape
    assert np.can_cast(decisions.dtype, targets.dtype, "same_kind")
    assert (reader.errors(array, decisions) == 0).all()
    assert reader.errors(array, targets).shape == (len(targets),)
    assert reader.errors(array, targets).max() > 0
    assert (reader.agreement(array, array) == 1).all()
    assert reader.headline in values_of(reader, array, targets)
    assert [list(row) for row in reader.rows(array, 3)] == [reader.columns(3)] * len(targets)
    assert len(reader.target_rows(targets)) == len(targets)


def test_what_is_explained_has_a_number_for_each_label(case):
    task, report, targets = case
    reader, outputs = load_reader(report), outputs_for(task, targets)
    reference = reader.reference(outputs)
    for values in (reader.explained_outputs(outputs, reference), reader.response(outputs, reference)):
        assert values.shape == (len(targets), len(task.labels))
    labels = reader.explained_labels(outputs.numpy())
    assert len(labels) == len(targets)
    assert all(each and set(each) <= set(range(len(task.labels))) for each in labels)
