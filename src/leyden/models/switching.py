"""A recurrent network that decides by each step's content how it is read."""

import torch
from torch import Tensor, nn


class SwitchingClassifier(nn.Module):
    """Reads what happens with a gated cell, and lets its memory fade while nothing does: a plain loop with `if`.

    The graph is another for each batch, as autograd records what ran: the cell's matrices are multiplied only for the examples
    and steps that are loud. No export without a fixed graph (`torch.export`, ONNX) can follow such an `if`.
    """

    def __init__(self, in_features: int, num_classes: int, width: int = 64, threshold: float = 0.1) -> None:
        """Build the cell.

        Args:
            in_features: Values per time step.
            num_classes: Logits that come out.
            width: Hidden values.
            threshold: A step is loud where any value is farther than this from the last loud step's, in standard deviations
                of the training data; 0 reads every step that changes anything.
        """
        super().__init__()
        self.threshold = threshold
        self.loud = nn.GRUCell(in_features, width)
        self.quiet = nn.Parameter(torch.full((width,), 4.0))  # sigmoid(4) = 0.98 of the memory is kept per quiet step
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K), from the last state and the mean of all."""
        heard = torch.full_like(values[:, 0], torch.inf)  # the first step is loud
        hidden = values.new_zeros(len(values), self.loud.hidden_size)
        total = hidden
        for time, step in enumerate(values.unbind(dim=1)):
            inside = lengths > time
            is_loud = inside & ((step - heard).abs().amax(dim=1) > self.threshold)
            hidden = self.advance(hidden, step, is_loud, inside & ~is_loud)
            heard = torch.where(is_loud[:, None], step, heard)
            total = total + hidden * inside[:, None]
        return self.head(torch.cat([hidden, total / lengths[:, None]], dim=1))

    def advance(self, hidden: Tensor, step: Tensor, is_loud: Tensor, is_quiet: Tensor) -> Tensor:
        """Give the next states (B, width) of those that are loud or quiet, bool (B,); the others have ended and stay."""
        if is_quiet.any():
            hidden = torch.where(is_quiet[:, None], hidden * self.quiet.sigmoid(), hidden)
        if is_loud.all():
            return self.loud(step, hidden).to(hidden.dtype)
        if is_loud.any():
            rows = is_loud.nonzero().squeeze(1)
            return hidden.index_copy(0, rows, self.loud(step[rows], hidden[rows]).to(hidden.dtype))
        return hidden
