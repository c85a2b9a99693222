"""OpenVINO models (.xml with weights in .bin), run by OpenVINO."""

from pathlib import Path

import numpy as np
import openvino

from leyden.errors import UserError
from leyden.runtimes import ModelFunction


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    with open(path, "rb") as file:
        is_openvino = b"<net" in file.read(1024)
    if not is_openvino:  # OpenVINO also reads other formats, whatever the file's name
        raise UserError(f"expected OpenVINO's .xml; {path} cannot be read: it has a different format; export it again")
    core = openvino.Core()
    model = core.read_model(path)
    # On processors with bfloat16, OpenVINO computes in it by default, whatever the file's precision.
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> np.ndarray:
        return compiled({"images": np.ascontiguousarray(images)})["logits"].copy()

    return run, model.get_rt_info("leyden").astype(str) if model.has_rt_info("leyden") else ""
