"""Augment a batch where it lies, each example with a draw of its own.

Draws are made on the CPU from a seed, apart from their use: they are the same on every device, and the fused operator of
`leyden.ops` takes the same draws as the plain-torch path here.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.class_paths import import_path
from leyden.data.colour import jitter
from leyden.errors import UserError
from leyden.ops.resample import resample_normalize

Margin = tuple[int, int]  # rows and columns by which images are stored larger than the model takes them


class AugmentParams(NamedTuple):
    """What happens to each example of a batch; every tensor has the batch as its first axis.

    top, left: first row and column of the crop in the stored image, padded, int64 (B,).
    flip: whether it is mirrored, bool (B,).
    hole: top, left, height and width of the box that is cut out, int64 (B, 4); height 0 is none.
    zoom: centre (y, x) in [-1, 1] and share of the height and width that a resized crop takes, float (B, 4).
    colour: factors of brightness, contrast and saturation, float (B, 3).
    seed: of the transforms that draw for themselves, int64 (B,).
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    hole: Tensor
    zoom: Tensor
    colour: Tensor
    seed: Tensor

    def part(self, rank: int, world_size: int) -> "AugmentParams":
        """Give one process's share of a global batch."""
        return AugmentParams(*(draw[rank::world_size] for draw in self))

    def first(self, count: int) -> "AugmentParams":
        """Give the draws of the first examples, for a batch that is not full."""
        return AugmentParams(*(draw[:count] for draw in self))


@dataclass
class Augment:
    """What happens to training images, each on its own draw.

    Where images are stored larger than the model takes them (`crop_margin` in configs/prepare.yaml), every crop is cut from the larger image.

    Args:
        crop_padding_fraction: How far a crop may shift to each side, as a share of the side, at least: black pads what the stored image
            lacks; 0 never pads.
        horizontal_flip: Mirror half of the examples. Off by default: digits, text and left-or-right labels do not survive it.
        cutout_fraction: Side of a square that is set to the mean colour, as a share of the image's sides; 0 is off.
        resized_crop: Smallest and largest share of the area that a crop takes before it is resized, (0.25, 1) say, instead of the
            shift; null is off.
        colour_jitter: Largest change of brightness, contrast and saturation, in [0, 1); 0 is off.
        transforms: torchvision v2 transforms applied per example after the others, as `class_path` and `init_args`.
    """

    crop_padding_fraction: float = 0.125
    horizontal_flip: bool = False
    cutout_fraction: float = 0.0
    resized_crop: tuple[float, float] | None = None
    colour_jitter: float = 0.0
    transforms: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fusable(self) -> bool:
        """Whether crop, resized crop, flip and cutout are all that happens, which the fused operators do."""
        return not self.colour_jitter and not self.transforms

    def padding(self, height: int, width: int, margin: Margin = (0, 0)) -> tuple[int, int]:
        """Give the rows and columns of padding on each side; a margin takes their place."""
        fraction = 0.0 if self.resized_crop else self.crop_padding_fraction
        return max(0, round(height * fraction) - margin[0] // 2), max(0, round(width * fraction) - margin[1] // 2)

    def draw(self, count: int, height: int, width: int, seed: int, margin: Margin = (0, 0)) -> AugmentParams:
        """Draw for `count` examples of height by width, stored with a margin; the same seed draws the same."""
        generator = torch.Generator().manual_seed(seed)
        pad_y, pad_x = self.padding(height, width, margin)
        room_y, room_x = (0, 0) if self.resized_crop else margin
        uniform = torch.rand(count, 8, generator=generator)
        side_y, side_x = round(height * self.cutout_fraction), round(width * self.cutout_fraction)
        corner = (uniform[:, 2:4] * torch.tensor([height, width]) - torch.tensor([side_y, side_x]) / 2).floor().long()
        return AugmentParams(
            top=torch.randint(0, 2 * pad_y + room_y + 1, (count,), generator=generator),
            left=torch.randint(0, 2 * pad_x + room_x + 1, (count,), generator=generator),
            flip=(uniform[:, 0] < 0.5) & self.horizontal_flip,
            hole=torch.cat([corner, torch.tensor([[side_y, side_x]]).expand(count, 2)], dim=1),
            zoom=self._draw_zoom(uniform[:, 4:8]),
            colour=1 + self.colour_jitter * (2 * torch.rand(count, 3, generator=generator) - 1),
            seed=torch.randint(0, 2**62, (count,), generator=generator),
        )

    def _draw_zoom(self, uniform: Tensor) -> Tensor:
        """Draw area and aspect ratio (3/4 to 4/3) of a crop, and its place. Source: Szegedy et al., 2015, section 6."""
        low, high = self.resized_crop or (1.0, 1.0)
        area = low + (high - low) * uniform[:, 0]
        aspect = (
            torch.exp((2 * uniform[:, 1] - 1) * torch.log(torch.tensor(4 / 3)))
            if self.resized_crop
            else torch.ones_like(area)
        )
        shares = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=1).clamp(max=1)
        return torch.cat([(2 * uniform[:, 2:4] - 1) * (1 - shares), shares], dim=1)

    def __call__(self, images: Tensor, draws: AugmentParams, mean: Tensor, margin: Margin = (0, 0)) -> Tensor:
        """Augment uint8 images (B, C, H, W), the margin included; `mean` (C,) in [0, 1] is what a cut-out box is filled with."""
        draws = AugmentParams(*(draw.to(images.device, non_blocking=True) for draw in draws))
        height, width = images.shape[2] - margin[0], images.shape[3] - margin[1]
        pad_y, pad_x = self.padding(height, width, margin)
        if self.resized_crop:
            images = resize_crops(images, draws.zoom, height, width)
        if pad_y or pad_x or self.horizontal_flip or images.shape[2:] != (height, width):
            images = crop(F.pad(images, (pad_x, pad_x, pad_y, pad_y)), draws, height, width)
        if self.colour_jitter:
            images = jitter(images, draws.colour)
        if self.transforms:
            images = transform_each(images, self.transforms, draws.seed)
        return cut_out(images, draws.hole, mean) if self.cutout_fraction else images


