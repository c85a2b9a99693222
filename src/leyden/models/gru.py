"""A recurrent network for sequences of any length."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence


class GRUClassifier(nn.Module):
    """Bidirectional GRU over each sequence up to its length; padding has no influence.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, section 2.3.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        width: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        tbptt_steps: int | None = None,
    ) -> None:
        """Build the layers.

        Args:
            in_features: Values per time step.
            num_classes: Number of logits.
            width: Hidden features per direction.
            num_layers: Stacked layers.
            dropout: Probability of dropping a feature of the last states in training, in [0, 1).
            tbptt_steps: Steps after which backpropagation through time is truncated in training: outputs stay the same,
                but gradients reach at most the last (in the backward direction, the first) so many steps. Null does not
                truncate.

        Raises:
            ValueError: if tbptt_steps is below 1.
        """
        super().__init__()
        if tbptt_steps is not None and tbptt_steps < 1:
            raise ValueError(f"expected tbptt_steps of at least 1, or null; got {tbptt_steps}; change it")
        self.tbptt_steps = tbptt_steps
        self.gru = nn.GRU(in_features, width, num_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K)."""
        if not torch.jit.is_scripting():  # TorchScript supports packed sequences, torch.export does not
            if torch.compiler.is_exporting():
                return self.head(self.run_bidirectional(values, lengths, None))
            if self.training and self.tbptt_steps:
                return self.head(self.dropout(self.run_bidirectional(values, lengths, self.tbptt_steps)))
        packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.head(self.dropout(torch.cat([last[-2], last[-1]], dim=1)))

    def run_bidirectional(self, values: Tensor, lengths: Tensor, num_steps: int | None) -> Tensor:
        """Return the last states (B, 2 width) for values (B, T, F), with the hidden state detached every `num_steps`.

        Source: Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
        trajectories", 1990.
        """
        time = torch.arange(values.shape[1], device=values.device)
        ends = lengths.to(values.device)[:, None]
        # Padding keeps its place; applied twice, the order is restored.
        reversed_order = torch.where(time < ends, ends - 1 - time, time)
        last = (ends - 1)[..., None].expand(-1, -1, self.gru.hidden_size)
        for layer in range(self.gru.num_layers):
            forward = self.run_direction(values, f"l{layer}", num_steps)
            backward = self.run_direction(reorder(values, reversed_order), f"l{layer}_reverse", num_steps)
            values = torch.cat([forward, reorder(backward, reversed_order)], dim=2)
        return torch.cat([states.gather(1, last).squeeze(1) for states in (forward, backward)], dim=1)

    def run_direction(self, values: Tensor, name: str, num_steps: int | None) -> Tensor:
        """Return the states (B, T, width) of one layer and direction, given the suffix of its weights' names."""
        weights = [getattr(self.gru, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        if num_steps is None:
            return scan_gru(values, *weights)
        hidden, states = values.new_zeros(1, len(values), self.gru.hidden_size), []
        for part in values.split(num_steps, dim=1):
            # The function that nn.GRU calls.
            state, hidden = torch.gru(part, hidden.detach(), weights, True, 1, 0.0, True, False, True)
            states.append(state)
        return torch.cat(states, dim=1)


def reorder(values: Tensor, order: Tensor) -> Tensor:
    """Reorder the steps of values (B, T, F) by indices (B, T)."""
    return values.gather(1, order[..., None].expand_as(values))


def scan_gru(values: Tensor, weight_in: Tensor, weight_hidden: Tensor, bias_in: Tensor, bias_hidden: Tensor) -> Tensor:
    """Compute a GRU's states (B, T, width) for values (B, T, F) in a loop that torch.export keeps.

    An exported torch.nn.GRU would be unrolled for one fixed length.

    Source: the equations of torch.nn.GRU.
    """
    from torch._higher_order_ops.scan import scan

    def step(hidden: Tensor, projected: Tensor) -> tuple[Tensor, Tensor]:
        reset_in, update_in, new_in = projected.chunk(3, dim=1)
        reset, update, new = F.linear(hidden, weight_hidden, bias_hidden).chunk(3, dim=1)
        update = (update_in + update).sigmoid()
        new = (new_in + (reset_in + reset).sigmoid() * new).tanh()
        hidden = new + update * (hidden - new)
        return hidden, hidden.clone()  # scan requires tensors that share no memory

    start = values.new_zeros(values.shape[0], weight_hidden.shape[1])
    return scan(step, start, F.linear(values, weight_in, bias_in).transpose(0, 1))[1].transpose(0, 1)
