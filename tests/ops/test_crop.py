"""The fused crop equals its reference bit for bit, and separate operations; it never leaves its memory."""

import pytest
import torch

from leyden.ops.crop import CropArgs, compute_reference, crop_flip_normalize
from tests.ops.conftest import DTYPES, assert_compiled, assert_same_bits, compute_with_threads, draw_crops


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(24))
def test_kernel_equals_the_reference_bit_for_bit(seed, dtype):
    crops = draw_crops(seed, dtype)
    out = crop_flip_normalize(*crops)
    assert_compiled("crop")
    assert out.dtype == dtype
    assert_same_bits(out, compute_reference(crops))


@pytest.mark.parametrize(
    "compute", [lambda crops: crop_flip_normalize(*crops), compute_reference], ids=["kernel", "reference"]
)
def test_result_equals_pad_slice_flip_normalize_and_erase(compute):
    crops = draw_crops(1)
    out = compute(crops)
    assert out.is_contiguous(memory_format=torch.channels_last)
    (height, width), (pad_y, pad_x) = crops.size, crops.padding
    for example, (row, top, left, flip) in enumerate(zip(crops.rows, crops.top, crops.left, crops.flip, strict=True)):
        padded = torch.nn.functional.pad(crops.images[row].permute(2, 0, 1), (pad_x, pad_x, pad_y, pad_y))
        image = padded[:, top : top + height, left : left + width]
        image = image.flip(2) if flip else image
        image = image * crops.scale[:, None, None] + crops.shift[:, None, None]
        y, x, hole_height, hole_width = crops.hole[example].tolist()
        image[:, max(y, 0) : max(y + hole_height, 0), max(x, 0) : max(x + hole_width, 0)] = 0
        assert torch.equal(out[example], image)


def test_bfloat16_rounds_to_nearest_even():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1)
    zero = torch.zeros(1, dtype=torch.int64)
    for low in (1.0, -3.0):  # steps of 2**-8 lie on and half-way between adjacent bfloat16 values
        scale, shift = torch.tensor([2**-8]), torch.tensor([low])
        crops = CropArgs(
            images=pixels,
            rows=zero,
            top=zero,
            left=zero,
            flip=zero.bool(),
            hole=torch.zeros(1, 4, dtype=torch.int64),
            scale=scale,
            shift=shift,
            size=(1, 256),
            padding=(0, 0),
            dtype=torch.bfloat16,
        )
        expected = torch.arange(256).mul(2**-8).add(low).to(torch.bfloat16)
        assert torch.equal(crop_flip_normalize(*crops).flatten(), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel_equals_the_reference_for_infinite_and_nan_scales(dtype):
    # Rounding the bits of this NaN up would overflow to -0.
    largest_nan = torch.tensor([2**31 - 1], dtype=torch.int32).view(torch.float32)
    crops = draw_crops(1, dtype)._replace(scale=torch.cat([largest_nan, torch.tensor([float("inf"), 1e38])]))
    assert torch.equal(crop_flip_normalize(*crops).nan_to_num(nan=7), compute_reference(crops).nan_to_num(nan=7))


def test_empty_batch_and_strided_arguments():
    crops = draw_crops(3)
    empty = [crops[i][:0] for i in range(1, 6)]
    assert crop_flip_normalize(crops.images, *empty, *crops[6:]).shape == (0, 4, *crops.size)
    strided = [crops[i][::2] for i in range(1, 6)]
    assert torch.equal(crop_flip_normalize(crops.images, *strided, *crops[6:]), crop_flip_normalize(*crops)[::2])


def test_result_does_not_depend_on_the_number_of_threads():
    crops = draw_crops(5, batch_size=501)
    one, two = (compute_with_threads(number, crop_flip_normalize, crops) for number in (1, 2))
    assert torch.equal(one, two)
    assert torch.equal(one, compute_reference(crops))


def replace_last(values: torch.Tensor, value: int, column: int | None = None) -> torch.Tensor:
    values = values.clone()
    values[(-1,) if column is None else (-1, column)] = value
    return values


@pytest.mark.parametrize(
    "compute", [lambda crops: crop_flip_normalize(*crops), compute_reference], ids=["kernel", "reference"]
)
@pytest.mark.parametrize("value", [-1, 9, 10**6, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("name", ["rows", "top", "left", "hole"])
def test_a_value_out_of_range_is_an_error(name, value, compute):
    crops = draw_crops(0)._replace(size=(1, 1), padding=(0, 0), images=torch.zeros(9, 9, 9, 1, dtype=torch.uint8))
    crops = crops._replace(top=crops.top.clamp(0, 8), left=crops.left.clamp(0, 8))
    compute(crops)
    changed = replace_last(getattr(crops, name), value, 2 if name == "hole" else None)
    if name == "hole" and 0 < value < 2**31:
        assert torch.isfinite(compute(crops._replace(hole=changed))).all()
    else:
        with pytest.raises(ValueError, match=f"expected {name}.*got .*{value}"):
            compute(crops._replace(**{name: changed}))


def test_a_hole_whose_end_overflows_int64_is_an_error():
    crops = draw_crops(0)
    with pytest.raises(ValueError, match="hole's top and left"):
        crop_flip_normalize(*crops._replace(hole=replace_last(crops.hole, 2**63 - 1, 0)))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("images", lambda images: images.float(), "images uint8"),
        ("images", lambda images: images[0], "images uint8"),
        ("images", lambda images: images.permute(0, 2, 1, 3), "images uint8"),
        ("images", lambda images: images[:, :0], "images uint8"),
        ("rows", lambda rows: rows.int(), "rows torch.int64"),
        ("rows", lambda rows: rows[:, None], "rows torch.int64"),
        ("top", lambda top: top[1:], "top torch.int64"),
        ("left", lambda left: left[:, None], "left torch.int64"),
        ("flip", lambda flip: flip.to(torch.uint8), "flip torch.bool"),
        ("hole", lambda hole: hole[:, :3], "hole torch.int64"),
        ("scale", lambda scale: scale[:1], "scale torch.float32"),
        ("shift", lambda shift: shift.double(), "shift torch.float32"),
        ("shift", lambda shift: shift.to("meta"), "shift torch.float32 .* on cpu"),
        ("dtype", lambda dtype: torch.float16, "dtype float32 or bfloat16"),
        ("size", lambda size: (0, size[1]), "size"),
        ("size", lambda size: (*size, 3), "size"),
        ("size", lambda size: (99, size[1]), "crops within"),
        ("padding", lambda padding: (-1, 0), r"padding \(y, x\)"),
    ],
)
def test_a_wrong_shape_dtype_or_device_is_an_error(name, change, expected):
    crops = draw_crops(3)
    wrong = crops._replace(**{name: change(getattr(crops, name))})
    with pytest.raises(ValueError, match=rf"expected {expected}.*; got .*; "):
        crop_flip_normalize(*wrong)


def test_a_single_example_needs_a_batch_dimension():
    crops = draw_crops(3)
    with pytest.raises(ValueError, match=r"expected rows torch.int64 \(1,\)"):
        crop_flip_normalize(crops.images, *[values[0] for values in crops[1:6]], *crops[6:])


def test_backward_raises_an_error():
    crops = draw_crops(3)
    out = crop_flip_normalize(*crops._replace(scale=crops.scale.requires_grad_()))
    with pytest.raises(RuntimeError, match=r"crop_flip_normalize.* no autograd formula"):
        out.sum().backward()
