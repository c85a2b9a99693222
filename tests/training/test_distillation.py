"""A teacher guides its student's loss, and is no part of the student."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from leyden import SupervisedModule, UserError
from leyden.cli import main
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.training.distillation import Distiller, Teacher
from leyden.training.mixing import Mixing
from tests.training.test_supervised_module import GREY, NETWORK

SEQUENCES = {"features": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5]}
GRU = {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 3}}
IMAGES = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def save(path: Path, labels: list[str], input: dict, network: dict = NETWORK, task: dict | None = None) -> str:
    """Write a checkpoint of random weights."""
    torch.manual_seed(1)
    model = SupervisedModule(network, labels, input, task)
    checkpoint: dict = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def test_the_loss_is_hintons(tmp_path):
    student = ImageModel(NETWORK, ["a", "b", "c"], GREY)
    path = save(tmp_path / "t.ckpt", ["a", "b", "c"], GREY)
    distiller = Distiller(Teacher(path, temperature=3.0, weight=0.25), student)
    inputs = student.preprocess(IMAGES)
    logits = student.network(inputs)
    student_probs, teacher_probs = F.softmax(logits / 3, dim=1), F.softmax(distiller.teacher(IMAGES) / 3, dim=1)
    expected = 0.75 * 2.0 + 0.25 * 9 * (teacher_probs * (teacher_probs.log() - student_probs.log())).sum(1).mean()
    assert torch.allclose(distiller.blend(torch.tensor(2.0), logits, [inputs]), expected, atol=1e-6)
    equal_heads, different_heads = [logits, logits], [logits, logits + torch.randn(3)]
    assert torch.allclose(distiller.blend(torch.tensor(2.0), equal_heads, [inputs]), expected, atol=1e-6)
    assert not torch.allclose(distiller.blend(torch.tensor(2.0), different_heads, [inputs]), expected)


@pytest.mark.parametrize(
    ("network", "teacher_input"),
    [
        (NETWORK, GREY),
        (NETWORK, GREY | {"mean": [0.7], "std": [0.1]}),
        (NETWORK, GREY | {"image_size": [16, 12]}),
        ({"class_path": "torchvision.models.resnet18"}, GREY),  # grey images in an RGB network
    ],
)
def test_the_teachers_outputs_are_those_of_the_raw_images(tmp_path, network, teacher_input):
    """Also if it was trained with a different normalisation or size than the student."""
    student = ImageModel(network, ["a", "b"], GREY)
    distiller = Distiller(Teacher(save(tmp_path / "t.ckpt", ["a", "b"], teacher_input, network)), student)
    assert torch.allclose(distiller.teacher_outputs([student.preprocess(IMAGES)]), distiller.teacher(IMAGES), atol=1e-4)


def test_the_teachers_outputs_are_those_of_the_raw_sequences(tmp_path):
    student = SequenceModel(GRU, ["a", "b"], SEQUENCES)
    path = save(tmp_path / "s.ckpt", ["a", "b"], SEQUENCES | {"mean": [0.0, 0.0]}, GRU)
    distiller = Distiller(Teacher(path), student)
    values, lengths = torch.randn(3, 5, 2), torch.tensor([5, 2, 1])
    logits = distiller.teacher_outputs([student.preprocess(values, lengths), lengths])
    assert torch.allclose(logits, distiller.teacher(values, lengths), atol=1e-5)


def test_regression_follows_the_teachers_numbers_in_their_units(tmp_path):
    task = {"name": "regression", "mean": [50.0, 0.0], "std": [10.0, 2.0]}
    student = ImageModel(NETWORK, ["a", "b"], GREY, task)
    distiller = Distiller(Teacher(save(tmp_path / "t.ckpt", ["a", "b"], GREY, task=task), weight=1.0), student)
    inputs = student.preprocess(IMAGES)
    outputs, scale = student.network(inputs), torch.tensor([10.0, 2.0])
    expected = F.huber_loss(student.output(outputs) / scale, distiller.teacher(IMAGES) / scale)
    assert torch.allclose(distiller.blend(torch.tensor(0.0), outputs, [inputs]), expected, rtol=1e-4)


def test_a_teacher_of_another_task_is_refused(tmp_path):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY, task={"name": "multilabel"})
    with pytest.raises(UserError, match=r"expected a teacher of classification; .* is one of multilabel"):
        SupervisedModule(NETWORK, ["a", "b"], GREY, teacher=path)


def test_the_teacher_is_not_a_submodule_of_the_student(tmp_path):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    plain, student = (
        SupervisedModule(NETWORK, ["a", "b"], GREY),
        SupervisedModule(NETWORK, ["a", "b"], GREY, teacher=path),
    )
    assert plain.state_dict().keys() == student.state_dict().keys()
    assert len(list(plain.parameters())) == len(list(student.parameters()))


def test_only_the_student_is_trained(tmp_path):
    student = SupervisedModule(NETWORK, ["a", "b"], GREY, teacher=save(tmp_path / "t.ckpt", ["a", "b"], GREY))
    before = {key: value.clone() for key, value in student.distiller.teacher.state_dict().items()}
    student.train().training_step((IMAGES, torch.tensor([0, 1] * 3)), 0).backward()
    after = student.distiller.teacher.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before), "the teacher's batch statistics have changed"
    assert all(parameter.grad is not None for parameter in student.model.parameters())


def test_with_a_weight_of_one_the_loss_does_not_depend_on_the_labels(tmp_path):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    torch.manual_seed(0)
    model = SupervisedModule(
        NETWORK, ["a", "b"], GREY, teacher=Teacher(path, weight=1.0, temperature=1.0), mixing=Mixing(mixup_alpha=0.2)
    )
    losses = {
        float(model.eval().training_step((IMAGES, labels), 0).detach())
        for labels in (torch.zeros(6).long(), torch.ones(6).long())
    }
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        ("nope.ckpt", "expected the teacher's checkpoint at nope.ckpt"),
        ("other.ckpt", "expected a teacher of the labels a, b; .*other.ckpt has a, c"),
        ("colour.ckpt", r"expected a teacher of images of 1 channel\(s\); .* is one of images of 3"),
        ("sequences.ckpt", "is one of sequences of 2 features"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(tmp_path, monkeypatch, teacher, expected):
    monkeypatch.chdir(tmp_path)
    save(Path("other.ckpt"), ["a", "c"], GREY)
    save(Path("colour.ckpt"), ["a", "b"], GREY | {"channels": 3, "mean": [0.3] * 3, "std": [0.4] * 3})
    save(Path("sequences.ckpt"), ["a", "b"], SEQUENCES, GRU)
    with pytest.raises(UserError, match=expected):
        SupervisedModule(NETWORK, ["a", "b"], GREY, teacher=teacher)


@pytest.mark.parametrize("settings", [{"weight": 1.5}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(tmp_path, settings):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    with pytest.raises(UserError, match=r"weight in \[0, 1\] and a temperature above 0"):
        Distiller(Teacher(path, **settings), ImageModel(NETWORK, ["a", "b"], GREY))


def test_fit_trains_a_student_and_a_different_teacher_makes_a_different_run(trained, workspace, error_of):
    args = ["fit", "--model.teacher=t.ckpt", "--network.init_args.width=3", "--trainer.max_epochs=1"]
    checkpoint = torch.load(trained / "artifacts/train/model.ckpt", weights_only=True)
    torch.save(checkpoint, "t.ckpt")
    assert main(args) == 0
    assert list(json.loads(Path("artifacts/train/provenance.json").read_text())["input_files"]) == ["t.ckpt"]
    assert len(list(Path("runs").iterdir())) == 1
    torch.save(checkpoint | {"epoch": 99}, "t.ckpt")
    assert main(args) == 0
    assert len(list(Path("runs").iterdir())) == 2
    assert "copy artifacts/train/model.ckpt first" in error_of(*args, "--model.teacher=artifacts/train/model.ckpt")
