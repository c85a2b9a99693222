"""Dead or exploding gradients by layer, and parameters without any."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from leyden.stages.doctor.finding import Finding, named

LARGEST_NORM = 1e3  # of a layer's gradient; of a mean loss it is about 1
SMALLEST_SHARE = 1e-6  # of the largest layer's norm: float32 has 7 digits


class Gradients(Callback):
    """Follows the norm of each layer's gradient over the steps.

    It reads what backward left in the parameters: full backward hooks refuse networks with in-place activations (torchvision's).
    """

    def __init__(self) -> None:
        self.norms: dict[str, float] = {}
        self.without: set[str] = set()
        self._steps = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        empty = {
            name
            for name, parameter in pl_module.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        }
        self.without = self.without & empty if self._steps else empty
        self._steps += 1
        for name, module in pl_module.named_modules():
            grads = [parameter.grad for parameter in module.parameters(recurse=False) if parameter.grad is not None]
            if grads:
                norm = math.sqrt(sum(float(grad.float().square().sum()) for grad in grads))
                self.norms[name] = max(norm, self.norms.get(name, 0.0))

    def findings(self) -> list[Finding]:
        return [self._sizes(), self._presence()]

    def _sizes(self) -> Finding:
        check = "gradients"
        if not self.norms:
            return Finding(
                check,
                "fail",
                "no parameter has a gradient",
                "the loss must depend on the parameters: no detach(), no_grad() or argmax between",
            )
        if wild := [name for name, norm in self.norms.items() if not norm < LARGEST_NORM]:
            seen = f"exploding: norm {self.norms[wild[0]]:.2g} at {named(wild)}"
            return Finding(
                check,
                "fail",
                seen,
                "a mean for a loss, a smaller initialisation or normalisation; --trainer.gradient_clip_val=1 hides the cause",
            )
        top = max(self.norms, key=self.norms.__getitem__)
        if dead := [name for name, norm in self.norms.items() if norm == 0]:
            seen = f"zero in each of {self._steps} steps at {named(dead)}"
            return Finding(
                check,
                "fail",
                seen,
                "what comes behind it lets nothing through: a dead activation, a factor 0, a saturated function",
            )
        if faint := [name for name, norm in self.norms.items() if norm < SMALLEST_SHARE * self.norms[top]]:
            seen = f"norm {self.norms[faint[0]]:.2g} at {named(faint)}, {self.norms[top]:.2g} at {top}"
            return Finding(
                check, "warn", seen, "shortcuts, normalisation or another activation keep gradients alive through depth"
            )
        return Finding(
            check,
            "ok",
            f"{len(self.norms)} layers; norms {min(self.norms.values()):.2g} to {self.norms[top]:.2g} ({top})",
        )

    def _presence(self) -> Finding:
        check = "parameters learn"
        if self.without:
            seen = f"no gradient in {self._steps} steps for {named(sorted(self.without))}"
            return Finding(
                check,
                "fail",
                seen,
                "use them in forward, delete them, or set requires_grad = False; with several GPUs they stop the training",
            )
        return Finding(check, "ok", "each parameter that may learn has a gradient")
