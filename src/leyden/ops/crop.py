"""From packed uint8 images to what a network takes, in one pass: gather, crop, mirror, normalise, cut out."""

import ctypes
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leyden.ops.shared_library import load_library

VALUES_PER_THREAD = 2**16  # fewer are done before another thread has woken
HOLE_LIMIT = 2**31  # keeps a hole's top + height from overflowing; crop.cpp has the same


class Crops(NamedTuple):
    """The operator's arguments; `crop_flip_normalize` describes them."""

    images: Tensor
    rows: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    hole: Tensor
    scale: Tensor
    shift: Tensor
    size: Sequence[int]
    padding: Sequence[int]
    dtype: torch.dtype = torch.float32


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
    """Pick examples out of packed images, crop and mirror them, normalise them, and blank a hole; no gradient is defined.

    On a CPU this is crop.cpp, which equals bit for bit the plain-torch reference that runs on other devices, and where no compiler is.

    Args:
        images: uint8 (N, H, W, C), contiguous; may be a whole data set.
        rows: int64 (B,), the examples.
        top: int64 (B,), first row of each crop in the image padded with black, from 0 to H + 2 pad_y - h.
        left: int64 (B,), likewise its first column, from 0 to W + 2 pad_x - w.
        flip: bool (B,), whether the crop is mirrored left to right.
        hole: int64 (B, 4), top, left, height and width of a box set to 0 (the mean colour) in the crop as it comes out; it may reach
            outside, and height 0 is none.
        scale: float32 (C,); a pixel from 0 to 255 becomes pixel * scale + shift.
        shift: float32 (C,).
        size: h and w of the crops.
        padding: pad_y and pad_x, on each side.
        dtype: float32, or bfloat16: computed in float32 and rounded to nearest, ties to even.

    Returns:
        (B, C, h, w) of that dtype, channels_last in memory.

    Raises:
        ValueError: if a shape, dtype or device is another, or a value outside its range. On an accelerator values are asserted
            on the device, without waiting for it.
    """
    crops = Crops(images, rows, top, left, flip, hole, scale, shift, size, padding, dtype)
    check_tensors(crops)
    return compute_reference(crops)


