"""ONNX files, run by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from leyden.runtimes import ModelFunction


def read(path: Path, trust: bool) -> tuple[ModelFunction, str]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: np.ndarray) -> np.ndarray:
        return session.run(["logits"], dict(zip(names, inputs, strict=True)))[0]

    return run, session.get_modelmeta().custom_metadata_map.get("leyden", "")
