"""The LightningModule that composes a network, a task and the training techniques."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MetricCollection

from leyden.data.fused import FusedImages
from leyden.data.replica import rank_and_world_size
from leyden.errors import UserError
from leyden.models.build import build_model
from leyden.models.image_model import ImageModel
from leyden.models.sequence_model import SequenceModel
from leyden.ranges import check_range
from leyden.tasks import load_task
from leyden.tasks.targets import LossOptions
from leyden.training.adversarial import attack
from leyden.training.distillation import Distiller, Teacher
from leyden.training.execution import Execution, apply_execution
from leyden.training.metrics import RunningMean
from leyden.training.mixing import Mixing, mix
from leyden.training.network_errors import network_errors
from leyden.training.optimizers import build_optimizer
from leyden.training.schedules import Schedule, accumulation_size, make_schedule, scale_learning_rate
from leyden.training.sharding import shard
from leyden.training.warm_start import InheritedWeights, WarmStart

# Inputs: raw images uint8 (B, C, H, W), or `FusedImages`, or values (B, T, F) and lengths (B,). Targets: the task's.
Batch = tuple[Tensor | FusedImages | Sequence[Tensor], Tensor]
AUXILIARY_WEIGHT = 0.5  # of an auxiliary head in the loss, as in torchvision's references/segmentation/train.py


class SupervisedModule(LightningModule):
    """Trains an `ImageModel` or a `SequenceModel` on a task.

    Its checkpoints are self-sufficient: `leyden.load` rebuilds the model from any of them. They contain no Lightning
    hyper-parameters, so that a checkpoint cannot override the command line.
    """

    def __init__(
        self,
        network: dict[str, Any] | None,
        labels: list[str],
        input: dict[str, Any],
        task: dict[str, Any] | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.05),
        schedule: Schedule = Schedule(),
        label_smoothing: float | None = None,
        class_weights: Literal["auto"] | dict[str, float] | None = None,
        class_counts: list[int] | None = None,
        mixing: Mixing = Mixing(),
        adversarial_epsilon: float = 0.0,
        teacher: str | Teacher | None = None,
        start_from: str | WarmStart | None = None,
        execution: Execution = Execution(),
    ) -> None:
        """Build the model.

        Args:
            network: `class_path` and `init_args` of the network (linked from the top-level `network`); null is the
                task's default.
            labels: Names of the outputs: classes, for example (linked from the data).
            input: Description of the examples by `leyden prepare` (linked from the data).
            task: Name of the task and its facts (linked from the data); null is classification.
            optimizer: Builds the optimizer from the parameters; its `lr` is the peak of the schedule.
            schedule: The learning-rate schedule.
            label_smoothing: Share of the target that is spread over all classes, in [0, 1); null is 0.1 for
                classification.
            class_weights: Weight of each class in the training loss, by name; auto is inverse to its frequency.
            class_counts: Number of training examples with each label (linked from the data).
            mixing: Mixup and CutMix.
            adversarial_epsilon: Train on adversarial examples, in which each pixel changes by at most this fraction of
                its range, in [0, 1]; 0 is off.
            teacher: Checkpoint of a model to learn from besides the labels; or path, temperature and weight.
            start_from: Checkpoint with the initial weights; or path, mode and freeze_epochs.
            execution: Memory layout, compilation and activation checkpointing.
        """
        super().__init__()
        check_range("model", "[0, 1]", adversarial_epsilon=adversarial_epsilon)
        self.task = load_task({"labels": labels, "task": task})
        network = network or self.task.default_network("features" in input)
        self.model = build_model(network, labels, input, self.task.describe())
        if getattr(self.model.network, "needs_one_label", False) and not self.task.has_one_label:
            raise UserError(
                f"expected a task with one label for each example for {type(self.model.network).__name__}; got "
                f"{self.task.name}; choose another network"
            )
        if mixing.is_on and not self.task.can_mix:
            raise UserError(f"expected no mixing for {self.task.name}; set model.mixing to 0")
        if (mixing.is_on or adversarial_epsilon) and isinstance(self.model, SequenceModel):
            raise UserError("expected images for mixing and adversarial_epsilon; got sequences; set them to 0")
        if callable(load_pretrained := getattr(self.model.network, "load_pretrained", None)):
            normalization = load_pretrained()  # not in the constructor: `leyden.load` reads no file but the checkpoint
            if isinstance(self.model, ImageModel) and normalization:
                self.model.set_normalization(normalization)
        start_from = WarmStart(start_from) if isinstance(start_from, str) else start_from
        teacher = Teacher(teacher) if isinstance(teacher, str) else teacher
        self.inherited = InheritedWeights(start_from, self.model) if start_from else None
        self.distiller = Distiller(teacher, self.model) if teacher else None
        self.input_files = [each.path for each in (start_from, teacher) if each]
        pretrained = getattr(self.model.network, "weights", None)
        if isinstance(pretrained, str) and Path(pretrained).is_file():
            self.input_files.append(pretrained)
        apply_execution(self.model, execution)
        build_optimizer(optimizer, self.parameters())  # to report wrong arguments before anything is written
        self.optimizer, self.schedule = optimizer, schedule
        self.mixing, self.adversarial_epsilon = mixing, adversarial_epsilon
        self.loss = self.task.make_loss(LossOptions(label_smoothing, class_weights, class_counts))
        self.provenance: dict[str, Any] = {}
        self.train_loss, self.calibration = RunningMean(), self.task.make_calibration()
        self.val_scores, self.test_scores = self.task.make_scores("val/"), self.task.make_scores("test/")
        self._sharded = False
        self._seed = torch.initial_seed() % 2**32  # the same in all processes, unlike the seeds during training

    def configure_model(self) -> None:
        if self.device_mesh is not None and not self._sharded:
            shard(self.model.network, self.device_mesh)
            self._sharded = True

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map uint8 images (B, C, H, W), or values (B, T, F) and lengths (B,), to the task's outputs."""
        return self.model(*inputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, targets = self.prepare_inputs(batch, batch_idx)
        if self.adversarial_epsilon:
            inputs = (self.make_adversarial(inputs[0], targets),)
        with network_errors(self.model.network):
            outputs = self.model.network(*inputs)
        loss = self._loss(outputs, targets)
        if self.distiller:
            loss = self.distiller.blend(loss, outputs, inputs)
        self.train_loss.update(loss.detach(), len(targets))
        return loss

    def prepare_inputs(self, batch: Batch, batch_idx: int) -> tuple[Sequence[Tensor], Tensor]:
        """Return the network's inputs and the targets, after the model's preprocessing and the mixing.

        The model's preprocessing alone normalises examples, in training as in prediction.

        Raises:
            UserError: if images are not raw, uint8 from 0 to 255.
        """
        inputs, labels = batch
        if isinstance(self.model, SequenceModel):
            assert not isinstance(inputs, FusedImages)
            values, lengths = inputs
            return (self.model.preprocess(values, lengths), lengths), labels
        images = self._normalize(inputs) if isinstance(inputs, FusedImages) else self.model.preprocess(inputs)
        if not self.mixing.is_on:
            return (images,), labels
        seed = [self._seed, self.current_epoch, batch_idx]
        rank, world_size = rank_and_world_size(self._trainer)
        images, targets = mix(images, self.task.soft_targets(labels), self.mixing, seed, rank, world_size)
        return (images,), targets

    def _normalize(self, images: FusedImages) -> Tensor:
        assert isinstance(self.model, ImageModel)
        preprocess = self.model.preprocess
        is_bf16 = self._trainer is not None and str(self._trainer.precision).startswith("bf16")
        dtype = torch.bfloat16 if is_bf16 else torch.float32
        normalized = preprocess.expand_channels(images.normalize(*preprocess.scale_and_shift(), dtype))
        return normalized.double() if preprocess.mean.dtype == torch.float64 else normalized

    def make_adversarial(self, images: Tensor, targets: Tensor) -> Tensor:
        """Perturb normalised images (B, C, H, W) to raise the network's loss."""
        assert isinstance(self.model, ImageModel)
        network, preprocess = self.model.network, self.model.preprocess

        def loss_of(images: Tensor) -> Tensor:
            return self._loss(network(preprocess.expand_channels(images)), targets)

        pixels = images[:, : self.model.channels]  # an expanded image has three equal channels
        return preprocess.expand_channels(
            attack(pixels, loss_of, self.adversarial_epsilon, preprocess.mean, preprocess.std)
        )

    def _loss(self, outputs: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return the loss of the network's outputs; of several heads, the mean of their losses.

        In a named tuple, as torchvision's networks return it, a head whose name begins with `aux` has less weight.
        """
        heads: list[Any] = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
        for head in heads or [None]:
            self._check_outputs(head, targets)
        losses = [self.loss(self.model.output(head.float()), targets) for head in heads]
        if len(losses) == 1:
            return losses[0]
        names = getattr(outputs, "_fields", [""] * len(heads))
        weights = [AUXILIARY_WEIGHT if name.startswith("aux") else 1.0 for name in names]
        return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)

    def _check_outputs(self, outputs: Any, targets: Tensor) -> None:
        expected = self.task.output_shape(targets)
        if not (isinstance(outputs, Tensor) and tuple(outputs.shape) == expected):
            got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise UserError(
                f"expected a network that returns outputs of shape {self.task.shape_legend}, here {expected}; got "
                f"{got}; correct its forward, or choose another network"
            )

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Average over accumulated batches: Lightning divides an epoch's last group by the size of a full one."""
        full_size, num_batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        if full_size > 1:
            batch_idx = self.trainer.fit_loop.epoch_loop.batch_idx
            loss = loss * (full_size / accumulation_size(batch_idx, full_size, num_batches))
        super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if (scored := self._score(self.val_scores, batch)) is not None and self.calibration is not None:
            self.calibration.update(*scored)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(self.test_scores, batch)

    def _score(self, scores: MetricCollection, batch: Batch) -> tuple[Tensor, Tensor] | None:
        inputs, targets = batch
        if not len(targets):
            return None  # the last batch may have fewer examples than there are processes
        assert not isinstance(inputs, FusedImages)  # only training batches are fused
        with network_errors(self.model.network):
            outputs = self(inputs) if isinstance(inputs, Tensor) else self(*inputs)
        self._check_outputs(outputs, targets)
        outputs = outputs.float()
        scores.update(outputs, targets)
        return outputs, targets

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.trainer.global_step == batch_idx == 0 and hasattr(self.model.network, "initialize"):
            self._initialize(batch, batch_idx)
        if self.inherited:
            self.inherited.freeze(self.current_epoch, drops_gradients=self.trainer.world_size > 1)

    def _initialize(self, batch: Batch, batch_idx: int) -> None:
        """Let the network initialise its weights from rank 0's first batch; inherited weights stay the same."""
        inputs, _ = self.prepare_inputs(batch, batch_idx)
        names = self.inherited.names if self.inherited else ()
        inherited = {name: value.clone() for name, value in self.model.state_dict().items() if name in names}
        self.model.network.initialize(*inputs)  # type: ignore[operator]
        self.model.load_state_dict(inherited, strict=False)
        self.model.network.load_state_dict(self.trainer.strategy.broadcast(self.model.network.state_dict()))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.inherited:
            self.inherited.drop_gradients(self.current_epoch)

    # Means are logged once, at the end of an epoch: logging each step takes as long as a small network's step.
    def on_train_epoch_end(self) -> None:
        self.log("train/loss", self.train_loss.compute(self.trainer.strategy))
        self.train_loss.reset()

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_scores.compute(), prog_bar=True)
        self.val_scores.reset()
        if self.calibration is not None:  # what it finds is part of every checkpoint
            self.model.spec |= self.task.describe_calibration(self.calibration.compute())
            self.calibration.reset()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.test_scores.compute())
        self.test_scores.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.optimizer, self.parameters())
        if self.inherited:
            self.inherited.restore_optimizer(optimizer)
        if self.schedule.scale_lr == "auto":
            scale_learning_rate(optimizer, rank_and_world_size(self.trainer)[1] * self.trainer.accumulate_grad_batches)
        num_steps = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = make_schedule(self.schedule, optimizer, num_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["leyden"] = {**self.model.spec, "provenance": self.provenance}
        checkpoint["train_loss"] = self.train_loss.gather()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        spec = checkpoint.get("leyden")
        if spec is None:
            raise UserError(
                "expected a checkpoint made by `leyden fit`; this one does not describe its network; choose another"
            )
        for part in ("network", "labels", "input"):
            if spec[part] != self.model.spec[part]:
                raise UserError(
                    f"expected a checkpoint of {part} {self.model.spec[part]}; got {spec[part]}; "
                    "set the checkpoint's own config with -c"
                )
        self.model.spec |= {key: spec[key] for key in ("temperature", "task") if key in spec}
        sums = checkpoint.get("train_loss", [[0.0, 0.0]])
        self.train_loss.restore(sums, self.global_rank, self.trainer.world_size)
