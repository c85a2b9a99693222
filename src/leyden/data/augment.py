"""Augment batches on their device, with separate random parameters for each example; masks move with their images.

Parameters are drawn on the CPU from a seed, before they are applied: they are the same on every device, and the fused
operators of `leyden.ops` take the same parameters as the plain-torch path here.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from leyden.class_paths import import_path
from leyden.data.colour import jitter
from leyden.errors import UserError, one_line
from leyden.imaging.mask_classes import IGNORED
from leyden.ops.resample import resample_normalize
from leyden.ranges import check_range

NUM_CHECKED = 4  # images: a transform may be applied to some of them only
Margin = tuple[int, int]  # rows and columns by which images are stored larger than the model takes them


class AugmentParams(NamedTuple):
    """Random augmentation parameters of a batch; the first axis of every tensor is the batch."""

    top: Tensor  # first row of the crop in the stored image, padded, int64 (B,)
    left: Tensor  # first column, int64 (B,)
    flip: Tensor  # whether the image is mirrored, bool (B,)
    cutout_box: Tensor  # top, left, height and width of the box that is cut out, int64 (B, 4); height 0 is none
    relative_box: Tensor  # centre (y, x) in [-1, 1] of a resized crop, height and width as fractions, float (B, 4)
    colour: Tensor  # factors of brightness, contrast and saturation, float (B, 3)
    seed: Tensor  # for `Augment.transforms`, which draw their own random numbers, int64 (B,)

    def select(self, examples: slice) -> "AugmentParams":
        """Return the parameters of some of the examples."""
        return AugmentParams(*(param[examples] for param in self))

    def to(self, device: torch.device) -> "AugmentParams":
        return AugmentParams(*(param.to(device, non_blocking=True) for param in self))


@dataclass
class Augment:
    """Augmentation of training images, with separate random parameters for each image.

    Where images are stored larger than the model takes them (`crop_margin` in configs/prepare.yaml), crops are cut from
    the larger image.

    Args:
        crop_padding_fraction: Smallest range by which a crop may shift to each side, as a fraction of the image's side;
            where the stored image is too small for it, it is padded with black. 0 never pads.
        horizontal_flip: Mirror half of the examples. Off by default: it changes digits, text and labels such as left
            and right.
        cutout_fraction: Sides of a box that is filled with the mean colour, as a fraction of the image's sides; 0 is
            off.
        resized_crop: Smallest and largest fraction of the area that a crop covers before it is resized, for example
            (0.25, 1); it replaces the shift. null is off.
        colour_jitter: Largest relative change of brightness, contrast and saturation, in [0, 1); 0 is off.
        transforms: torchvision v2 transforms applied to each example after the others, as `class_path` and `init_args`;
            with masks, those that take them.

    Raises:
        UserError: if a number is out of range, or a transform cannot be made.
    """

    crop_padding_fraction: float = 0.125
    horizontal_flip: bool = False
    cutout_fraction: float = 0.0
    resized_crop: tuple[float, float] | None = None
    colour_jitter: float = 0.0
    transforms: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        section = "data.augment"
        check_range(section, "[0, 1]", crop_padding_fraction=self.crop_padding_fraction)
        check_range(section, "[0, 1]", cutout_fraction=self.cutout_fraction)
        check_range(section, "[0, 1)", colour_jitter=self.colour_jitter)
        if self.resized_crop:
            low, high = self.resized_crop
            check_range(section, "(0, 1]", resized_crop=low)
            check_range(section, f"[{low}, 1]", resized_crop=high)
        for spec in self.transforms:
            make_transform(spec)

    def check_transforms(self, channels: int, height: int, width: int, has_masks: bool) -> None:
        """Apply `transforms` to a few random images, and masks, before a training starts.

        Raises:
            UserError: if one fails, as RandAugment does with masks.
        """
        if not self.transforms:
            return
        seeds = torch.arange(NUM_CHECKED)
        generator = torch.Generator().manual_seed(0)
        shape = NUM_CHECKED, channels, height, width
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if has_masks:
            transform_pairs(images, torch.zeros_like(images[:, 0]), self.transforms, seeds)
        else:
            transform_each(images, self.transforms, seeds)

    @property
    def is_fusable(self) -> bool:
        """Whether the fused operators can do all of it: crop or resized crop, flip and cutout."""
        return not self.colour_jitter and not self.transforms

    def padding(self, height: int, width: int, margin: Margin = (0, 0)) -> tuple[int, int]:
        """Return the rows and columns of padding on each side; a margin replaces as much of it as it is wide."""
        fraction = 0.0 if self.resized_crop else self.crop_padding_fraction
        return max(0, round(height * fraction) - margin[0] // 2), max(0, round(width * fraction) - margin[1] // 2)

    def make_params(self, count: int, height: int, width: int, seed: int, margin: Margin = (0, 0)) -> AugmentParams:
        """Draw the parameters of `count` images of height by width, stored with a margin; a function of the seed."""
        generator = torch.Generator().manual_seed(seed)
        pad_y, pad_x = self.padding(height, width, margin)
        shift_y, shift_x = (0, 0) if self.resized_crop else margin
        uniform = torch.rand(count, 8, generator=generator)
        side_y, side_x = round(height * self.cutout_fraction), round(width * self.cutout_fraction)
        corner = (uniform[:, 2:4] * torch.tensor([height, width]) - torch.tensor([side_y, side_x]) / 2).floor().long()
        return AugmentParams(
            top=torch.randint(0, 2 * pad_y + shift_y + 1, (count,), generator=generator),
            left=torch.randint(0, 2 * pad_x + shift_x + 1, (count,), generator=generator),
            flip=(uniform[:, 0] < 0.5) & self.horizontal_flip,
            cutout_box=torch.cat([corner, torch.tensor([[side_y, side_x]]).expand(count, 2)], dim=1),
            relative_box=self._make_relative_box(uniform[:, 4:8]),
            colour=1 + self.colour_jitter * (2 * torch.rand(count, 3, generator=generator) - 1),
            seed=torch.randint(0, 2**62, (count,), generator=generator),
        )

    def _make_relative_box(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers (B, 4) into a crop's area, aspect ratio (3/4 to 4/3) and centre.

        Source: Szegedy et al., 2015, section 6.
        """
        if not self.resized_crop:
            return torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(uniform), 1)
        low, high = self.resized_crop
        area = low + (high - low) * uniform[:, 0]
        aspect = torch.exp((2 * uniform[:, 1] - 1) * torch.log(torch.tensor(4 / 3)))
        sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=1).clamp(max=1)
        return torch.cat([(2 * uniform[:, 2:4] - 1) * (1 - sides), sides], dim=1)

    def __call__(self, images: Tensor, params: AugmentParams, mean: Tensor, margin: Margin = (0, 0)) -> Tensor:
        """Augment uint8 images (B, C, H, W), margin included.

        Args:
            images: The batch, as it is stored.
            params: What `make_params` returned for it.
            mean: Mean colour (C,) in [0, 1], which fills the cutout box.
            margin: Rows and columns by which the images are larger than the model takes them.

        Returns:
            uint8 images (B, C, H - margin[0], W - margin[1]).
        """
        params = params.to(images.device)
        images = self._crop_and_jitter(images, params, margin)
        if self.transforms:
            images = transform_each(images, self.transforms, params.seed)
        return cut_out(images, params.cutout_box, mean) if self.cutout_fraction else images

    def apply_to_pairs(
        self, images: Tensor, masks: Tensor, params: AugmentParams, mean: Tensor, margin: Margin = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """Augment images (B, C, H, W) as `__call__` does, and their masks (B, H, W) as `apply_to_masks` does.

        `transforms` take an image and its mask in one call, and move both alike: those of torchvision v2 tell them
        apart by their types in `torchvision.tv_tensors`.

        Raises:
            UserError: if a transform does not take masks, as RandAugment does not.
        """
        params = params.to(images.device)
        images, masks = self._crop_and_jitter(images, params, margin), self.apply_to_masks(masks, params, margin)
        if self.transforms:
            images, masks = transform_pairs(images, masks, self.transforms, params.seed)
        return cut_out(images, params.cutout_box, mean) if self.cutout_fraction else images, masks

    def apply_to_masks(self, masks: Tensor, params: AugmentParams, margin: Margin = (0, 0)) -> Tensor:
        """Move masks as their images are moved, by all but `transforms`: also for images on the fused path.

        Pixels of the padding are ignored. Colours do not concern masks, and neither does cutout: what is under the box
        is still to be predicted, from its surroundings.

        Args:
            masks: Class indices, uint8 (B, H, W), `IGNORED` (255) where there is none; margin included.
            params: Those of the images.
            margin: That of the images.

        Returns:
            uint8 masks (B, H - margin[0], W - margin[1]).
        """
        params = params.to(masks.device)
        height, width = masks.shape[1] - margin[0], masks.shape[2] - margin[1]
        if self.resized_crop:
            masks = resize_mask_crops(masks, params.relative_box, height, width)
        return self._shift_and_flip(masks[:, None], params, (height, width), margin, fill=IGNORED)[:, 0]

    def _crop_and_jitter(self, images: Tensor, params: AugmentParams, margin: Margin) -> Tensor:
        height, width = images.shape[2] - margin[0], images.shape[3] - margin[1]
        if self.resized_crop:
            images = resize_crops(images, params.relative_box, height, width)
        images = self._shift_and_flip(images, params, (height, width), margin, fill=0)
        return jitter(images, params.colour) if self.colour_jitter else images

    def _shift_and_flip(
        self, images: Tensor, params: AugmentParams, size: tuple[int, int], margin: Margin, fill: int
    ) -> Tensor:
        """Cut crops of `size` from images (B, C, H, W), padded with the value `fill`, and mirror those with `flip`."""
        pad_y, pad_x = self.padding(*size, margin)
        if pad_y or pad_x or self.horizontal_flip or images.shape[2:] != size:
            images = crop(F.pad(images, (pad_x, pad_x, pad_y, pad_y), value=fill), params, *size)
        return images


def crop(images: Tensor, params: AugmentParams, height: int, width: int) -> Tensor:
    """Crop padded images (B, C, H', W') to (B, C, height, width), channels_last, and mirror those with `flip`."""
    rows = params.top[:, None] + torch.arange(height, device=images.device)
    columns = params.left[:, None] + torch.arange(width, device=images.device)
    columns = torch.where(params.flip[:, None], columns.flip(1), columns)
    examples = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[examples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def pixel_boxes(relative_box: Tensor, height: int, width: int) -> Tensor:
    """Convert `AugmentParams.relative_box` to pixels of images of height by width.

    Returns:
        Top, left, height and width, int64 (B, 4).
    """
    sides = torch.tensor([height, width], device=relative_box.device)
    lengths = (relative_box[:, 2:] * sides).round().clamp(min=1)
    starts = ((relative_box[:, :2] + 1) * sides / 2 - lengths / 2).round().clamp(min=0).minimum(sides - lengths)
    return torch.cat([starts, lengths], dim=1).long()


def resize_crops(images: Tensor, relative_box: Tensor, height: int, width: int) -> Tensor:
    """Crop a box from each uint8 image (B, C, H, W) and resize it to height by width, bilinear and antialiased."""
    count, channels, *sides = images.shape
    rows = torch.arange(count, device=images.device)
    resized = resample_normalize(
        images.permute(0, 2, 3, 1).contiguous(),
        rows,
        pixel_boxes(relative_box, *sides),
        torch.zeros_like(rows, dtype=torch.bool),  # not mirrored
        rows.new_zeros(count, 4),  # nothing cut out
        torch.ones(channels, device=images.device),
        torch.zeros(channels, device=images.device),
        [height, width],
    )
    return resized.round().to(torch.uint8)


def resize_mask_crops(masks: Tensor, relative_box: Tensor, height: int, width: int) -> Tensor:
    """Crop the boxes of `resize_crops` from masks uint8 (B, H, W), and resize them to height by width: nearest pixel.

    Of two pixels that are equally near, it is the lower or right one.
    """
    top, left, *sides = pixel_boxes(relative_box, *masks.shape[1:]).T[:, :, None]
    rows, columns = (
        start + (2 * torch.arange(size, device=masks.device) + 1) * side // (2 * size)
        for start, side, size in zip((top, left), sides, (height, width), strict=True)
    )
    examples = torch.arange(len(masks), device=masks.device)[:, None, None]
    return masks[examples, rows[:, :, None], columns[:, None, :]]


def transform_each(images: Tensor, specs: list[dict[str, Any]], seeds: Tensor) -> Tensor:
    """Apply transforms to uint8 images (B, C, H, W) one by one, with torch's generator seeded for each image."""
    transforms = [make_transform(spec) for spec in specs]
    return torch.stack([image for (image,) in apply_seeded(transforms, list(zip(images, strict=True)), seeds)])


def transform_pairs(images: Tensor, masks: Tensor, specs: list[dict[str, Any]], seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Apply transforms to each of the uint8 images (B, C, H, W) together with its mask uint8 (B, H, W)."""
    from torchvision import tv_tensors

    transforms = [make_transform(ignore_fill(spec)) for spec in specs]
    pairs = [(tv_tensors.Image(image), tv_tensors.Mask(mask[None])) for image, mask in zip(images, masks, strict=True)]
    transformed_images, transformed_masks = zip(*apply_seeded(transforms, pairs, seeds), strict=True)
    return torch.stack(transformed_images), torch.cat(transformed_masks)


def ignore_fill(spec: dict[str, Any]) -> dict[str, Any]:
    """Make a transform of torchvision fill masks with `IGNORED`, where it fills images with its `fill`."""
    from torchvision import tv_tensors

    path, arguments = spec["class_path"], spec.get("init_args") or {}
    if not path.startswith("torchvision.transforms.v2."):
        return spec
    fill = inspect.signature(import_path(path)).parameters.get("fill")
    if fill is None:
        return spec
    by_type = {tv_tensors.Image: arguments.get("fill", fill.default), tv_tensors.Mask: IGNORED}
    return spec | {"init_args": arguments | {"fill": by_type}}


def apply_seeded(
    transforms: Sequence[Callable[..., Any]], examples: Sequence[tuple[Tensor, ...]], seeds: Tensor
) -> list[tuple[Tensor, ...]]:
    """Apply transforms to the tensors of each example in one call, with torch's generator seeded for each example."""
    transformed = []
    with torch.random.fork_rng(devices=[]):
        for example, seed in zip(examples, seeds.tolist(), strict=True):
            torch.manual_seed(seed)
            outputs = example
            for transform in transforms:
                outputs = apply_transform(transform, outputs)
            if len(outputs) != len(example):
                raise UserError(
                    f"expected transforms that return an image and its mask; got {len(outputs)} values; "
                    "correct data.augment.transforms"
                )
            for before, after in zip(example, outputs, strict=True):
                if not (isinstance(after, Tensor) and after.dtype == before.dtype and after.shape == before.shape):
                    raise UserError(
                        f"expected transforms that keep an image's type and size, uint8 {tuple(before.shape)}; got "
                        f"{describe_output(after)}; correct data.augment.transforms"
                    )
            transformed.append(outputs)
    return transformed


def apply_transform(transform: Callable[..., Any], tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """Apply a transform to an image, or to an image and its mask."""
    try:
        outputs = transform(*tensors)
    except Exception as error:  # of any kind, if a transform does not suit the images
        expected = "uint8 images" if len(tensors) == 1 else "an image and its mask, as in torchvision.transforms.v2"
        raise UserError(
            f"expected transforms of {expected}; {type(transform).__name__} fails with {type(error).__name__}: "
            f"{one_line(error, 200)}; correct data.augment.transforms"
        ) from error
    return outputs if len(tensors) > 1 and isinstance(outputs, tuple) else (outputs,)


def describe_output(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def make_transform(spec: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """Make a transform from its `class_path` and `init_args`.

    Raises:
        UserError: if it is not a class whose instances can be called, or rejects its arguments.
    """
    advice = "correct data.augment.transforms"
    if not isinstance(spec.get("class_path"), str) or spec.keys() - {"class_path", "init_args"}:
        raise UserError(f"expected class_path and init_args of each transform; got {spec}; {advice}")
    path = spec["class_path"]
    try:
        transform = import_path(path)
    except ImportError as error:
        raise UserError(
            f"expected a transform, such as torchvision.transforms.v2.RandAugment; got {path!r} ({error}); {advice}"
        ) from error
    # Other things are not called: a config could otherwise name `os.system`, with a command in `init_args`.
    is_transform = isinstance(transform, type) and any("__call__" in vars(base) for base in transform.__mro__)
    if not is_transform or transform.__module__.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"expected a class of transforms, whose instances are called; {path!r} is not one; {advice}")
    try:
        return transform(**spec.get("init_args") or {})
    except (TypeError, ValueError) as error:
        raise UserError(f"expected arguments of {path}; got: {one_line(error, 200)}; {advice}") from error


def cut_out(images: Tensor, box: Tensor, mean: Tensor) -> Tensor:
    """Fill a box of each uint8 image (B, C, H, W) with the mean colour. Source: DeVries and Taylor, 2017."""
    rows = torch.arange(images.shape[2], device=images.device)[None, :, None]
    columns = torch.arange(images.shape[3], device=images.device)[None, None, :]
    top, left, height, width = (box[:, index, None, None] for index in range(4))
    is_inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    colour = (mean.to(images.device) * 255).round().to(torch.uint8).view(1, -1, 1, 1)
    return torch.where(is_inside[:, None], colour, images)
