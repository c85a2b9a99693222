"""From packed uint8 images to what a network takes, in one pass: gather, resize a box, mirror, normalise, cut out."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leyden.ops.crop import HOLE_LIMIT, VALUES_PER_THREAD, blank, check_images, check_ranges, is_between
from leyden.ops.shared_library import load_library


class Resampling(NamedTuple):
    """The operator's arguments; `resample_normalize` describes them."""

    images: Tensor
    rows: Tensor
    box: Tensor
    flip: Tensor
    hole: Tensor
    scale: Tensor
    shift: Tensor
    size: Sequence[int]
    dtype: torch.dtype = torch.float32


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
    """Pick examples out of packed images, resize a box of each, mirror and normalise it, and blank a hole; no gradient is defined.

    The resize is bilinear, antialiased where it shrinks. On a CPU this is resample.cpp, which equals bit for bit the plain-torch reference
    that runs on other devices, and where no compiler is.

    Args:
        images: uint8 (N, H, W, C), contiguous, C 1 or 3; may be a whole data set.
        rows: int64 (B,), the examples.
        box: int64 (B, 4), top, left, height and width in pixels of what is resized, inside the image.
        flip: bool (B,), whether it is mirrored left to right.
        hole: int64 (B, 4), top, left, height and width of a box set to 0 (the mean colour) in the output; it may reach outside, and
            height 0 is none.
        scale: float32 (C,); a pixel from 0 to 255 becomes pixel * scale + shift.
        shift: float32 (C,).
        size: h and w of the output.
        dtype: float32, or bfloat16: computed in float32 and rounded to nearest, ties to even.

    Returns:
        (B, C, h, w) of that dtype, channels_last in memory.

    Raises:
        ValueError: if a shape, dtype or device is another, or a value outside its range. On an accelerator values are asserted
            on the device, without waiting for it.
    """
    task = Resampling(images, rows, box, flip, hole, scale, shift, size, dtype)
    check_tensors(task)
    return compute_reference(task)


