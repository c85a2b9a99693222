"""Packed uint8 images to network inputs in one pass over memory: gather, crop, mirror, normalise, blank a hole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden.ops.packed_images import CropArgs, check_tensors, check_values, fill_hole, is_between, register_kernels


@torch.library.custom_op("leyden::crop_flip_normalize", mutates_args=())
def crop_flip_normalize(
    images: Tensor,
    rows: Tensor,
    top: Tensor,
    left: Tensor,
    flip: Tensor,
    hole: Tensor,
    scale: Tensor,
    shift: Tensor,
    size: Sequence[int],
    padding: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Select examples from packed images, crop, mirror and normalise them, and blank a hole; not differentiable.

    On a CPU this is crop.cpp, which equals the plain-torch reference bit for bit. The reference runs on other devices,
    and where no compiler is available.

    Args:
        images: uint8 (N, H, W, C), contiguous; may be a whole data set.
        rows: int64 (B,), indices of the examples.
        top: int64 (B,), first row of each crop in the image padded with black, from 0 to H + 2 pad_y - h.
        left: int64 (B,), first column of each crop, from 0 to W + 2 pad_x - w.
        flip: bool (B,), whether the crop is mirrored horizontally.
        hole: int64 (B, 4), top, left, height and width of a box in the output that is set to 0 (the mean colour); it
            may extend beyond the output, and a height of 0 means no hole.
        scale: float32 (C,); a pixel from 0 to 255 becomes pixel * scale + shift.
        shift: float32 (C,).
        size: h and w of the crops.
        padding: pad_y and pad_x, on each side.
        dtype: float32, or bfloat16: computed in float32 and rounded to nearest, ties to even.

    Returns:
        (B, C, h, w) of that dtype, channels_last in memory.

    Raises:
        ValueError: if a shape, dtype or device is wrong, or a value is out of range. On an accelerator, values are
            checked by asserts on the device, without synchronisation.
    """
    return compute_reference(check(images, rows, top, left, flip, hole, scale, shift, size, padding, dtype))


def compute_reference(args: CropArgs) -> Tensor:
    """Compute the operator in plain torch, on any device, after checking the values."""
    (_, height, width, _), (crop_height, crop_width), (pad_y, pad_x) = args.images.shape, args.size, args.padding
    top_range = (args.top, 0, height + 2 * pad_y - crop_height)
    left_range = (args.left, 0, width + 2 * pad_x - crop_width)
    check_values(args, {"top": top_range, "left": left_range})
    y = torch.arange(crop_height, device=args.images.device)
    x = torch.arange(crop_width, device=args.images.device)
    source_y = args.top[:, None] - pad_y + y
    source_x = args.left[:, None] - pad_x + torch.where(args.flip[:, None], crop_width - 1 - x, x)
    is_inside = is_between(source_y, 0, height - 1)[:, :, None] & is_between(source_x, 0, width - 1)[:, None, :]
    source_y, source_x = source_y.clamp(0, height - 1), source_x.clamp(0, width - 1)
    pixels = args.images[args.rows[:, None, None], source_y[:, :, None], source_x[:, None, :]] * is_inside[..., None]
    out = fill_hole(pixels.to(torch.float32) * args.scale + args.shift, args.hole)
    return out.to(args.dtype).permute(0, 3, 1, 2)


def check(*values: Any) -> CropArgs:
    """Return the arguments after checking everything that is known without reading the tensors' values."""
    args = CropArgs(*values)
    check_tensors(args, top=(), left=())
    if len(args.padding) != 2 or min(args.padding) < 0:
        raise ValueError(f"expected padding (y, x) of at least 0; got {args.padding}; correct it")
    sides = args.images.shape[1:3]
    if any(crop > side + 2 * pad for crop, side, pad in zip(args.size, sides, args.padding, strict=True)):
        raise ValueError(
            f"expected crops within {tuple(sides)} padded by {args.padding}; got size {args.size}; increase the padding"
        )
    return args


register_kernels(
    crop_flip_normalize, "crop_flip_normalize", Path(__file__).with_suffix(".cpp"), check, compute_reference
)
