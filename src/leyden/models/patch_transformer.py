"""A small vision transformer that exposes its attention maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.ops.gelu_linear import gelu_linear


class PatchTransformer(nn.Module):
    """Pre-norm transformer over square patches with learned positions; its head reads the mean of the patches.

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
            image_size: Height and width of the images in pixels, padded with the mean colour to whole patches.
            patch_size: Side of a patch in pixels.
            width: Features of a patch, divisible by `heads`.
            depth: Number of blocks.
            heads: Attention heads of a block.
            save_memory: Whether to train with `leyden.ops.gelu_linear`, which stores less for the backward pass.

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
        return self.head(self.norm(self.blocks(self.embed_patches(images))).mean(dim=1))

    def embed_patches(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to embedded patches plus their positions (B, T, width), row by row."""
        return self.embed(F.pad(images, self.padding)).flatten(2).transpose(1, 2) + self.positions

    def attention_maps(self, images: Tensor) -> Tensor:
        """Return each block's attention from patches (rows) to patches (columns): (B, depth, heads, T, T)."""
        tokens, maps = self.embed_patches(images), []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attention.compute_weights(block.norm1(tokens)))
            tokens = block(tokens)
        return torch.stack(maps, dim=1)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each with a preceding norm and a shortcut."""

    # Layers that tensor parallelism splits between processes, by heads and by features.
    split_columns = ("attention.project_in", "widen")
    split_rows = ("attention.project_out", "narrow")

    def __init__(self, width: int, heads: int, save_memory: bool) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, self.widen = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.activation, self.narrow = nn.GELU(), nn.Linear(4 * width, width)
        self.save_memory = save_memory

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        wide = self.widen(self.norm2(tokens))
        # Only in training: explanations and exports need standard modules and operators.
        if self.save_memory and self.training:
            return tokens + gelu_linear(wide, self.narrow.weight.to(wide.dtype), self.narrow.bias.to(wide.dtype))
        return tokens + self.narrow(self.activation(wide))


class Attention(nn.Module):
    """Multi-head self-attention by torch's fused kernel, which does not return its weights."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to the same shape."""
        mixed = F.scaled_dot_product_attention(*self.project(tokens))
        return self.project_out(mixed.transpose(1, 2).flatten(2))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (B, T, width) to queries, keys and values, each (B, heads, T, width / heads)."""
        # Columns are ordered by head, so that splitting the columns splits the heads.
        query, key, value = self.project_in(tokens).unflatten(2, (-1, 3, self.head_width)).permute(3, 0, 2, 1, 4)
        return query, key, value

    def compute_weights(self, tokens: Tensor) -> Tensor:
        """Compute the attention weights of tokens (B, T, width): (B, heads, T, T), with rows that sum to 1."""
        query, key, _ = self.project(tokens)
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
