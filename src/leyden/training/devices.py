"""Facts about the devices of this machine."""

import functools
import os

import torch


@functools.cache  # Muon asks for each matrix at each step
def computes_bf16_natively(device_type: str) -> bool:
    """Return whether bfloat16 is faster than float32: CUDA 8.0 and newer, CPUs with AVX512-BF16 or AMX."""
    if device_type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return device_type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def default_device_type() -> str:
    """Return the device type that Lightning's accelerator `auto` selects."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def runs_on_cpu(accelerator: str) -> bool:
    """Return whether the Trainer's setting `accelerator` selects the CPU."""
    return accelerator == "cpu" or (accelerator == "auto" and default_device_type() == "cpu")


def disable_nvml_check() -> None:
    """Without a GPU, keep AdamW from searching the disk for NVIDIA's library at each step, which takes 0.1 ms.

    Lightning sets the environment variable that makes torch search.
    """
    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
