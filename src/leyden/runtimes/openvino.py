"""OpenVINO's files (.xml beside .bin)."""

from pathlib import Path

import numpy as np
import openvino

from leyden.errors import UserError
from leyden.runtimes import Run


def read(path: Path, trust: bool) -> tuple[Run, str]:
    with open(path, "rb") as file:
        is_own = b"<net" in file.read(1024)
    if not is_own:  # OpenVINO would read other formats too, whatever their name
        raise UserError(f"expected OpenVINO's .xml; {path} cannot be read: it is of another format; export it anew")
    core = openvino.Core()
    model = core.read_model(path)
    # Its default on a processor that has bfloat16 is to compute in it, whatever the file's precision.
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> np.ndarray:
        return compiled({"images": np.ascontiguousarray(images)})["logits"].copy()

    return run, model.get_rt_info("leyden").astype(str) if model.has_rt_info("leyden") else ""
