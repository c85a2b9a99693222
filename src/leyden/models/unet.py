"""A small U-Net: one class for each pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leyden.models.resnet import conv_norm


class UNet(nn.Module):
    """An encoder that halves the resolution, and a decoder that restores it with the encoder's features at each level.

    It accepts images of any size, and its logits have the images' size. What differs from the paper: convolutions are
    padded and followed by batch norm, convolutions with stride 2 replace the pools, and the decoder repeats pixels
    (nearest neighbour) after a 1x1 convolution, since transposed convolutions cause checkerboard patterns. The paper's
    size is width=64, depth=4.

    Source: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, figure 1.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 16, depth: int = 3, dropout: float = 0.0
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits of each pixel.
            width: Channels at full resolution; each level below has twice as many.
            depth: Number of times that the resolution is halved.
            dropout: Probability of dropping a value of the lowest resolution in training, in [0, 1].
        """
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoder = nn.ModuleList([conv_block(in_channels, width)])
        self.encoder.extend(conv_block(width // 2, width, stride=2) for width in widths[1:])
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.ModuleList(UpBlock(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K, H, W)."""
        features: list[Tensor] = []
        x = images
        for down in self.encoder:
            x = down(x)
            features.append(x)
        x = self.dropout(features.pop())
        for up in self.decoder:
            x = up(x, features.pop())
        return self.head(x)


class UpBlock(nn.Module):
    """Upsamples features to the size of the encoder's, joins both and convolves them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, out_channels, 1)
        self.convolve = conv_block(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        upsampled = F.interpolate(self.reduce(x), size=skip.shape[2:], mode="nearest")
        return self.convolve(torch.cat([skip, upsampled], dim=1))


def conv_block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(in_channels, out_channels, 3, stride),
        nn.ReLU(),
        conv_norm(out_channels, out_channels, 3),
        nn.ReLU(),
    )
