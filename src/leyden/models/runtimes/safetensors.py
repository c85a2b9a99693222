"""safetensors files: weights, and in the metadata what the network is built from."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from leyden.models.build import rebuild_model
from leyden.models.description import check_description
from leyden.models.load import check_weights, load_weights
from leyden.models.runtimes import Run
from leyden.models.runtimes.checkpoint import run_of


def read(path: Path, trust: bool) -> tuple[Run, str]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("leyden", "")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if not text:
        return run_of(torch.nn.Identity()), ""
    description = json.loads(text)
    check_description(description, path, names_network=True)
    check_weights(weights, path)
    preprocessing = {name: value for name, value in description["input"].items() if name not in ("name", "dtype", "shape")}
    model = rebuild_model(description | {"input": preprocessing}, path, trust)
    load_weights(model, weights, path)
    return run_of(model.eval()), text
