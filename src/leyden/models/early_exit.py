"""A residual network that lets each image leave as soon as a head is sure of it."""

import torch
from torch import Tensor, nn

from leyden.models.resnet import ResidualBlock, conv_norm, stem_stride


class EarlyExitNet(nn.Module):
    """Residual stages with a head after each; an easy image never sees the later stages.

    Source: Teerapittayanon et al., "BranchyNet", 2016, algorithm 1, with the confidence in place of the entropy.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        width: int = 32,
        depths: tuple[int, ...] = (1, 1, 1),
        threshold: float = 0.8,
    ) -> None:
        """Build the stages and their heads.

        Args:
            in_channels: Channels of the images.
            num_classes: Number of logits.
            image_size: Height and width of the images in pixels.
            width: Channels of the first stage; each later stage has twice as many and half the resolution.
            depths: Residual blocks of each stage.
            threshold: Confidence, the largest softmax, at which an image leaves; from 1 on, all of them go to the end.
        """
        super().__init__()
        self.threshold = threshold
        self.branching = True  # exported programs branch; set to False for a runtime that cannot
        stride = stem_stride(image_size)
        self.stem = nn.Sequential(conv_norm(in_channels, width, max(3, 2 * stride - 1), stride), nn.ReLU())
        channels = [width * 2**stage for stage in range(len(depths))]
        self.stages = nn.ModuleList()
        previous = width
        for stage, (depth, wide) in enumerate(zip(depths, channels, strict=True)):
            first = ResidualBlock(previous, wide, stride=2 if stage else 1)
            self.stages.append(nn.Sequential(first, *(ResidualBlock(wide, wide) for _ in range(depth - 1))))
            previous = wide
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, num_classes)) for wide in channels
        )

    @torch.jit.unused  # torch.jit.script takes `Routed`, whose answer has one type
    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Map normalised images (B, C, H, W) to logits (B, K); in training mode, to those of every head.

        Compute is saved where it is free to depend on the data: without gradients. With them all stages run and the same logits
        are picked. An exported program skips the stages that no image of its batch needs: batch 1 saves all that can be saved.
        """
        if self.training:
            return self.score_all(images)
        exporting = torch.compiler.is_exporting()
        if exporting and self.branching:
            return self.branch(self.stem(images), 0)
        if exporting or torch.is_grad_enabled():
            return self.pick(self.score_all(images))
        return self.route(images)[0]

    def score_all(self, images: Tensor) -> list[Tensor]:
        """Give the logits (B, K) of every head."""
        features, logits = self.stem(images), []
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            logits.append(head(features))
        return logits

    def pick(self, logits: list[Tensor]) -> Tensor:
        """Take each image's logits (B, K) from the first head that is sure of it, or from the last."""
        chosen = logits[-1]
        for early in reversed(logits[:-1]):
            chosen = torch.where(self.is_sure(early)[:, None], early, chosen)
        return chosen

    def branch(self, features: Tensor, number: int) -> Tensor:
        """Give the logits (B, K) of features (B, C, H, W) from a stage on, with branches that a fixed graph can hold."""
        features = self.stages[number](features)
        if number == len(self.stages) - 1:
            return self.heads[number](features)
        if self.threshold >= 1:
            return self.branch(features, number + 1)
        logits = self.heads[number](features)

        def leave(features: Tensor, logits: Tensor) -> Tensor:
            return logits.clone()

        def go_on(features: Tensor, logits: Tensor) -> Tensor:
            # What both branches give must have one shape, of one symbol: `where` takes it from the logits.
            return torch.where(self.is_sure(logits)[:, None], logits, self.branch(features, number + 1))

        # Detached: nobody trains an exported program, and torch.cond warns of what autograd could go through.
        return torch.cond(self.is_sure(logits).all(), leave, go_on, (features.detach(), logits.detach()))

    def is_sure(self, logits: Tensor) -> Tensor:
        """Tell which of the logits (B, K) are confident enough to be the answer: bool (B,)."""
        confident = logits.float().softmax(dim=1).amax(dim=1) >= self.threshold
        return confident if self.threshold < 1 else torch.zeros_like(confident)

    def route(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute each image up to its exit only: logits (B, K), and which head gave them, int64 (B,)."""
        features, left = self.stem(images), torch.arange(len(images), device=images.device)
        exits = left.new_full((len(images),), len(self.stages) - 1)
        answers: list[Tensor] = []
        order: list[Tensor] = []
        for number, (stage, head) in enumerate(zip(self.stages, self.heads)):  # noqa: B905 - torch.jit.script knows no `strict`
            if number == 0 or len(left):  # and no `break`
                features = stage(features)
                if number == len(self.stages) - 1:
                    answers.append(head(features))
                    order.append(left)
                elif self.threshold < 1:
                    logits = head(features)
                    sure = self.is_sure(logits)
                    answers.append(logits[sure])
                    order.append(left[sure])
                    exits[left[sure]] = number
                    features, left = features[~sure], left[~sure]
        return torch.cat(answers)[torch.cat(order).argsort()], exits

    def scriptable(self) -> "Routed":
        return Routed(self)

    def exit_fractions(self, images: Tensor) -> Tensor:
        """Give the share of images (B, C, H, W) that leaves at each head, float (heads,)."""
        counts = torch.bincount(self.route(images)[1], minlength=len(self.heads))
        return counts / len(images)


class Routed(nn.Module):
    """What torch.jit.script takes of an `EarlyExitNet` in evaluation mode: each image runs up to its exit only, as it does here."""

    def __init__(self, network: EarlyExitNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        return self.network.route(images)[0]
