"""The LightningModule that trains a classification network."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from leyden.errors import UserError
from leyden.models.adversarial import attack
from leyden.models.build import build_model
from leyden.models.calibration import Temperature
from leyden.models.checkpointing import checkpoint_modules as checkpoint_parts
from leyden.models.distillation import Distiller, Teacher
from leyden.models.image_model import ImageModel
from leyden.models.mixing import mix
from leyden.models.pointwise import guard_pointwise
from leyden.models.running_mean import RunningMean
from leyden.models.schedules import Schedule, group_size, make_schedule
from leyden.models.sequence_model import SequenceModel
from leyden.models.sharding import shard
from leyden.models.starting import Inheritance, Start
from leyden.models.steps import go_on
from leyden.replica import replica

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile
Batch = tuple[Tensor | Sequence[Tensor], Tensor]  # what the model takes, one tensor or several; labels int64 (B,)


class Classifier(LightningModule):
    """Trains an `ImageModel` or a `SequenceModel` by cross-entropy, with a warmed-up cosine learning rate.

    Its checkpoints are self-sufficient: `leyden.load` rebuilds the model from any of them. It stores no Lightning
    hyper-parameters, so that a checkpoint cannot override the command line.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: dict[str, Any],
        labels: list[str],
        input: dict[str, Any],
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.05),
        warmup_fraction: float = 0.1,
        label_smoothing: float = 0.1,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        class_weights: Literal["auto"] | dict[str, float] | None = None,
        class_counts: list[int] | None = None,
        channels_last: bool = True,
        scale_lr: Literal["auto"] | None = None,
        checkpoint_modules: list[str] = [],
        teacher: str | Teacher | None = None,
        start_from: str | Start | None = None,
        schedule: Schedule = "cosine",
        adversarial_epsilon: float = 0.0,
        compile: str | None = None,
        steps_per_call: int = 1,
    ) -> None:
        """Build the model.

        Args:
            network: `class_path` and `init_args` of the network (linked from the top-level `network`).
            labels: Class names (linked from the data).
            input: What `leyden prepare` found out about the examples (linked from the data).
            optimizer: The optimizer; its `lr` is the peak of the schedule.
            warmup_fraction: Share of the steps in which the learning rate rises, in [0, 1).
            label_smoothing: Share of the target spread over all classes, in [0, 1).
            mixup_alpha: Blend pairs of training images and their labels by shares drawn from Beta(alpha, alpha); 0 is off.
            cutmix_alpha: Paste a box of one training image into another, likewise; with both on, each step draws which.
            class_weights: Weight of each class in the training loss, by name; auto weighs by the inverse of its count.
            class_counts: Training examples of each class (linked from the data).
            scale_lr: auto multiplies the rate by processes and accumulated batches, and prints it (Goyal et al., 2017, section 2.1).
            channels_last: Keep convolutions in NHWC order: several times faster with bf16 on CPUs and GPUs.
            checkpoint_modules: Class paths of the network's parts that compute their activations twice instead of storing them.
            teacher: The checkpoint of a model to learn from beside the labels; or path, temperature and weight.
            start_from: The checkpoint whose weights are the first ones; or path, mode and freeze_epochs.
            schedule: What follows the linear warm-up: a cosine or a straight line to 0, or a constant; one_cycle is torch's OneCycleLR.
            adversarial_epsilon: Train on images changed to mislead the network, each pixel by at most this share of its range; 0 is off.
            compile: Backend of torch.compile for the network, inductor say, or a mode of it, reduce-overhead say; null is off.
            steps_per_call: Steps in one call of Lightning's loop; more cost less for a small network, and change no result.
        """
        super().__init__()
        self.model = build_model(network, labels, input)
        if (mixup_alpha or cutmix_alpha or adversarial_epsilon) and isinstance(self.model, SequenceModel):
            wrong = "mixup_alpha, cutmix_alpha and adversarial_epsilon"
            raise UserError(f"expected images for {wrong}; the data holds sequences; set them to 0")
        check_range(0, 1, "[0, 1)", warmup_fraction=warmup_fraction, label_smoothing=label_smoothing)
        check_range(0, math.inf, "[0, inf)", mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha)
        check_range(1, math.inf, "[1, inf)", steps_per_call=steps_per_call)
        if not 0 <= adversarial_epsilon <= 1:
            raise UserError(f"adversarial_epsilon must lie in [0, 1]; got {adversarial_epsilon}; 0.03 of a pixel's range is usual for photographs")
        if compile and checkpoint_modules:
            raise UserError("expected compile or checkpoint_modules; torch 2.13 cannot compile parts that restore their buffers; set one to null")
        if callable(load_pretrained := getattr(self.model.network, "load_pretrained", None)):
            load_pretrained()  # here and not in the network: `leyden.load` needs no other file than the checkpoint
        start, guide = Start(start_from) if isinstance(start_from, str) else start_from, Teacher(teacher) if isinstance(teacher, str) else teacher
        self.inheritance = Inheritance(start, self.model) if start else None
        self.distiller = Distiller(guide, self.model) if guide else None
        weights = getattr(self.model.network, "weights", None)
        self.given_files = [part.path for part in (start, guide) if part] + (
            [weights] if isinstance(weights, str) and Path(weights).is_file() else []
        )
        checkpoint_parts(self.model.network, checkpoint_modules)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        guard_pointwise(self.model.network)
        if compile:
            key = "mode" if compile in COMPILE_MODES else "backend"
            self.model.network.compile(**{key: compile})  # in place: a wrapper would rename the weights in checkpoints
        self.optimizer, self.schedule, self.warmup_fraction, self.scale_lr = optimizer, schedule, warmup_fraction, scale_lr
        self.label_smoothing, self.mixup_alpha, self.cutmix_alpha = label_smoothing, mixup_alpha, cutmix_alpha
        self.adversarial_epsilon, self.steps_per_call = adversarial_epsilon, steps_per_call
        self._sharded = False
        self._seed = torch.initial_seed() % 2**32  # of all processes; in training each has a seed of its own
        self.provenance: dict[str, Any] = {}
        self.train_loss = RunningMean()
        self.register_buffer("class_weights", weigh_classes(class_weights, labels, class_counts), persistent=False)
        self.temperature = Temperature(len(labels))
        self.val_scores, self.test_scores = make_scores(len(labels), "val/"), make_scores(len(labels), "test/")

    def configure_model(self) -> None:
        if self.device_mesh is not None and not self._sharded:
            shard(self.model.network, self.device_mesh)
            self._sharded = True

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W), or values (B, T, F) and lengths (B,), to logits (B, K)."""
        return self.model(*inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = self._see(*batch, batch_idx)
        if self.adversarial_epsilon:
            inputs = self._mislead(inputs[0], targets)
        logits = self.model.network(*inputs)
        loss = self._loss(logits, targets)
        if self.distiller:
            loss = self.distiller.blend(loss, logits, inputs)
        self.train_loss.update(loss.detach(), len(targets))
        return loss

    def _see(self, inputs: Tensor | Sequence[Tensor], labels: Tensor, batch_idx: int) -> tuple[Sequence[Tensor], Tensor]:
        """Give what the network takes, and its targets; images and labels are mixed where that is asked for."""
        if not isinstance(inputs, Tensor):
            values, lengths = inputs
            return (self.model.preprocess(values, lengths), lengths), labels
        assert isinstance(self.model, ImageModel)
        # The fused input path normalises while it gathers; raw images are for the model's own preprocessing.
        preprocess = self.model.preprocess.expanded if inputs.is_floating_point() else self.model.preprocess
        images = preprocess(inputs)
        if not (self.mixup_alpha or self.cutmix_alpha):
            return (images,), labels
        seed, alphas = [self._seed, self.current_epoch, batch_idx], (self.mixup_alpha, self.cutmix_alpha)
        images, targets = mix(images, labels, len(self.model.labels), *alphas, seed, *replica(self._trainer))
        return (images,), targets

    def _mislead(self, images: Tensor, targets: Tensor) -> Sequence[Tensor]:
        """Give normalised images (B, C, H, W) that the network finds harder."""
        preprocess = self.model.preprocess
        assert isinstance(self.model, ImageModel)
        expand = self.model.preprocess.expanded

        def loss_of(images: Tensor) -> Tensor:
            return self._loss(self.model.network(expand(images)), targets)

        return (expand(attack(images[:, : self.model.channels], loss_of, self.adversarial_epsilon, preprocess.mean, preprocess.std)),)

    def _loss(self, logits: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """Give the loss of logits (B, K); where a network in training mode returns several, one for each head, the mean of theirs."""
        heads = [logits] if isinstance(logits, Tensor) else logits
        weights = None if self.class_weights is None else self.class_weights.float()  # bf16-true turns buffers too
        # Torch's mean divides by the weights of the labels that a batch happens to hold: processes and accumulated batches would differ.
        losses = [
            F.cross_entropy(each.float(), targets, weight=weights, label_smoothing=self.label_smoothing, reduction="sum") / len(targets)
            for each in heads
        ]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Weigh the last, incomplete group of accumulated batches as what it is: Lightning divides by the size of a full one."""
        group, total = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        if group > 1:
            loss = loss * (group / group_size(self.trainer.fit_loop.epoch_loop.batch_idx, group, total))
        super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if (scored := self._score(self.val_scores, batch)) is not None:
            self.temperature.update(*scored)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(self.test_scores, batch)

    def _score(self, scores: MetricCollection, batch: Batch) -> tuple[Tensor, Tensor] | None:
        inputs, labels = batch
        if not len(labels):
            return None  # the last examples of a split may not go round all processes
        logits = (self(inputs) if isinstance(inputs, Tensor) else self(*inputs)).float()
        scores["accuracy"].update(logits, labels)
        scores["balanced_accuracy"].update(logits, labels)
        scores["loss"].update(F.cross_entropy(logits, labels), len(labels))
        return logits, labels

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.trainer.global_step == batch_idx == 0 and hasattr(self.model.network, "initialize"):
            inputs, _ = self._see(*batch, batch_idx)
            taken = self.inheritance.taken if self.inheritance else ()
            inherited = {name: value.clone() for name, value in self.model.state_dict().items() if name in taken}
            self.model.network.initialize(*inputs)  # type: ignore[operator]
            self.model.load_state_dict(inherited, strict=False)
            self.model.network.load_state_dict(self.trainer.strategy.broadcast(self.model.network.state_dict()))
        if self.inheritance:
            self.inheritance.freeze(self.current_epoch, drops_gradients=self.trainer.world_size > 1)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.steps_per_call > 1:  # every callback's on_train_batch_end came before
            go_on(self, self.steps_per_call - 1, is_own=type(self).training_step is not Classifier.training_step)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.inheritance:
            self.inheritance.drop_gradients(self.current_epoch)

    # Means over the epoch are logged once, at its end: logging every step costs as much as a small network's step.
    def on_train_epoch_end(self) -> None:
        self.log("train/loss", self.train_loss.compute(self.trainer.strategy))
        self.train_loss.reset()

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_scores.compute(), prog_bar=True)
        self.val_scores.reset()
        self.model.spec["temperature"] = float(self.temperature.compute())  # checkpoints carry it
        self.temperature.reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_scores.compute())
        self.test_scores.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(self.parameters())
        if self.inheritance:
            self.inheritance.restore(optimizer)
        if self.scale_lr == "auto":
            factor = replica(self.trainer)[1] * self.trainer.accumulate_grad_batches
            for group in optimizer.param_groups:
                rank_zero_info(f"fit: learning rate {group['lr']:g} times {factor} is {group['lr'] * factor:g} (model.scale_lr: auto)")
                group["lr"] *= factor
        total = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = make_schedule(self.schedule, optimizer, total, self.warmup_fraction)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["leyden"] = {**self.model.spec, "provenance": self.provenance}
        # A checkpoint in the middle of an epoch has its half of the mean, of every process: sum and weight.
        checkpoint["train_loss"] = gather([float(self.train_loss.total), float(self.train_loss.weight)])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        theirs = checkpoint.get("leyden")
        if theirs is None:
            raise UserError("expected a checkpoint made by `leyden fit`; this one does not describe its network")
        for part in ("network", "labels", "input"):
            if theirs[part] != self.model.spec[part]:
                raise UserError(f"expected a checkpoint of {part} {self.model.spec[part]}; it holds {theirs[part]}; give its own config with -c")
        self.model.spec["temperature"] = theirs.get("temperature", 1.0)
        sums = torch.tensor(checkpoint.get("train_loss", [[0.0, 0.0]]), dtype=torch.float64)
        own = sums[self.global_rank] if len(sums) == self.trainer.world_size else sums.sum(0) * (self.global_rank == 0)
        self.train_loss.total, self.train_loss.weight = own[0].float(), int(own[1])


