"""A recurrent network for sequences of any length."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence


class GRUClassifier(nn.Module):
    """Reads each sequence in both directions up to its own end; what stands behind the end has no influence.

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
            num_classes: Logits that come out.
            width: Hidden values per direction.
            num_layers: Layers that read one another.
            dropout: Share of the last states that is dropped in training, in [0, 1).
            tbptt_steps: Steps after which gradients end, in training: what is read is the same, what is learned from is the last
                (of the backward direction, the first) so many steps at most. Null learns from all.

        Raises:
            ValueError: if tbptt_steps is below 1.
        """
        super().__init__()
        if tbptt_steps is not None and tbptt_steps < 1:
            raise ValueError(f"expected tbptt_steps of at least 1, or null; got {tbptt_steps}")
        self.tbptt_steps = tbptt_steps
        self.gru = nn.GRU(in_features, width, num_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K)."""
        if not torch.jit.is_scripting():  # which keeps packed sequences as they are; torch.export has none
            if torch.compiler.is_exporting():
                return self.head(self.read_both_ways(values, lengths, None))
            if self.training and self.tbptt_steps:
                return self.head(self.dropout(self.read_both_ways(values, lengths, self.tbptt_steps)))
        packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.head(self.dropout(torch.cat([last[-2], last[-1]], dim=1)))

    def read_both_ways(self, values: Tensor, lengths: Tensor, num_steps: int | None) -> Tensor:
        """Give the last states (B, 2 width) of values (B, T, F), with the hidden state detached every so many steps.

        Source: Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories", 1990.
        """
        time = torch.arange(values.shape[1], device=values.device)
        ends = lengths.to(values.device)[:, None]
        backwards = torch.where(time < ends, ends - 1 - time, time)  # its own inverse; padding stays where it is
        last = (ends - 1)[..., None].expand(-1, -1, self.gru.hidden_size)
        for layer in range(self.gru.num_layers):
            forward = self.read_one_way(values, f"l{layer}", num_steps)
            backward = self.read_one_way(reorder(values, backwards), f"l{layer}_reverse", num_steps)
            values = torch.cat([forward, reorder(backward, backwards)], dim=2)
        return torch.cat([states.gather(1, last).squeeze(1) for states in (forward, backward)], dim=1)

    def read_one_way(self, values: Tensor, name: str, num_steps: int | None) -> Tensor:
        """Give the states (B, T, width) of one layer and direction."""
        weights = [getattr(self.gru, f"{kind}_{name}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        if num_steps is None:
            return scan_steps(values, *weights)
        hidden, states = values.new_zeros(1, len(values), self.gru.hidden_size), []
        for part in values.split(num_steps, dim=1):
            state, hidden = torch.gru(
                part, hidden.detach(), weights, True, 1, 0.0, True, False, True
            )  # what nn.GRU calls
            states.append(state)
        return torch.cat(states, dim=1)


def reorder(values: Tensor, order: Tensor) -> Tensor:
    """Take the steps of values (B, T, F) in an order (B, T)."""
    return values.gather(1, order[..., None].expand_as(values))


def scan_steps(
    values: Tensor, weight_in: Tensor, weight_hidden: Tensor, bias_in: Tensor, bias_hidden: Tensor
) -> Tensor:
    """Give a GRU's states (B, T, width) for values (B, T, F) by a loop of any length: exported, torch's own GRU has a fixed one.

    Source: the equations of torch.nn.GRU.
    """
    from torch._higher_order_ops.scan import scan

    def step(hidden: Tensor, arrived: Tensor) -> tuple[Tensor, Tensor]:
        reset_in, update_in, new_in = arrived.chunk(3, dim=1)
        reset, update, new = F.linear(hidden, weight_hidden, bias_hidden).chunk(3, dim=1)
        update = (update_in + update).sigmoid()
        new = (new_in + (reset_in + reset).sigmoid() * new).tanh()
        hidden = new + update * (hidden - new)
        return hidden, hidden.clone()  # scan wants tensors that share no memory

    start = values.new_zeros(values.shape[0], weight_hidden.shape[1])
    return scan(step, start, F.linear(values, weight_in, bias_in).transpose(0, 1))[1].transpose(0, 1)