@crop_flip_normalize.register_kernel("cpu")
def compute_on_cpu(*args: Any) -> Tensor:
    """Run the compiled kernel; it checks the values that it reads, and the reference says what was wrong."""
    crops = Crops(*args)
    check_tensors(crops)
    library = load_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return compute_reference(crops)
    out = allocate(crops)
    tensors = [value.contiguous() for value in crops if isinstance(value, Tensor)]  # held until the call returns
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*tensors, out)]
    threads = min(torch.get_num_threads(), 1 + out.numel() // VALUES_PER_THREAD)
    numbers = (
        len(crops.rows),
        *crops.images.shape,
        *crops.size,
        *crops.padding,
        crops.dtype == torch.bfloat16,
        threads,
    )
    if library.crop_flip_normalize(*pointers, *map(ctypes.c_int64, numbers)):
        check_values(crops)
        raise AssertionError("the kernel refused what the reference takes")
    return out


@crop_flip_normalize.register_fake
def describe(*args: Any) -> Tensor:
    crops = Crops(*args)
    check_tensors(crops)
    return allocate(crops)


def allocate(crops: Crops) -> Tensor:
    """Make the output, (B, C, h, w) in channels_last memory."""
    images = crops.images
    return images.new_empty((crops.rows.shape[0], *crops.size, images.shape[3]), dtype=crops.dtype).permute(0, 3, 1, 2)


def compute_reference(crops: Crops) -> Tensor:
    """Compute the same from torch's own operations, on any device.

    Raises:
        ValueError: if a value lies outside its range.
    """
    check_values(crops)
    (_, height, width, _), (crop_height, crop_width), (pad_y, pad_x) = crops.images.shape, crops.size, crops.padding
    y = torch.arange(crop_height, device=crops.images.device)
    x = torch.arange(crop_width, device=crops.images.device)
    source_y = crops.top[:, None] - pad_y + y
    source_x = crops.left[:, None] - pad_x + torch.where(crops.flip[:, None], crop_width - 1 - x, x)
    shown = is_between(source_y, 0, height - 1)[:, :, None] & is_between(source_x, 0, width - 1)[:, None, :]
    examples, source_y, source_x = (
        crops.rows[:, None, None],
        source_y.clamp(0, height - 1),
        source_x.clamp(0, width - 1),
    )
    pixels = crops.images[examples, source_y[:, :, None], source_x[:, None, :]] * shown[..., None]
    out = blank(pixels.to(torch.float32) * crops.scale + crops.shift, crops.hole)
    return out.to(crops.dtype).permute(0, 3, 1, 2)


def is_between(values: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    return (values >= low) & (values <= high)


def check_tensors(crops: Crops) -> None:
    """Check all that is known without reading values.

    Raises:
        ValueError: if a shape, dtype or device is another.
    """
    images = crops.images
    check_images(images)
    batch, channels = (crops.rows.numel(),), images.shape[3:]
    integers = {"rows": batch, "top": batch, "left": batch, "hole": (*batch, 4)}
    expected = {
        **dict.fromkeys(integers, torch.int64),
        "flip": torch.bool,
        "scale": torch.float32,
        "shift": torch.float32,
    }
    shapes = {**integers, "flip": batch, "scale": channels, "shift": channels}
    for name, dtype in expected.items():
        tensor, shape = getattr(crops, name), tuple(shapes[name])
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or tensor.device != images.device:
            found = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            raise ValueError(f"expected {name} {dtype} {shape} on {images.device}; got {found}; convert or move it")
    if crops.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"expected dtype float32 or bfloat16; got {crops.dtype}; convert the result")
    if len(crops.size) != 2 or len(crops.padding) != 2 or min(crops.size) < 1 or min(crops.padding) < 0:
        raise ValueError(
            f"expected size (h, w) from 1 and padding (y, x) from 0; got {crops.size} and {crops.padding}; correct them"
        )
    if any(crop > side + 2 * pad for crop, side, pad in zip(crops.size, images.shape[1:3], crops.padding, strict=True)):
        raise ValueError(
            f"expected crops within {tuple(images.shape[1:3])} padded by {crops.padding}; got size {crops.size}; pad more"
        )


def check_images(images: Tensor) -> None:
    """Check packed pixels, as both operators take them.

    Raises:
        ValueError: if they are of another type or shape, or not contiguous.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape[1:] or not images.is_contiguous():
        raise ValueError(
            f"expected images uint8 (N, H, W, C), contiguous; got {images.dtype} {tuple(images.shape)} strides {images.stride()}; pass packed pixels"
        )


def blank(pixels: Tensor, hole: Tensor) -> Tensor:
    """Set the box `hole` (B, 4) of each of normalised pixels (B, h, w, C) to 0."""
    top, left, height, width = hole.T[..., None]
    in_hole_y = is_between(torch.arange(pixels.shape[1], device=pixels.device), top, top + height - 1)
    in_hole_x = is_between(torch.arange(pixels.shape[2], device=pixels.device), left, left + width - 1)
    return pixels.masked_fill((in_hole_y[:, :, None] & in_hole_x[:, None, :])[..., None], 0)


def check_values(crops: Crops) -> None:
    """Check rows, crops and holes against their ranges.

    Raises:
        ValueError: if one lies outside.
    """
    last_top, last_left = (
        side + 2 * pad - crop
        for side, pad, crop in zip(crops.images.shape[1:3], crops.padding, crops.size, strict=True)
    )
    ranges = (
        ("rows", crops.rows, 0, len(crops.images) - 1),
        ("top", crops.top, 0, last_top),
        ("left", crops.left, 0, last_left),
        ("hole's top and left", crops.hole[:, :2], -HOLE_LIMIT, HOLE_LIMIT),
        ("hole's height and width", crops.hole[:, 2:], 0, HOLE_LIMIT),
    )
    check_ranges(ranges)


def check_ranges(ranges: Iterable[tuple[str, Tensor, int, int | Tensor]]) -> None:
    """Check named values against their lowest and highest: here and now on a CPU, later on an accelerator.

    Raises:
        ValueError: if one lies outside.
    """
    for name, values, low, high in ranges:
        valid = is_between(values, low, high).all()
        if values.is_cpu and not valid:
            limit = int(high.max()) if isinstance(high, Tensor) else high
            raise ValueError(
                f"expected {name} from {low} to {limit}; got {values.min()} to {values.max()}; correct them"
            )
        if not values.is_cpu:
            torch._assert_async(valid, f"expected {name} from {low} to its limit")
