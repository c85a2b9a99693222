"""The fused resize equals its reference bit for bit, and separate operations; it never leaves its memory."""

import pytest
import torch
from torch.nn import functional as F

from leyden.ops.resample import ResampleArgs, compute_reference, resample_normalize
from leyden.ops.shared_library import load_library
from tests.ops.conftest import DTYPES, assert_compiled, assert_same_bits, compute_with_threads


def draw_boxes(seed: int, dtype: torch.dtype = torch.float32, batch_size: int = 20) -> ResampleArgs:
    """Draw images and boxes of every kind: enlarged and shrunk, of one pixel, at the border, mirrored, with holes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    channels, height, width = (1, 3)[seed % 2], int(draw(1, 40)), int(draw(1, 40))
    top, left = draw(0, height - 1, batch_size), draw(0, width - 1, batch_size)
    rows, columns = 1 + draw(0, 99, batch_size) % (height - top), 1 + draw(0, 99, batch_size) % (width - left)
    return ResampleArgs(
        images=draw(0, 255, 9, height, width, channels).to(torch.uint8),
        rows=draw(0, 8, batch_size),
        box=torch.stack([top, left, rows, columns], dim=1),
        flip=draw(0, 1, batch_size).bool(),
        hole=torch.cat([draw(-8, 40, batch_size, 2), draw(0, 20, batch_size, 2)], 1),
        scale=torch.rand(channels, generator=generator) / 50,
        shift=torch.randn(channels, generator=generator),
        size=[(13, 9), (40, 33), (6, 21), (1, 2)][seed % 4],
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(16))
def test_kernel_equals_the_reference_bit_for_bit(seed, dtype):
    args = draw_boxes(seed, dtype)
    out = resample_normalize(*args)
    assert_compiled("resample")
    assert out.dtype == dtype
    assert_same_bits(out, compute_reference(args))


@pytest.mark.parametrize(
    "compute", [lambda args: resample_normalize(*args), compute_reference], ids=["kernel", "reference"]
)
@pytest.mark.parametrize("seed", range(8))
def test_result_equals_slice_interpolate_normalize_and_erase(seed, compute):
    """Torch's own antialiased resize differs only by rounding."""
    args = draw_boxes(seed)
    out = compute(args)
    assert out.is_contiguous(memory_format=torch.channels_last)
    for example, (row, (top, left, height, width)) in enumerate(zip(args.rows, args.box.tolist(), strict=True)):
        box = args.images[row, top : top + height, left : left + width].permute(2, 0, 1).float()
        image = F.interpolate(box[None], out.shape[2:], mode="bilinear", antialias=True)[0]
        image = image.flip(2) if args.flip[example] else image
        image = image * args.scale[:, None, None] + args.shift[:, None, None]
        y, x, hole_height, hole_width = args.hole[example].tolist()
        image[:, max(y, 0) : max(y + hole_height, 0), max(x, 0) : max(x + hole_width, 0)] = 0
        assert torch.allclose(out[example], image, atol=1e-4 * 255 / 50)


def test_a_full_box_at_its_original_size_is_the_image():
    args = draw_boxes(1)
    count, height, width, channels = args.images.shape
    box, hole = torch.tensor([[0, 0, height, width]] * count), torch.zeros(count, 4, dtype=torch.int64)
    ones, flip = torch.ones(channels), torch.zeros(count, dtype=torch.bool)
    out = resample_normalize(args.images, torch.arange(count), box, flip, hole, ones, 0 * ones, (height, width))
    assert torch.equal(out.permute(0, 2, 3, 1), args.images.float())


def test_result_does_not_depend_on_the_number_of_threads():
    args = draw_boxes(1, batch_size=301)
    one, two = (compute_with_threads(number, resample_normalize, args) for number in (1, 2))
    assert torch.equal(one, two)


def test_empty_batch_and_strided_arguments():
    args = draw_boxes(3)
    empty = [args[i][:0] for i in range(1, 5)]
    assert resample_normalize(args.images, *empty, *args[5:]).shape == (0, 3, *args.size)
    strided = [args[i][::2] for i in range(1, 5)]
    assert torch.equal(resample_normalize(args.images, *strided, *args[5:]), resample_normalize(*args)[::2])


@pytest.mark.parametrize(
    "compute", [lambda args: resample_normalize(*args), compute_reference], ids=["kernel", "reference"]
)
@pytest.mark.parametrize("value", [-1, 10**6, -(2**63), 2**63 - 1])
@pytest.mark.parametrize(
    ("name", "column"), [("rows", None), *(("box", column) for column in range(4)), ("hole", 0), ("hole", 2)]
)
def test_a_value_out_of_range_is_an_error(name, column, value, compute):
    args = draw_boxes(3)
    changed = getattr(args, name).clone()
    changed[(-1,) if column is None else (-1, column)] = value
    if name == "hole" and (abs(value) < 2**31) and not (column == 2 and value < 0):
        assert torch.isfinite(compute(args._replace(hole=changed))).all()
    else:
        with pytest.raises(ValueError, match=f"expected {name}.*got .*{value}"):
            compute(args._replace(**{name: changed}))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_box_that_ends_outside_the_image_is_an_error(axis):
    args = draw_boxes(3)
    side, changed = args.images.shape[1 + axis], args.box.clone()
    changed[0, axis], changed[0, 2 + axis] = side - 1, 1
    resample_normalize(*args._replace(box=changed))
    for length in (0, 2):
        changed[0, 2 + axis] = length
        with pytest.raises(ValueError, match=f"expected box's {('height', 'width')[axis]} from 1"):
            resample_normalize(*args._replace(box=changed))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("images", lambda images: images.float(), "images uint8"),
        ("images", lambda images: images.permute(0, 2, 1, 3), "images uint8"),
        ("images", lambda images: images.repeat(1, 1, 1, 2), "images of 1 or 3 channels"),
        ("rows", lambda rows: rows.int(), "rows torch.int64"),
        ("box", lambda box: box[1:], "box torch.int64"),
        ("flip", lambda flip: flip.to(torch.uint8), "flip torch.bool"),
        ("hole", lambda hole: hole[:, :3], "hole torch.int64"),
        ("scale", lambda scale: scale[:1], "scale torch.float32"),
        ("shift", lambda shift: shift.to("meta"), "shift torch.float32 .* on cpu"),
        ("dtype", lambda dtype: torch.float16, "dtype float32 or bfloat16"),
        ("size", lambda size: (0, 3), "size"),
    ],
)
def test_a_wrong_shape_dtype_or_device_is_an_error(name, change, expected):
    args = draw_boxes(3)
    with pytest.raises(ValueError, match=rf"expected {expected}.*; got .*; "):
        resample_normalize(*args._replace(**{name: change(getattr(args, name))}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_operator_passes_opcheck_and_compiles(dtype):
    args = draw_boxes(3, dtype)
    torch.library.opcheck(resample_normalize, tuple(args))
    compiled = torch.compile(lambda *values: resample_normalize(*values) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*args), resample_normalize(*args) + 1)


def test_without_a_compiler_the_reference_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    load_library.cache_clear()
    args = draw_boxes(1)
    with pytest.warns(UserWarning, match=r"^expected to compile resample.cpp; got: "):
        assert torch.equal(resample_normalize(*args), compute_reference(args))
    load_library.cache_clear()
