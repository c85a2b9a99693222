"""Packed uint8 images to network inputs in one pass over memory: gather, resize, mirror, normalise, blank a hole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.ops.packed_images import ResampleArgs, check_tensors, check_values, fill_hole, is_between, register_kernels


@torch.library.custom_op("leyden::resample_normalize", mutates_args=())
def resample_normalize(
    images: Tensor,
    rows: Tensor,
    box: Tensor,
    flip: Tensor,
    hole: Tensor,
    scale: Tensor,
    shift: Tensor,
    size: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Select boxes of packed images, resize, mirror and normalise them, and blank a hole; not differentiable.

    The resize is bilinear, with antialiasing where it shrinks. On a CPU this is resample.cpp, which equals the
    plain-torch reference bit for bit. The reference runs on other devices, and where no compiler is available.

    Arguments, result and errors are those of `crop_flip_normalize`, except for:

    Args:
        images: With 1 or 3 channels.
        box: int64 (B, 4), top, left, height and width in pixels of the box that is resized, inside the image.
        flip: bool (B,), whether the box is mirrored horizontally.
    """
    return compute_reference(check(images, rows, box, flip, hole, scale, shift, size, dtype))


def compute_reference(args: ResampleArgs) -> Tensor:
    """Compute the operator in plain torch, on any device, after checking the values."""
    _, image_height, image_width, _ = args.images.shape
    top, left, height, width = args.box.T
    check_values(
        args,
        {
            "box's top": (top, 0, image_height - 1),
            "box's left": (left, 0, image_width - 1),
            "box's height": (height, 1, image_height - top),
            "box's width": (width, 1, image_width - left),
        },
    )
    y_first, y_weight = compute_taps(top, height, args.size[0], image_height)
    x_first, x_weight = compute_taps(left, width, args.size[1], image_width)
    x_first = torch.where(args.flip[:, None], x_first.flip(1), x_first)
    x_weight = torch.where(args.flip[:, None, None], x_weight.flip(1), x_weight)
    examples = torch.arange(len(args.rows), device=args.rows.device)[:, None]
    horizontal = args.images.new_zeros((), dtype=torch.float32)  # becomes (B, w, H, C)
    for tap in range(x_weight.shape[2]):
        horizontal = horizontal + args.images[args.rows[:, None], :, x_first + tap] * x_weight[:, :, tap, None, None]
    out = horizontal.new_zeros(())  # becomes (B, h, w, C)
    for tap in range(y_weight.shape[2]):
        out = out + horizontal[examples, :, y_first + tap] * y_weight[:, :, tap, None, None]
    out = fill_hole(out * args.scale + args.shift, args.hole)
    return out.to(args.dtype).permute(0, 3, 1, 2)


def compute_taps(start: Tensor, length: Tensor, size: int, side: int) -> tuple[Tensor, Tensor]:
    """Return the pixels and weights that resize an interval of each example: bilinear, antialiased where it shrinks.

    Args:
        start: int64 (B,), first pixel of the interval.
        length: int64 (B,), number of pixels in the interval.
        size: Number of output pixels.
        side: Number of pixels along this axis of the image, which contains the interval.

    Returns:
        The first of K neighbouring pixels, int64 (B, size), and their weights, float32 (B, size, K), which sum to 1.

    Source: Pillow's `Image.resize` with a triangle filter; `F.interpolate(..., antialias=True)` computes the same.
    """
    ratio = (length / size)[:, None]
    radius = ratio.clamp(min=1)  # of the triangle filter
    centre = (torch.arange(size, device=start.device) + 0.5) * ratio
    num_taps = min(side, int(2 * radius.max()) + 1 if len(start) and radius.max() > 1 else 2)
    first = ((centre - radius + 0.5).floor().long() + start[:, None]).clamp(0, side - num_taps)
    pixel = first[..., None] + torch.arange(num_taps, device=start.device) - start[:, None, None]
    weight = (1 - ((pixel + 0.5 - centre[..., None]) / radius[..., None]).abs()).clamp(min=0)
    weight = weight * is_between(pixel, 0, length[:, None, None] - 1)
    total = sum(weight.unbind(2), start=weight.new_zeros(()))  # summed in the same order as in the kernel
    return first, weight / total[..., None]


def check(*values: Any) -> ResampleArgs:
    """Return the arguments after checking everything that is known without reading the tensors' values."""
    args = ResampleArgs(*values)
    if args.images.ndim == 4 and args.images.shape[3] not in (1, 3):
        raise ValueError(f"expected images of 1 or 3 channels; got {args.images.shape[3]}; remove the others")
    check_tensors(args, box=(4,))
    return args


register_kernels(resample_normalize, "resample_normalize", Path(__file__).with_suffix(".cpp"), check, compute_reference)
