"""A small vision transformer whose attention can be looked at."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.ops.gelu_linear import gelu_linear


class PatchTransformer(nn.Module):
    """Pre-norm transformer over square patches, with learned positions and the mean of the patches as the image's features.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, equations 1 to 4; the mean pool is appendix D.3.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        patch_size: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        save_memory: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels; what is missing to whole patches is padded with the mean colour.
            patch_size: Side of a patch in pixels.
            width: Features of a patch, divisible by `heads`.
            depth: Blocks.
            heads: Attention heads of a block.
            save_memory: Train with `leyden.ops.gelu_linear`, which stores less for the backward pass.

        Raises:
            ValueError: if the heads do not divide the width.
        """
        super().__init__()
        if width % heads:
            raise ValueError(f"expected a width divisible by heads; got width {width} and heads {heads}; change one")
        rows, columns = (-(-side // patch_size) for side in image_size)
        self.grid = (rows, columns)
        self.padding = (0, columns * patch_size - image_size[1], 0, rows * patch_size - image_size[0])
        self.embed = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.positions = nn.Parameter(0.02 * torch.randn(1, rows * columns, width))
        self.blocks = nn.Sequential(*(Block(width, heads, save_memory) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        return self.head(self.norm(self.blocks(self.tokens(images))).mean(dim=1))

    def tokens(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to patches with their positions (B, T, width), row by row."""
        return self.embed(F.pad(images, self.padding)).flatten(2).transpose(1, 2) + self.positions

    def attention_maps(self, images: Tensor) -> Tensor:
        """Give every block's attention, (B, depth, heads, T, T): from each patch (row) to each (column), rows summing to 1."""
        tokens, maps = self.tokens(images), []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attention.weights(block.norm1(tokens)))
            tokens = block(tokens)
        return torch.stack(maps, dim=1)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside a shortcut."""

    split_columns = (
        "attention.project_in",
        "widen",
    )  # what several processes may hold parts of, by heads and by features
    split_rows = ("attention.project_out", "narrow")

    def __init__(self, width: int, heads: int, save_memory: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.widen, self.activation, self.narrow = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.save_memory = save_memory

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        wide = self.widen(self.norm2(tokens))
        # Only in training, so that what is explained and exported consists of modules and operators that everyone knows.
        if self.save_memory and self.training:
            return tokens + gelu_linear(wide, self.narrow.weight.to(wide.dtype), self.narrow.bias.to(wide.dtype))
        return tokens + self.narrow(self.activation(wide))


class Attention(nn.Module):
    """Multi-head self-attention by torch's fused kernel; `weights` computes what that kernel never stores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to the same shape."""
        mixed = F.scaled_dot_product_attention(*self.split(tokens))
        return self.project_out(mixed.transpose(1, 2).flatten(2))

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (B, T, width) to queries, keys and values, each (B, heads, T, width / heads)."""
        # Head by head, so that a part of the columns is a part of the heads.
        query, key, value = self.project_in(tokens).unflatten(2, (-1, 3, self.head_width)).permute(3, 0, 2, 1, 4)
        return query, key, value

    def weights(self, tokens: Tensor) -> Tensor:
        """Give the attention of tokens (B, T, width): (B, heads, T, T)."""
        query, key, _ = self.split(tokens)
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
