"""safetensors files: weights, with the network's specification in the metadata; run by PyTorch."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from leyden.models.build import rebuild_model
from leyden.models.checkpoint import check_statistics, check_weights
from leyden.runtimes import ModelFunction
from leyden.runtimes.checkpoint import array_function
from leyden.trust.description import check_description


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("leyden", "")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if not text:
        return array_function(torch.nn.Identity()), ""
    description = json.loads(text)
    check_description(description, path, names_network=True)
    check_weights(weights, path)
    check_statistics(weights, description["input"], path)
    statistics = {key: value for key, value in description["input"].items() if key not in ("name", "dtype", "shape")}
    return array_function(rebuild_model(description | {"input": statistics}, weights, path, trust)), text