@resample_normalize.register_kernel("cpu")
def compute_on_cpu(*args: Any) -> Tensor:
    """Run the compiled kernel; it checks the values that it reads, and the reference says what was wrong."""
    task = Resampling(*args)
    check_tensors(task)
    library = load_library(Path(__file__).with_suffix(".cpp"))
    if library is None:
        return compute_reference(task)
    out = allocate(task)
    tensors = [value.contiguous() for value in task if isinstance(value, Tensor)]  # held until the call returns
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*tensors, out)]
    threads = min(torch.get_num_threads(), 1 + out.numel() // VALUES_PER_THREAD)
    numbers = (len(task.rows), *task.images.shape, *task.size, task.dtype == torch.bfloat16, threads)
    if library.resample_normalize(*pointers, *map(ctypes.c_int64, numbers)):
        check_values(task)
        raise AssertionError("the kernel refused what the reference takes")
    return out


@resample_normalize.register_fake
def describe(*args: Any) -> Tensor:
    task = Resampling(*args)
    check_tensors(task)
    return allocate(task)


def allocate(task: Resampling) -> Tensor:
    """Make the output, (B, C, h, w) in channels_last memory."""
    images = task.images
    return images.new_empty((task.rows.shape[0], *task.size, images.shape[3]), dtype=task.dtype).permute(0, 3, 1, 2)


def compute_reference(task: Resampling) -> Tensor:
    """Compute the same from torch's own operations, on any device.

    Raises:
        ValueError: if a value lies outside its range.
    """
    check_values(task)
    top, left, height, width = task.box.T
    y_first, y_weight = weigh_box(top, height, task.size[0], task.images.shape[1])
    x_first, x_weight = weigh_box(left, width, task.size[1], task.images.shape[2])
    x_first = torch.where(task.flip[:, None], x_first.flip(1), x_first)
    x_weight = torch.where(task.flip[:, None, None], x_weight.flip(1), x_weight)
    examples = torch.arange(len(task.rows), device=task.rows.device)[:, None]
    wide = task.images.new_zeros((), dtype=torch.float32)
    for tap in range(x_weight.shape[2]):
        wide = (
            wide + task.images[task.rows[:, None], :, x_first + tap] * x_weight[:, :, tap, None, None]
        )  # (B, w, H, C)
    out = wide.new_zeros(())
    for tap in range(y_weight.shape[2]):
        out = out + wide[examples, :, y_first + tap] * y_weight[:, :, tap, None, None]  # (B, h, w, C)
    out = blank(out * task.scale + task.shift, task.hole)
    return out.to(task.dtype).permute(0, 3, 1, 2)


def weigh_box(start: Tensor, length: Tensor, size: int, side: int) -> tuple[Tensor, Tensor]:
    """Give the pixels and weights that resize an interval of each example to `size`: bilinear, antialiased where it shrinks.

    Args:
        start: int64 (B,), first pixel of the interval.
        length: int64 (B,), its pixels.
        size: Pixels that come out.
        side: Pixels of the image, which the interval lies in.

    Returns:
        The first of K neighbouring pixels, int64 (B, size), and their weights, float32 (B, size, K), which sum to 1.

    Source: Pillow's `Image.resize` with a triangle filter; `torch.nn.functional.interpolate(..., antialias=True)` is the same.
    """
    ratio = (length / size)[:, None]
    reach = ratio.clamp(min=1)  # of the triangle, to each side
    centre = (torch.arange(size, device=start.device) + 0.5) * ratio
    num_taps = min(side, int(2 * reach.max()) + 1 if len(start) and reach.max() > 1 else 2)
    first = ((centre - reach + 0.5).floor().long() + start[:, None]).clamp(0, side - num_taps)
    pixel = first[..., None] + torch.arange(num_taps, device=start.device) - start[:, None, None]
    weight = (1 - ((pixel + 0.5 - centre[..., None]) / reach[..., None]).abs()).clamp(min=0)
    weight = weight * is_between(pixel, 0, length[:, None, None] - 1)
    total = sum(weight.unbind(2), start=weight.new_zeros(()))  # in this order, which the kernel has too
    return first, weight / total[..., None]


def check_tensors(task: Resampling) -> None:
    """Check all that is known without reading values.

    Raises:
        ValueError: if a shape, dtype or device is another.
    """
    images = task.images
    check_images(images)
    if images.shape[3] not in (1, 3):
        raise ValueError(f"expected images of 1 or 3 channels; got {images.shape[3]}; take the others away")
    batch, channels = (task.rows.numel(),), images.shape[3:]
    expected = {
        "rows": (torch.int64, batch),
        "box": (torch.int64, (*batch, 4)),
        "flip": (torch.bool, batch),
        "hole": (torch.int64, (*batch, 4)),
        "scale": (torch.float32, channels),
        "shift": (torch.float32, channels),
    }
    for name, (dtype, shape) in expected.items():
        tensor = getattr(task, name)
        if tensor.dtype != dtype or tuple(tensor.shape) != tuple(shape) or tensor.device != images.device:
            found = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            raise ValueError(
                f"expected {name} {dtype} {tuple(shape)} on {images.device}; got {found}; convert or move it"
            )
    if task.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"expected dtype float32 or bfloat16; got {task.dtype}; convert the result")
    if len(task.size) != 2 or min(task.size) < 1:
        raise ValueError(f"expected size (h, w) from 1; got {task.size}; correct it")


def check_values(task: Resampling) -> None:
    """Check rows, boxes and holes against their ranges.

    Raises:
        ValueError: if one lies outside.
    """
    count, height, width, _ = task.images.shape
    top, left, rows, columns = task.box.T
    check_ranges(
        (
            ("rows", task.rows, 0, count - 1),
            ("box's top", top, 0, height - 1),
            ("box's left", left, 0, width - 1),
            ("box's height", rows, 1, height - top),
            ("box's width", columns, 1, width - left),
            ("hole's top and left", task.hole[:, :2], -HOLE_LIMIT, HOLE_LIMIT),
            ("hole's height and width", task.hole[:, 2:], 0, HOLE_LIMIT),
        )
    )
