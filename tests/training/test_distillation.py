"""A teacher guides its student, and stays out of everything that is the student's own."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from leyden import Classifier, UserError
from leyden.cli import main
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.training.distillation import Distiller, Teacher
from leyden.training.mixing import Mixing
from tests.conftest import REPO

NETWORK = {"class_path": "leyden.models.ResNet", "init_args": {"width": 4, "depths": [1]}}
GREY = {"channels": 1, "image_size": [8, 8], "mean": [0.3], "std": [0.4]}
SEQUENCES = {"features": 2, "mean": [1.0, -1.0], "std": [2.0, 0.5]}
GRU = {"class_path": "leyden.models.GRUClassifier", "init_args": {"width": 3}}
IMAGES = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def save(path: Path, labels: list[str], facts: dict, network: dict = NETWORK) -> str:
    """Write a checkpoint of random weights."""
    torch.manual_seed(1)
    model = Classifier(network, labels, facts)
    checkpoint: dict = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    return str(path)


def distiller(path: str, student: ImageModel | SequenceModel, **settings) -> Distiller:
    return Distiller(Teacher(path, **settings), student)


def test_loss_is_the_one_of_the_paper(tmp_path):
    student = ImageModel(NETWORK, ["a", "b", "c"], GREY)
    guide = distiller(save(tmp_path / "t.ckpt", ["a", "b", "c"], GREY), student, temperature=3.0, weight=0.25)
    inputs = student.preprocess(IMAGES)
    logits = student.network(inputs)
    soft, hints = F.softmax(logits / 3, dim=1), F.softmax(guide.teacher(IMAGES) / 3, dim=1)
    expected = 0.75 * 2.0 + 0.25 * 9 * (hints * (hints.log() - soft.log())).sum(1).mean()
    assert torch.allclose(guide.blend(torch.tensor(2.0), logits, [inputs]), expected, atol=1e-6)
    both = guide.blend(torch.tensor(2.0), [logits, logits + torch.randn(3)], [inputs])
    assert not torch.allclose(both, expected) and torch.allclose(
        guide.blend(torch.tensor(2.0), [logits, logits], [inputs]), expected, atol=1e-6
    )


@pytest.mark.parametrize("theirs", [GREY, GREY | {"mean": [0.7], "std": [0.1]}, GREY | {"image_size": [16, 12]}])
def test_the_teacher_answers_as_it_would_to_the_image_itself(tmp_path, theirs):
    """Also where it was trained with another normalisation or size than the student."""
    student = ImageModel(NETWORK, ["a", "b"], GREY)
    guide = distiller(save(tmp_path / "t.ckpt", ["a", "b"], theirs), student)
    assert torch.allclose(guide.answer([student.preprocess(IMAGES)]), guide.teacher(IMAGES), atol=1e-4)


def test_a_teacher_of_rgb_networks_and_one_of_sequences_answer_too(tmp_path):
    rgb = {"class_path": "torchvision.models.resnet18"}
    student = ImageModel(rgb, ["a", "b"], GREY)
    guide = distiller(save(tmp_path / "t.ckpt", ["a", "b"], GREY, rgb), student)
    assert torch.allclose(guide.answer([student.preprocess(IMAGES)]), guide.teacher(IMAGES), atol=1e-4)
    reader = SequenceModel(GRU, ["a", "b"], SEQUENCES)
    guide = distiller(save(tmp_path / "s.ckpt", ["a", "b"], SEQUENCES | {"mean": [0.0, 0.0]}, GRU), reader)
    values, lengths = torch.randn(3, 5, 2), torch.tensor([5, 2, 1])
    assert torch.allclose(
        guide.answer([reader.preprocess(values, lengths), lengths]), guide.teacher(values, lengths), atol=1e-5
    )


def test_the_teacher_is_no_part_of_the_student(tmp_path):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    alone, taught = Classifier(NETWORK, ["a", "b"], GREY), Classifier(NETWORK, ["a", "b"], GREY, teacher=path)
    assert alone.state_dict().keys() == taught.state_dict().keys() and len(list(alone.parameters())) == len(
        list(taught.parameters())
    )
    before = {key: value.clone() for key, value in taught.distiller.teacher.state_dict().items()}
    taught.train().training_step((IMAGES, torch.tensor([0, 1] * 3)), 0).backward()
    after = taught.distiller.teacher.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before), "batch norm of the teacher has moved"
    assert all(parameter.grad is not None for parameter in taught.model.parameters())


def test_weight_one_follows_the_teacher_whatever_the_labels_say(tmp_path):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    torch.manual_seed(0)
    model = Classifier(
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
        ("other.ckpt", "expected a teacher of the labels a, b; .*other.ckpt knows a, c"),
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
        Classifier(NETWORK, ["a", "b"], GREY, teacher=teacher)


@pytest.mark.parametrize("settings", [{"weight": 1.5}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(tmp_path, settings):
    path = save(tmp_path / "t.ckpt", ["a", "b"], GREY)
    with pytest.raises(UserError, match=r"weight in \[0, 1\] and a temperature above 0"):
        distiller(path, ImageModel(NETWORK, ["a", "b"], GREY), **settings)


def test_a_student_is_trained_by_the_command_and_another_teacher_is_another_training(
    trained, tmp_path, monkeypatch, error_of
):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/prepare").symlink_to(trained / "artifacts/prepare")
    (tmp_path / "configs").symlink_to(REPO / "configs")
    monkeypatch.chdir(tmp_path)
    args = [
        "fit",
        "-c",
        "configs/train.yaml",
        "--model.teacher=t.ckpt",
        "--network.init_args.width=3",
        "--trainer.max_epochs=1",
    ]
    checkpoint = torch.load(trained / "artifacts/train/model.ckpt", weights_only=True)
    torch.save(checkpoint, "t.ckpt")
    assert main(args) == 0
    given = json.loads(Path("artifacts/train/provenance.json").read_text())["input_files"]
    assert list(given) == ["t.ckpt"] and len(list(Path("runs").iterdir())) == 1
    torch.save(checkpoint | {"epoch": 99}, "t.ckpt")
    assert main(args) == 0 and len(list(Path("runs").iterdir())) == 2
    assert "copy artifacts/train/model.ckpt first" in error_of(*args, "--model.teacher=artifacts/train/model.ckpt")
