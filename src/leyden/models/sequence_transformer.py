"""A transformer for sequences of any length."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerClassifier(nn.Module):
    """Pre-norm transformer over the time steps, with sinusoidal positions for any length; padding has no influence.

    Source: Vaswani et al., "Attention Is All You Need", 2017, sections 3.2 and 3.5; the norms are placed as in Xiong et
    al., 2020, figure 1b.
    """

    def __init__(
        self, in_features: int, num_classes: int, width: int = 64, depth: int = 2, heads: int = 4, dropout: float = 0.0
    ) -> None:
        """Build the layers.

        Args:
            in_features: Values per time step.
            num_classes: Number of logits.
            width: Features of a step, divisible by twice the `heads`.
            depth: Number of blocks.
            heads: Attention heads of a block.
            dropout: Probability of dropping a feature in training, in [0, 1).

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
        is_valid = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        steps = self.embed(values)
        steps = steps + sinusoidal_positions(values.shape[1], steps.shape[2], values.device).to(steps.dtype)
        for block in self.blocks:
            steps = block(steps, is_valid[:, None, None])
        masked = self.norm(steps).masked_fill(~is_valid[..., None], 0.0)
        return self.head(masked.sum(dim=1) / lengths[:, None])


class Block(nn.Module):
    """Attention and a two-layer perceptron, each with a preceding norm and a shortcut."""

    # Layers that tensor parallelism splits between processes, by heads and by features.
    split_columns = ("project_in", "perceptron.0")
    split_rows = ("project_out", "perceptron.2")

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.norm1 = nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, is_valid: Tensor) -> Tensor:
        """Map steps (B, T, width) to the same shape, attending to the valid ones only, bool (B, 1, 1, T)."""
        # Columns are ordered by head, so that splitting the columns splits the heads.
        query, key, value = (
            self.project_in(self.norm1(steps)).unflatten(2, (-1, 3, self.head_width)).permute(3, 0, 2, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=is_valid)
        steps = steps + self.dropout(self.project_out(mixed.transpose(1, 2).flatten(2)))
        return steps + self.dropout(self.perceptron(self.norm2(steps)))


def sinusoidal_positions(length: int, width: int, device: torch.device) -> Tensor:
    """Return position encodings (T, width): sines and cosines with wavelengths from 2 pi to 10,000 times 2 pi."""
    frequencies = 10_000 ** -torch.arange(0, 1, 2 / width, device=device)
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
