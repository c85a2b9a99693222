"""A residual network in which each image exits at the first head that is confident."""

import torch
from torch import Tensor, nn

from leyden.models.resnet import ResidualBlock, conv_norm, stem_stride


class EarlyExitNet(nn.Module):
    """Residual stages with a head after each; an easy image skips the later stages.

    Source: Teerapittayanon et al., "BranchyNet", 2016, algorithm 1, with the confidence instead of the entropy.
    """

    needs_one_label = True  # it exits by the confidence of the most probable class

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
            threshold: Confidence (largest softmax probability) at which an image exits; at 1 or more, none exits early.
        """
        super().__init__()
        self.threshold = threshold
        self.branching = True  # whether exported programs branch; set to False for a runtime without branches
        stride = stem_stride(image_size)
        self.stem = nn.Sequential(conv_norm(in_channels, width, max(3, 2 * stride - 1), stride), nn.ReLU())
        channels = [width * 2**stage for stage in range(len(depths))]
        self.stages = nn.ModuleList()
        in_width = width
        for stage, (depth, out_width) in enumerate(zip(depths, channels, strict=True)):
            first = ResidualBlock(in_width, out_width, stride=2 if stage else 1)
            others = (ResidualBlock(out_width, out_width) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(first, *others))
            in_width = out_width
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes))
            for features in channels
        )

    @torch.jit.unused  # the return type varies: torch.jit.script compiles `ScriptableEarlyExitNet` instead
    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Map normalised images (B, C, H, W) to logits (B, K); in training mode, to those of every head.

        Without gradients, each image runs only up to its exit. With gradients, all stages run and the same logits are
        selected. An exported program skips the stages that no image of the batch needs, so batches of one image save
        the most compute.
        """
        if self.training:
            return self.compute_all_logits(images)
        is_exporting = torch.compiler.is_exporting()
        if is_exporting and self.branching:
            return self.run_with_branches(self.stem(images), 0)
        if is_exporting or torch.is_grad_enabled():
            return self.select_logits(self.compute_all_logits(images))
        return self.route(images)[0]

    def compute_all_logits(self, images: Tensor) -> list[Tensor]:
        """Return the logits (B, K) of every head."""
        features, logits = self.stem(images), []
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            logits.append(head(features))
        return logits

    def select_logits(self, logits: list[Tensor]) -> Tensor:
        """Select each image's logits (B, K) from the first head that is confident, or else from the last."""
        selected = logits[-1]
        for early in reversed(logits[:-1]):
            selected = torch.where(self.is_confident(early)[:, None], early, selected)
        return selected

    def run_with_branches(self, features: Tensor, number: int) -> Tensor:
        """Map the input (B, C, H, W) of stage `number` to logits (B, K), with branches that can be exported."""
        features = self.stages[number](features)
        if number == len(self.stages) - 1:
            return self.heads[number](features)
        if self.threshold >= 1:
            return self.run_with_branches(features, number + 1)
        logits = self.heads[number](features)

        def exit_here(features: Tensor, logits: Tensor) -> Tensor:
            return logits.clone()

        def run_further_stages(features: Tensor, logits: Tensor) -> Tensor:
            # The results of both branches must have the same symbolic shape: `where` infers it from the logits.
            later = self.run_with_branches(features, number + 1)
            return torch.where(self.is_confident(logits)[:, None], logits, later)

        # Detached, because torch.cond warns about operands with gradients, and an exported program is not trained.
        operands = (features.detach(), logits.detach())
        return torch.cond(self.is_confident(logits).all(), exit_here, run_further_stages, operands)

    def is_confident(self, logits: Tensor) -> Tensor:
        """Return which rows of logits (B, K) reach the confidence threshold: bool (B,)."""
        confident = logits.float().softmax(dim=1).amax(dim=1) >= self.threshold
        return confident if self.threshold < 1 else torch.zeros_like(confident)

    def route(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run each image only up to its exit, and return logits (B, K) and the exits' numbers, int64 (B,)."""
        features, remaining = self.stem(images), torch.arange(len(images), device=images.device)
        exits = remaining.new_full((len(images),), len(self.stages) - 1)
        outputs: list[Tensor] = []
        order: list[Tensor] = []
        # TorchScript supports neither `strict` nor `break`.
        for number, (stage, head) in enumerate(zip(self.stages, self.heads)):  # noqa: B905
            if number == 0 or len(remaining):
                features = stage(features)
                if number == len(self.stages) - 1:
                    outputs.append(head(features))
                    order.append(remaining)
                elif self.threshold < 1:
                    logits = head(features)
                    is_done = self.is_confident(logits)
                    outputs.append(logits[is_done])
                    order.append(remaining[is_done])
                    exits[remaining[is_done]] = number
                    features, remaining = features[~is_done], remaining[~is_done]
        return torch.cat(outputs)[torch.cat(order).argsort()], exits

    def scriptable(self) -> "ScriptableEarlyExitNet":
        return ScriptableEarlyExitNet(self)

    def exit_fractions(self, images: Tensor) -> Tensor:
        """Return the fraction of images (B, C, H, W) that exit at each head, float (heads,)."""
        return torch.bincount(self.route(images)[1], minlength=len(self.heads)) / len(images)


class ScriptableEarlyExitNet(nn.Module):
    """An `EarlyExitNet` in evaluation mode for torch.jit.script: each image runs only up to its exit."""

    def __init__(self, network: EarlyExitNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K)."""
        return self.network.route(images)[0]
