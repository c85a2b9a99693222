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
    check_signature(path, names, outputs)

    def run(*inputs: np.ndarray) -> np.ndarray:
        return session.run(["logits"], dict(zip(names, inputs, strict=True)))[0]

    return run, session.get_modelmeta().custom_metadata_map.get("leyden", "")
