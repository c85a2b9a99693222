"""A small residual network for small images.

Every activation is a module of its own and never in place: attribution methods hook modules, and a re-used ReLU misleads them.
"""

from torch import Tensor, nn


class ResNet(nn.Module):
    """Residual CNN whose stem fits the image: full resolution up to 32 pixels, coarser above.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 3.3.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        width: int = 32,
        depths: tuple[int, ...] = (1, 1, 1),
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            width: Channels of the first stage; each later stage has twice as many and half the resolution.
            depths: Residual blocks of each stage.
        """
        super().__init__()
        stride = stem_stride(image_size)
        kernel = max(3, 2 * stride - 1)
        self.stem = conv_norm(in_channels, width, kernel, stride)
        self.activation = nn.ReLU()
        channels = [width * 2**stage for stage in range(len(depths))]
        blocks: list[nn.Module] = []
        previous = width
        for stage, depth in enumerate(depths):
            for number in range(depth):
                blocks.append(ResidualBlock(previous, channels[stage], stride=2 if stage and not number else 1))
                previous = channels[stage]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(previous, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        features = self.blocks(self.activation(self.stem(images)))
        return self.head(self.pool(features).flatten(1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, out_channels, 3, stride)
        self.activation1 = nn.ReLU()
        self.conv2 = conv_norm(out_channels, out_channels, 3)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, stride)
        self.activation2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation2(self.conv2(self.activation1(self.conv1(x))) + self.shortcut(x))


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def stem_stride(image_size: tuple[int, int]) -> int:
    """Halve the resolution until the shorter side is at most 32 pixels or the stride is 8."""
    stride = 1
    while min(image_size) > 32 * stride and stride < 8:
        stride *= 2
    return stride
