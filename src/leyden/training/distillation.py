"""A trained model as the teacher of a smaller one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.errors import UserError
from leyden.models.build import Model
from leyden.models.checkpoint import load_checkpoint
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.trust import class_paths_of


@dataclass
class Teacher:
    """Which model teaches, and how much it has to say.

    Args:
        path: A checkpoint made by `leyden fit`, of the same labels.
        temperature: Divides both models' logits before the softmax, above 0: high ones show how the teacher ranks what is wrong.
        weight: Share of the loss that follows the teacher and not the labels, in [0, 1].
        trust: Whether the checkpoint may name a network of your own other than the student's.
    """

    path: str
    temperature: float = 4.0
    weight: float = 0.7
    trust: bool = False


class Distiller:
    """Blends a loss with the distance to a teacher's answers on the same inputs.

    No module of the student's: the teacher is in no checkpoint, in no optimizer and never in training mode.
    """

    def __init__(self, teacher: Teacher, student: Model) -> None:
        """Load the teacher.

        Raises:
            UserError: if it is not there, or of other labels or another kind of data than the student.
        """
        if not Path(teacher.path).is_file():
            raise UserError(
                f"expected the teacher's checkpoint at {teacher.path}, which is not there; train it with `leyden fit`, and copy it"
            )
        if not 0 <= teacher.weight <= 1 or teacher.temperature <= 0:
            raise UserError(
                f"expected a teacher's weight in [0, 1] and a temperature above 0; got {teacher.weight} and {teacher.temperature}"
            )
        self.temperature, self.weight = teacher.temperature, teacher.weight
        loaded = load_checkpoint(
            Path(teacher.path), trust=teacher.trust, allowed_classes=class_paths_of(student.spec["network"])
        )
        self.teacher, self.student = loaded.requires_grad_(False), student
        if self.teacher.labels != student.labels:
            ours, theirs = (", ".join(model.labels) for model in (student, self.teacher))
            raise UserError(
                f"expected a teacher of the labels {ours}; {teacher.path} knows {theirs}; train it on this data"
            )
        ours, theirs = (kind_of(model) for model in (student, self.teacher))
        if ours != theirs:
            raise UserError(f"expected a teacher of {ours}; {teacher.path} is one of {theirs}; train it on this data")

    def blend(self, loss: Tensor, logits: Tensor | Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Give (1 - weight) loss + weight T^2 KL(teacher || student), both softened by the temperature T.

        Args:
            loss: What the labels say, ().
            logits: The student's (B, K), or those of several heads, whose mean distance counts.
            inputs: What the student's network saw: normalised images (B, C, H, W), or normalised values (B, T, F) and lengths (B,).

        Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.
        """
        hints = (self.answer(inputs) / self.temperature).log_softmax(dim=1)
        heads = [logits] if isinstance(logits, Tensor) else logits
        softened = [(each.float() / self.temperature).log_softmax(dim=1) for each in heads]
        distance = torch.stack(
            [F.kl_div(each, hints, reduction="batchmean", log_target=True) for each in softened]
        ).mean()
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * distance

    @torch.no_grad()
    def answer(self, inputs: Sequence[Tensor]) -> Tensor:
        """Give the teacher's logits (B, K) for what the student saw, brought from the student's normalisation and size to its own."""
        if (device := inputs[0].device) != self.teacher.preprocess.mean.device:
            self.teacher.to(device)
        mine = self.student.preprocess
        if isinstance(self.teacher, SequenceModel):
            return self.teacher(inputs[0].float() * mine.std + mine.mean, inputs[1]).float()
        assert isinstance(self.teacher, ImageModel)
        pixels = (
            inputs[0][:, : self.teacher.channels].float() * mine.std + mine.mean
        )  # one channel is all of a grey image
        if pixels.shape[2:] != self.teacher.image_size:
            pixels = F.interpolate(pixels, self.teacher.image_size, mode="bilinear", antialias=True)
        return self.teacher.network(self.teacher.preprocess.normalize(pixels)).float()


def kind_of(model: Model) -> str:
    return (
        f"images of {model.channels} channel(s)"
        if isinstance(model, ImageModel)
        else f"sequences of {model.features} features"
    )
