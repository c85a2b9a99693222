"""A plain network that learns small images within a few epochs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOGIT_SCALE = 9.0  # of the head, whose weights the optimizer moves by large steps


class FastCNN(nn.Module):
    """Pairs of convolutions, each pair halving the resolution by max pooling; convolutions begin as identities.

    The first layer whitens patches of 2 x 2 pixels, by kernels that are set from the first batch and stay.

    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        widths: tuple[int, ...] = (64, 128, 256),
        mirror: bool = False,
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            widths: Channels of each pair; the resolution is halved as often, where it can be.
            mirror: When it is not training, answer with the mean logits of an image, of two copies shifted by a pixel, and of
                the same of its mirror image: six passes for one.
        """
        super().__init__()
        self.mirror = mirror
        stem_width = 2 * 4 * in_channels
        self.whiten = nn.Conv2d(in_channels, stem_width, 2)
        self.whiten.weight.requires_grad_(False)
        self.activation = nn.GELU()
        sides = [(min(image_size) - 1) >> halved for halved in range(len(widths))]
        ends = zip((stem_width, *widths), widths, sides, strict=False)
        self.blocks = nn.Sequential(
            *(pair(before, after, nn.MaxPool2d(2) if side > 1 else nn.Identity()) for before, after, side in ends)
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(widths[-1], num_classes, bias=False)

    @torch.no_grad()
    def initialize(self, images: Tensor) -> None:
        """Set the first layer's kernels to the whitened principal components of the patches of images (B, C, H, W), and their negatives."""
        patches = F.unfold(images.float(), 2).transpose(1, 2).flatten(0, 1)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernels = components.T / (variances + 5e-4).sqrt()[:, None]
        self.whiten.weight.copy_(torch.cat([kernels, -kernels]).view_as(self.whiten.weight))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        if self.mirror and not self.training:
            return (self.score_shifted(images) + self.score_shifted(images.flip(3))) / 2
        return self.score(images)

    def score_shifted(self, images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        return self.score(images) / 2 + (self.score(padded[:, :, :-2, :-2]) + self.score(padded[:, :, 2:, 2:])) / 4

    def score(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.activation(self.whiten(images)))).flatten(1)) / LOGIT_SCALE


def pair(in_channels: int, out_channels: int, pool: nn.Module) -> nn.Sequential:
    first, second = (convolution(before, out_channels) for before in (in_channels, out_channels))
    norms = norm(out_channels), norm(out_channels)
    return nn.Sequential(first, pool, norms[0], nn.GELU(), second, norms[1], nn.GELU())


def norm(channels: int) -> nn.BatchNorm2d:
    """Give a norm whose statistics follow the last few batches, as a short training asks, and whose scale stays 1."""
    layer = nn.BatchNorm2d(channels, momentum=0.6)
    layer.weight.requires_grad_(False)
    return layer


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[: min(in_channels, out_channels)])
    return layer
