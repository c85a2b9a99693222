"""safetensors files: weights, and in the metadata what the network is built from."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from leyden.models.build import build_model
from leyden.models.runtimes import Run
from leyden.models.runtimes.checkpoint import run_of


def read(path: Path) -> tuple[Run, str]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("leyden", "")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if not text:
        return run_of(torch.nn.Identity()), ""
    description = json.loads(text)
    preprocessing = {name: value for name, value in description["input"].items() if name not in ("name", "dtype", "shape")}
    model = build_model(description["network"], description["labels"], preprocessing)
    model.load_state_dict(weights)
    return run_of(model.eval()), text
