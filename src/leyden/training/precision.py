"""Which arithmetic a device has."""

import functools

import torch


@functools.cache  # Muon asks for each matrix at each step
def computes_bf16_natively(kind: str) -> bool:
    """Tell whether bfloat16 is faster than float32 on a kind of device: CUDA 8.0 and newer, CPUs with AVX512-BF16 or AMX."""
    if kind == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
