"""ONNX files in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime

from leyden.models.runtimes import Run


def read(path: Path) -> tuple[Run, str]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"images": images})[0]

    return run, session.get_modelmeta().custom_metadata_map.get("leyden", "")
