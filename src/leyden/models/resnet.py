"""A small residual network for small images.

Every activation is a separate module and never in place: attribution methods hook modules, and a reused ReLU gives
wrong results.
"""

from torch import Tensor, nn


class ResNet(nn.Module):
    """Residual CNN whose stem depends on the image size: full resolution up to 32 pixels, downsampled above.

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
        self.stem = conv_norm(in_channels, width, max(3, 2 * stride - 1), stride)
        self.activation = nn.ReLU()
        channels = [width * 2**stage for stage in range(len(depths))]
        blocks: list[nn.Module] = []
        in_width = width
        for stage, (depth, out_width) in enumerate(zip(depths, channels, strict=True)):
            for number in range(depth):
                blocks.append(ResidualBlock(in_width, out_width, stride=2 if stage and not number else 1))
                in_width = out_width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(in_width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        features = self.blocks(self.activation(self.stem(images)))
        return self.head(self.pool(features).flatten(1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, out_channels, 3, stride)
        self.activation1 = nn.ReLU()
        self.conv2 = conv_norm(out_channels, out_channels, 3)
        is_same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if is_same_shape else conv_norm(in_channels, out_channels, 1, stride)
        self.activation2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation2(self.conv2(self.activation1(self.conv1(x))) + self.shortcut(x))


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def stem_stride(image_size: tuple[int, int]) -> int:
    """Return the smallest power of 2 that reduces the shorter side to at most 32 pixels, but at most 8."""
    stride = 1
    while min(image_size) > 32 * stride and stride < 8:
        stride *= 2
    return stride