def crop(images: Tensor, draws: AugmentParams, height: int, width: int) -> Tensor:
    """Crop padded images (B, C, H', W') to (B, C, height, width), mirrored where `flip` says; channels_last in memory."""
    rows = draws.top[:, None] + torch.arange(height, device=images.device)
    columns = draws.left[:, None] + torch.arange(width, device=images.device)
    columns = torch.where(draws.flip[:, None], columns.flip(1), columns)
    examples = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def zoom_boxes(zoom: Tensor, height: int, width: int) -> Tensor:
    """Give the boxes that resized crops take of images of height by width: top, left, height and width in pixels, int64 (B, 4)."""
    sides = torch.tensor([height, width], device=zoom.device)
    lengths = (zoom[:, 2:] * sides).round().clamp(min=1)
    starts = ((zoom[:, :2] + 1) * sides / 2 - lengths / 2).round().clamp(min=0).minimum(sides - lengths)
    return torch.cat([starts, lengths], dim=1).long()


def resize_crops(images: Tensor, zoom: Tensor, height: int, width: int) -> Tensor:
    """Cut a box out of each uint8 image (B, C, H, W) and resize it to (B, C, height, width), bilinear and antialiased."""
    count, channels, *sides = images.shape
    rows, ones = torch.arange(count, device=images.device), torch.ones(channels, device=images.device)
    upright, holes = torch.zeros_like(rows, dtype=torch.bool), rows.new_zeros(count, 4)
    packed = images.permute(0, 2, 3, 1).contiguous()
    return (
        resample_normalize(packed, rows, zoom_boxes(zoom, *sides), upright, holes, ones, 0 * ones, [height, width])
        .round()
        .to(torch.uint8)
    )


def transform_each(images: Tensor, specs: list[dict[str, Any]], seeds: Tensor) -> Tensor:
    """Apply transforms to one uint8 image (C, H, W) after the other, with torch's generator seeded for each."""
    transforms = [import_class(spec["class_path"])(**spec.get("init_args", {})) for spec in specs]
    done = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds.tolist(), strict=True):
            torch.manual_seed(seed)
            for transform in transforms:
                image = transform(image)
            done.append(image)
    return torch.stack(done)


def import_class(class_path: str) -> Any:
    """Import a transform.

    Raises:
        UserError: if there is none of that path.
    """
    try:
        return import_path(class_path)
    except ImportError as error:
        raise UserError(
            f"expected the class path of a transform, torchvision.transforms.v2.RandAugment say; got {class_path!r}"
        ) from error


def cut_out(images: Tensor, hole: Tensor, mean: Tensor) -> Tensor:
    """Fill a box of each uint8 image (B, C, H, W) with the mean colour. Source: DeVries and Taylor, 2017."""
    rows = torch.arange(images.shape[2], device=images.device)[None, :, None]
    columns = torch.arange(images.shape[3], device=images.device)[None, None, :]
    top, left, height, width = (hole[:, index, None, None] for index in range(4))
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    colour = (mean.to(images.device) * 255).round().to(torch.uint8).view(1, -1, 1, 1)
    return torch.where(inside[:, None], colour, images)
