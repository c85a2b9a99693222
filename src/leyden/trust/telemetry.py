"""Telemetry of libraries, switched off: nothing that runs here reports to their makers."""

import os
import sys


def disable_telemetry() -> None:
    """Switch off the telemetry of ONNX Runtime, OpenVINO and NNCF, in this process and its children.

    It has effect only before they are imported.
    """
    # Read once, at import; otherwise ONNX Runtime 1.31 writes an identifier to the home folder and uploads its use.
    # Source: https://github.com/microsoft/onnxruntime/pull/27379
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # OpenVINO and NNCF report through this package, without asking, and do without where it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
