"""A recurrent network for sequences of any length."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


class GRUClassifier(nn.Module):
    """Reads each sequence in both directions up to its own end; what stands behind the end has no influence.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014, section 2.3.
    """

    def __init__(self, in_features: int, num_classes: int, width: int = 64, num_layers: int = 1, dropout: float = 0.0) -> None:
        """Build the layers.

        Args:
            in_features: Values per time step.
            num_classes: Logits that come out.
            width: Hidden values per direction.
            num_layers: Layers that read one another.
            dropout: Share of the last states that is dropped in training, in [0, 1).
        """
        super().__init__()
        self.gru = nn.GRU(in_features, width, num_layers, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K)."""
        packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.gru(packed)
        return self.head(self.dropout(torch.cat([last[-2], last[-1]], dim=1)))
