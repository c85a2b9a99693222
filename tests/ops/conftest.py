"""Random crops of every kind, and a separate cache in which the tests compile the kernels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden.ops
from leyden.ops.crop import CropArgs
from leyden.ops.shared_library import load_library

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(autouse=True, scope="package")
def compiled(tmp_path_factory):
    """Compile in a separate cache; without a compiler, the warning is an error here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        load_library.cache_clear()
        yield
    load_library.cache_clear()


def draw_crops(seed: int, dtype: torch.dtype = torch.float32, batch_size: int = 40) -> CropArgs:
    """Draw images and crops of every kind: of various sizes, at the border, mirrored, with holes that reach outside."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    channels, height, width = [1, 3, 3, 4][seed % 4], int(draw(1, 40)), int(draw(1, 40))
    pad_y, pad_x = draw(0, 4, 2).tolist()
    size = (int(draw(1, height + 2 * pad_y)), int(draw(1, width + 2 * pad_x))) if seed % 2 else (height, width)
    return CropArgs(
        images=draw(0, 255, 9, height, width, channels).to(torch.uint8),
        rows=draw(0, 8, batch_size),
        top=draw(0, height + 2 * pad_y - size[0], batch_size),
        left=draw(0, width + 2 * pad_x - size[1], batch_size),
        flip=draw(0, 1, batch_size).bool(),
        hole=torch.cat([draw(-8, 40, batch_size, 2), draw(0, 20, batch_size, 2)], 1),
        scale=torch.rand(channels, generator=generator) / 50,
        shift=torch.randn(channels, generator=generator),
        size=size,
        padding=(pad_y, pad_x),
        dtype=dtype,
    )


def compute_with_threads(
    num_threads: int, operator: Callable[..., torch.Tensor], args: tuple[Any, ...]
) -> torch.Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        return operator(*args)
    finally:
        torch.set_num_threads(before)


def assert_same_bits(result: torch.Tensor, expected: torch.Tensor) -> None:
    assert result.dtype == expected.dtype
    assert result.stride() == expected.stride()
    bits = torch.int16 if result.dtype == torch.bfloat16 else torch.int32
    assert torch.equal(result.view(bits), expected.view(bits))


def assert_compiled(name: str) -> None:
    """Assert that an operator has compiled and loaded its own library in this process."""
    hits = load_library.cache_info().hits
    assert load_library(Path(leyden.ops.__file__).with_name(f"{name}.cpp")) is not None
    assert load_library.cache_info().hits == hits + 1, f"{name} did not load it"
