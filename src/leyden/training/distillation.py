"""Knowledge distillation: a trained model, the teacher, guides the training of a student."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.class_paths import class_paths_of
from leyden.errors import UserError
from leyden.models.build import Model
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.tasks import load_task


@dataclass
class Teacher:
    """The model to learn from, and how much it contributes to the loss.

    Args:
        path: A checkpoint made by `leyden fit`, of the same labels.
        temperature: Divides both models' logits, above 0: a high one emphasises how the teacher ranks the wrong
            classes. It has no effect on regression.
        weight: Share of the loss that follows the teacher instead of the labels, in [0, 1].
        trust: Whether the checkpoint may name a network of your own that differs from the student's.
    """

    path: str
    temperature: float = 4.0
    weight: float = 0.7
    trust: bool = False


class Distiller:
    """Blends a loss with the distance to the teacher's outputs on the same inputs.

    It is not a module of the student, so that the teacher is in no checkpoint, no optimizer and never in training mode.
    """

    def __init__(self, teacher: Teacher, student: Model) -> None:
        """Load the teacher.

        Raises:
            UserError: if it is not found, or has other labels or a different kind of input than the student.
        """
        if not Path(teacher.path).is_file():
            raise UserError(
                f"expected the teacher's checkpoint at {teacher.path}; not found; "
                "train it with `leyden fit` and copy it"
            )
        if not 0 <= teacher.weight <= 1 or teacher.temperature <= 0:
            raise UserError(
                f"expected a teacher's weight in [0, 1] and a temperature above 0; "
                f"got {teacher.weight} and {teacher.temperature}; correct model.teacher"
            )
        self.temperature, self.weight = teacher.temperature, teacher.weight
        loaded = load_checkpoint(
            Path(teacher.path), trust=teacher.trust, allowed_class_paths=class_paths_of(student.spec["network"])
        )
        self.teacher, self.student = loaded.requires_grad_(False), student
        if self.teacher.labels != student.labels:
            expected, got = (", ".join(model.labels) for model in (student, self.teacher))
            raise UserError(
                f"expected a teacher of the labels {expected}; {teacher.path} has {got}; train it on this data"
            )
        self.task = load_task(student.spec)
        if (name := load_task(self.teacher.spec).name) != self.task.name:
            raise UserError(f"expected a teacher of {self.task.name}; {teacher.path} is one of {name}; choose another")
        expected, got = (describe_input(model) for model in (student, self.teacher))
        if expected != got:
            raise UserError(f"expected a teacher of {expected}; {teacher.path} is one of {got}; train it on this data")

    def blend(self, loss: Tensor, outputs: Tensor | Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Return (1 - weight) loss + weight distance(student, teacher); the task defines the distance of outputs.

        Outputs are those of the student's network, or of its heads, whose distances are averaged. Inputs are the
        student's: normalised images (B, C, H, W), or normalised values (B, T, F) and lengths (B,).
        """
        heads = [outputs] if isinstance(outputs, Tensor) else outputs
        targets = self.teacher_outputs(inputs)
        distances = [self.task.distance(self.student.output(each.float()), targets, self.temperature) for each in heads]
        return (1 - self.weight) * loss + self.weight * torch.stack(distances).mean()

    @torch.no_grad()
    def teacher_outputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the teacher's outputs, (B, K) or (B, K, H, W), for the student's inputs.

        The teacher normalises and resizes them as it was trained.
        """
        if (device := inputs[0].device) != self.teacher.preprocess.mean.device:
            self.teacher.to(device)
        own = self.student.preprocess
        if isinstance(self.teacher, SequenceModel):
            return self.teacher(inputs[0].float() * own.std + own.mean, inputs[1]).float()
        assert isinstance(self.teacher, ImageModel)
        # The channels of an expanded grey image are equal: one of them is the whole image.
        pixels = inputs[0][:, : self.teacher.channels].float() * own.std + own.mean
        if pixels.shape[2:] != self.teacher.image_size:
            pixels = F.interpolate(pixels, self.teacher.image_size, mode="bilinear", antialias=True)
        outputs = self.teacher.output(self.teacher.network(self.teacher.preprocess.normalize(pixels)).float())
        if self.task.is_dense and outputs.shape[2:] != inputs[0].shape[2:]:
            outputs = F.interpolate(outputs, inputs[0].shape[2:], mode="bilinear")
        return outputs


def describe_input(model: Model) -> str:
    if isinstance(model, ImageModel):
        return f"images of {model.channels} channel(s)"
    return f"sequences of {model.features} features"
