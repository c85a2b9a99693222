"""A recurrent network whose control flow depends on the content of each time step."""

import torch
from torch import Tensor, nn


class SwitchingClassifier(nn.Module):
    """Updates its hidden state by a gated cell where the input changes, and decays it elsewhere: a loop with `if`.

    Autograd records a different graph for each batch: the cell runs only for the examples and steps that are loud.
    Exports with a fixed graph (`torch.export`, ONNX) cannot represent such an `if`.
    """

    def __init__(self, in_features: int, num_classes: int, width: int = 64, threshold: float = 0.1) -> None:
        """Build the cell.

        Args:
            in_features: Values per time step.
            num_classes: Number of logits.
            width: Hidden features.
            threshold: A step is loud if any of its values differs by more than this from the last loud step's, in
                standard deviations of the training data; at 0, every step with a change is loud.
        """
        super().__init__()
        self.threshold = threshold
        self.loud = nn.GRUCell(in_features, width)
        self.quiet = nn.Parameter(torch.full((width,), 4.0))  # each quiet step keeps sigmoid(4) = 0.98 of the state
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K), from the last state and the mean state."""
        last_loud = torch.full_like(values[:, 0], torch.inf)  # the first step is loud
        hidden = values.new_zeros(len(values), self.loud.hidden_size)
        total = hidden
        for time, step in enumerate(values.unbind(dim=1)):
            is_valid = lengths > time
            is_loud = is_valid & ((step - last_loud).abs().amax(dim=1) > self.threshold)
            hidden = self.update_hidden(hidden, step, is_loud, is_valid & ~is_loud)
            last_loud = torch.where(is_loud[:, None], step, last_loud)
            total = total + hidden * is_valid[:, None]
        return self.head(torch.cat([hidden, total / lengths[:, None]], dim=1))

    def update_hidden(self, hidden: Tensor, step: Tensor, is_loud: Tensor, is_quiet: Tensor) -> Tensor:
        """Return the next states (B, width) of loud and of quiet examples, bool (B,); ended ones keep their state."""
        if is_quiet.any():
            hidden = torch.where(is_quiet[:, None], hidden * self.quiet.sigmoid(), hidden)
        if is_loud.all():
            return self.loud(step, hidden).to(hidden.dtype)
        if is_loud.any():
            rows = is_loud.nonzero().squeeze(1)
            return hidden.index_copy(0, rows, self.loud(step[rows], hidden[rows]).to(hidden.dtype))
        return hidden
