"""ONNX files, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from leyden.runtimes import ModelFunction, check_signature


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions; it would also print them
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, outputs = ([each.name for each in group] for group in (session.get_inputs(), session.get_outputs()))
    description = session.get_modelmeta().custom_metadata_map.get("leyden", "")
    check_signature(path, names, outputs, description)

    def run(*inputs: np.ndarray) -> np.ndarray:
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    return run, description
