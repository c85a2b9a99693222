"""A transformer for sequences of any length."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerClassifier(nn.Module):
    """Pre-norm transformer over the steps, with sinusoidal positions for any length; what stands behind an end has no influence.

    Source: Vaswani et al., "Attention Is All You Need", 2017, sections 3.2 and 3.5; the norms' place is of Xiong et al., 2020, figure 1b.
    """

    def __init__(
        self, in_features: int, num_classes: int, width: int = 64, depth: int = 2, heads: int = 4, dropout: float = 0.0
    ) -> None:
        """Build the layers.

        Args:
            in_features: Values per time step.
            num_classes: Logits that come out.
            width: Features of a step, divisible by twice the `heads`.
            depth: Blocks.
            heads: Attention heads of a block.
            dropout: Share of each block's features that is dropped in training, in [0, 1).

        Raises:
            ValueError: if twice the heads does not divide the width.
        """
        super().__init__()
        if width % (2 * heads):
            raise ValueError(
                f"expected a width divisible by twice the heads; got width {width} and heads {heads}; change one"
            )
        self.embed = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map values (B, T, F) and lengths (B,) to logits (B, K)."""
        inside = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        steps = self.embed(values)
        steps = steps + positions(values.shape[1], steps.shape[2], values.device).to(steps.dtype)
        for block in self.blocks:
            steps = block(steps, inside[:, None, None])
        kept = self.norm(steps).masked_fill(~inside[..., None], 0.0)
        return self.head(kept.sum(dim=1) / lengths[:, None])


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside a shortcut."""

    split_columns = ("project_in", "perceptron.0")  # what several processes may hold parts of, by heads and by features
    split_rows = ("project_out", "perceptron.2")

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm1, self.project_in, self.project_out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, inside: Tensor) -> Tensor:
        """Map steps (B, T, width), of which those inside, bool (B, 1, 1, T), are looked at, to the same shape."""
        # Head by head, so that a part of the columns is a part of the heads.
        query, key, value = (
            self.project_in(self.norm1(steps)).unflatten(2, (-1, 3, self.head_width)).permute(3, 0, 2, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=inside)
        steps = steps + self.dropout(self.project_out(mixed.transpose(1, 2).flatten(2)))
        return steps + self.dropout(self.perceptron(self.norm2(steps)))


def positions(length: int, width: int, device: torch.device) -> Tensor:
    """Give sines and cosines of each step's number (T, width), of wavelengths from 2 pi to 10,000 times that: none is learned, none is missing."""
    rates = 10_000 ** -torch.arange(0, 1, 2 / width, device=device)
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
