"""What the operators on packed images share: arguments and their checks, registration of kernels, and the hole."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.library import CustomOpDef

from leyden.ops.shared_library import load_library

VALUES_PER_THREAD = 2**16  # a smaller share is computed before a further thread has woken up
HOLE_LIMIT = 2**31  # keeps a hole's top + height from overflowing; packed_images.h has the same limit


class CropArgs(NamedTuple):
    """The arguments of `crop_flip_normalize`, which describes them."""

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


class ResampleArgs(NamedTuple):
    """The arguments of `resample_normalize`, which describes them."""

    images: Tensor
    rows: Tensor
    box: Tensor
    flip: Tensor
    hole: Tensor
    scale: Tensor
    shift: Tensor
    size: Sequence[int]
    dtype: torch.dtype = torch.float32


PackedArgs = CropArgs | ResampleArgs
Args = TypeVar("Args", bound=PackedArgs)
Range = tuple[Tensor, int, int | Tensor]  # values, and the lowest and the highest one that are allowed


def register_kernels(
    operator: CustomOpDef,
    name: str,
    source: Path,
    check: Callable[..., Args],
    compute_reference: Callable[[Args], Tensor],
) -> None:
    """Register an operator's compiled kernel for the CPU, and the inference of its output's shape.

    Args:
        operator: The operator.
        name: The kernel's C function. It takes pointers to the tensors among the arguments and to the output, then as
            int64 the batch size, the shape of the images, the integers among the arguments, whether the output is
            bfloat16, and the number of threads. It returns 0, or 1 if a value is out of range.
        source: The C++ file.
        check: Returns the arguments after checking their shapes, dtypes and devices.
        compute_reference: Computes the same in plain torch, and checks all values; used if the file does not compile.
    """

    @operator.register_kernel("cpu")
    def compute_on_cpu(*values: Any) -> Tensor:
        args = check(*values)
        library = load_library(source)
        if library is None:
            return compute_reference(args)
        out = allocate_output(args)
        tensors = [value.contiguous() for value in args if isinstance(value, Tensor)]  # kept alive during the call
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*tensors, out)]
        settings = [number for value in args if isinstance(value, Sequence) for number in value]
        num_threads = min(torch.get_num_threads(), 1 + out.numel() // VALUES_PER_THREAD)
        integers = (len(args.rows), *args.images.shape, *settings, args.dtype == torch.bfloat16, num_threads)
        if getattr(library, name)(*pointers, *map(ctypes.c_int64, integers)):
            compute_reference(args)
            raise AssertionError(f"the kernel {name} rejected arguments that its reference accepts")
        return out

    @operator.register_fake
    def infer_output(*values: Any) -> Tensor:
        return allocate_output(check(*values))


def allocate_output(args: PackedArgs) -> Tensor:
    """Allocate the output, (B, C, h, w) in channels_last memory."""
    shape = (args.rows.shape[0], *args.size, args.images.shape[3])
    return args.images.new_empty(shape, dtype=args.dtype).permute(0, 3, 1, 2)


def check_tensors(args: PackedArgs, **positions: tuple[int, ...]) -> None:
    """Check everything that is known without reading the tensors' values.

    `positions` are the operator's further int64 tensors by name, and their shapes without the batch dimension.
    """
    images = args.images
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape[1:] or not images.is_contiguous():
        raise ValueError(
            f"expected images uint8 (N, H, W, C), contiguous; got {images.dtype} {tuple(images.shape)} "
            f"strides {images.stride()}; pass packed pixels"
        )
    batch, channels = (args.rows.numel(),), tuple(images.shape[3:])
    expected = {
        "rows": (torch.int64, batch),
        **{name: (torch.int64, (*batch, *shape)) for name, shape in positions.items()},
        "flip": (torch.bool, batch),
        "hole": (torch.int64, (*batch, 4)),
        "scale": (torch.float32, channels),
        "shift": (torch.float32, channels),
    }
    for name, (dtype, shape) in expected.items():
        tensor = getattr(args, name)
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or tensor.device != images.device:
            received = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            raise ValueError(f"expected {name} {dtype} {shape} on {images.device}; got {received}; convert or move it")
    if args.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"expected dtype float32 or bfloat16; got {args.dtype}; convert the result")
    if len(args.size) != 2 or min(args.size) < 1:
        raise ValueError(f"expected size (h, w) of at least 1; got {args.size}; correct it")


def check_values(args: PackedArgs, ranges: dict[str, Range]) -> None:
    """Check rows, holes and the operator's further values against their ranges, or raise ValueError.

    On an accelerator this is asynchronous, by asserts on the device.
    """
    all_ranges = {
        "rows": (args.rows, 0, len(args.images) - 1),
        **ranges,
        "hole's top and left": (args.hole[:, :2], -HOLE_LIMIT, HOLE_LIMIT),
        "hole's height and width": (args.hole[:, 2:], 0, HOLE_LIMIT),
    }
    for name, (values, low, high) in all_ranges.items():
        is_valid = is_between(values, low, high).all()
        if values.is_cpu and not is_valid:
            limit = int(high.max()) if isinstance(high, Tensor) else high
            raise ValueError(
                f"expected {name} from {low} to {limit}; got {values.min()} to {values.max()}; correct them"
            )
        if not values.is_cpu:
            torch._assert_async(is_valid, f"expected {name} from {low} to its limit")


def fill_hole(pixels: Tensor, hole: Tensor) -> Tensor:
    """Set the box `hole` (B, 4) of each example's normalised pixels (B, h, w, C) to 0."""
    top, left, height, width = hole.T[..., None]
    in_hole_y = is_between(torch.arange(pixels.shape[1], device=pixels.device), top, top + height - 1)
    in_hole_x = is_between(torch.arange(pixels.shape[2], device=pixels.device), left, left + width - 1)
    return pixels.masked_fill((in_hole_y[:, :, None] & in_hole_x[:, None, :])[..., None], 0)


def is_between(values: Tensor, low: int | Tensor, high: int | Tensor) -> Tensor:
    return (values >= low) & (values <= high)
