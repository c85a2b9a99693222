"""Muon for matrices and convolution kernels and AdamW for all other parameters, in one optimizer."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from leyden.training.devices import computes_bf16_natively


class Muon(torch.optim.AdamW):
    """Updates by orthogonalised momentum, in the scale of AdamW's updates: both share a learning rate and weight decay.

    torch.optim.Muon accepts only matrices and leaves the rest to a second optimizer. Here kernels are flattened to
    (out, in * H * W), and AdamW updates all other parameters and the network's last matrix, its head.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of the update is
    that of Liu et al., "Muon is Scalable for LLM Training", 2025, equation 4.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 4e-3,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Divide the parameters between Muon and AdamW.

        Args:
            params: The network's parameters in their order.
            lr: Learning rate of both.
            weight_decay: Decoupled weight decay of both.
            momentum: Nesterov momentum of Muon.
            betas: Coefficients of AdamW's running averages.
            eps: Term added to AdamW's denominator.
        """
        parameters = list(params)
        matrices = [parameter for parameter in parameters if parameter.ndim in (2, 4)][:-1]
        matrix_ids = {id(parameter) for parameter in matrices}
        rest = [parameter for parameter in parameters if id(parameter) not in matrix_ids]
        groups: list[dict[str, Any]] = [{"params": rest, "momentum": 0.0}]
        if matrices:
            groups.append({"params": matrices, "momentum": momentum})
        super().__init__(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups[1:]:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_matrix(parameter, parameter.grad, group)
        self.param_groups = groups[:1]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
            state["step"] = torch.zeros(())  # AdamW requires it in the state that it loads
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalize(gradient.lerp(average, group["momentum"]).flatten(1))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view(parameter.shape), alpha=-0.2 * group["lr"] * max(update.shape) ** 0.5)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Move the singular values of a matrix (M, N) close to 1 by a quintic Newton-Schulz iteration.

    It is computed in bfloat16 where the device does so natively, else in float32.

    Source: Jordan et al., 2024, as in torch.optim.Muon.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(torch.bfloat16 if computes_bf16_natively(matrix.device.type) else torch.float32)
    is_wide = x.shape[0] <= x.shape[1]
    x = x if is_wide else x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x if is_wide else x.T).to(matrix.dtype)
