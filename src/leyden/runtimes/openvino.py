"""OpenVINO models (.xml with weights in .bin), run by OpenVINO."""

from pathlib import Path

import numpy as np
import openvino
from openvino.frontend import FrontEndManager

from leyden.errors import UserError
from leyden.runtimes import ModelFunction, check_signature


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    with open(path, "rb") as file:
        is_openvino = b"<net" in file.read(1024)
    if not is_openvino:
        raise UserError(f"expected OpenVINO's .xml; {path} cannot be read: it has a different format; export it again")
    # `read_model` would also read other formats, whatever the file's name, and print their parsers' messages.
    reader = FrontEndManager().load_by_framework("ir")
    model = reader.convert(reader.load(str(path)))
    description = model.get_rt_info("leyden").astype(str) if model.has_rt_info("leyden") else ""
    inputs, outputs = ([each.get_any_name() for each in group] for group in (model.inputs, model.outputs))
    check_signature(path, inputs, outputs, description)
    # On processors with bfloat16, OpenVINO computes in it by default, whatever the file's precision.
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> np.ndarray:
        return compiled({"images": np.ascontiguousarray(images)})[0].copy()

    return run, description
