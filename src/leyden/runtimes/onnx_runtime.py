"""ONNX files, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from leyden.errors import UserError
from leyden.runtimes import ModelFunction

INPUTS = (["images"], ["values", "lengths"])


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions; it would also print them
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, outputs = ([each.name for each in group] for group in (session.get_inputs(), session.get_outputs()))
    if names not in INPUTS or outputs != ["logits"]:
        raise UserError(
            f"expected an ONNX model from images, or values and lengths, to logits; {path} maps {', '.join(names)} "
            f"to {', '.join(outputs)}; export it with `leyden export`"
        )

    def run(*inputs: np.ndarray) -> np.ndarray:
        return session.run(["logits"], dict(zip(names, inputs, strict=True)))[0]

    return run, session.get_modelmeta().custom_metadata_map.get("leyden", "")
