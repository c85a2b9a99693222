"""Vanishing or exploding gradients by layer, and parameters without a gradient."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from leyden.stages.doctor.finding import Finding, join_names

MAX_NORM = 1e3  # of a layer's gradient; with a mean loss it is about 1
MIN_RELATIVE_NORM = 1e-6  # to the layer with the largest norm: float32 has 7 digits


class GradientMonitor(Callback):
    """Records the largest norm of each layer's gradient.

    It reads the gradients of the parameters, because networks with in-place activations (torchvision's) do not allow
    full backward hooks.
    """

    def __init__(self) -> None:
        self.norms: dict[str, float] = {}
        self.without_gradient: set[str] = set()  # parameters, in every step
        self._num_steps = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        trainable = {name: each for name, each in pl_module.named_parameters() if each.requires_grad}
        missing = {name for name, parameter in trainable.items() if parameter.grad is None}
        self.without_gradient = self.without_gradient & missing if self._num_steps else missing
        self._num_steps += 1
        for name, module in pl_module.named_modules():
            grads = [parameter.grad for parameter in module.parameters(recurse=False) if parameter.grad is not None]
            if grads:
                norm = math.sqrt(sum(float(grad.float().square().sum()) for grad in grads))
                self.norms[name] = max(norm, self.norms.get(name, 0.0))

    def check_norms(self) -> Finding:
        if not self.norms:
            advice = "the loss must depend on the parameters: remove detach(), no_grad() or argmax between them"
            return Finding("fail", "no parameter has a gradient", advice)
        if exploding := [name for name, norm in self.norms.items() if not norm < MAX_NORM]:
            return Finding(
                "fail",
                f"exploding: norm {self.norms[exploding[0]]:.2g} at {join_names(exploding)}",
                "use the mean as a loss, a smaller initialisation or normalisation; "
                "--trainer.gradient_clip_val=1 hides the cause",
            )
        if zero := [name for name, norm in self.norms.items() if norm == 0]:
            advice = "a later layer blocks gradients: a dead activation, a factor 0 or a saturated function"
            return Finding("fail", f"zero in each of {self._num_steps} steps at {join_names(zero)}", advice)
        largest = max(self.norms, key=self.norms.__getitem__)
        max_norm = self.norms[largest]
        if vanishing := [name for name, norm in self.norms.items() if norm < MIN_RELATIVE_NORM * max_norm]:
            observation = f"norm {self.norms[vanishing[0]]:.2g} at {join_names(vanishing)}, {max_norm:.2g} at {largest}"
            return Finding("warn", observation, "use residual connections, normalisation or a different activation")
        min_norm = min(self.norms.values())
        return Finding("ok", f"{len(self.norms)} layers; norms {min_norm:.2g} to {max_norm:.2g} ({largest})")

    def check_missing(self) -> Finding:
        if self.without_gradient:
            names = join_names(sorted(self.without_gradient))
            advice = "use them in forward, delete them, or set requires_grad = False; they fail with several GPUs"
            return Finding("fail", f"no gradient in {self._num_steps} steps for {names}", advice)
        return Finding("ok", "each trainable parameter has a gradient")