def check_range(low: float, high: float, shown: str, **values: float) -> None:
    """Make sure that settings lie in [low, high).

    Raises:
        UserError: if one does not.
    """
    for name, value in values.items():
        if not low <= value < high:
            raise UserError(f"{name} must lie in {shown}; got {value}; set it in the model's init_args")


def gather(value: list[float]) -> list[list[float]]:
    """Give every process's value, in the order of their ranks."""
    if not torch.distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def make_scores(num_classes: int, prefix: str) -> MetricCollection:
    accuracy = MulticlassAccuracy(num_classes, average="micro")
    balanced = MulticlassAccuracy(num_classes, average="macro")
    return MetricCollection({"loss": MeanMetric(), "accuracy": accuracy, "balanced_accuracy": balanced}, compute_groups=False, prefix=prefix)


def weigh_classes(weights: Literal["auto"] | dict[str, float] | None, labels: list[str], counts: list[int] | None) -> Tensor | None:
    """Give the loss's weight of each class (K,), with a mean of 1 over the training examples where it is automatic.

    Raises:
        UserError: if a name is no class, or a weight is below 0.
    """
    if weights is None:
        return None
    if weights == "auto":
        if counts is None:
            raise UserError("class_weights: auto needs the classes' counts, which this data does not tell; give a weight by name")
        return sum(counts) / (len(counts) * torch.tensor(counts, dtype=torch.float32))
    weights = {str(label): weight for label, weight in weights.items()}  # YAML takes a digit for a number
    if unknown := sorted(set(weights) - set(labels)):
        raise UserError(f"expected class_weights by class name ({', '.join(labels)}); got {', '.join(unknown)}; set them in configs/train.yaml")
    check_range(0, math.inf, "[0, inf)", **weights)
    return torch.tensor([float(weights.get(label, 1.0)) for label in labels])
