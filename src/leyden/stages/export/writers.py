"""The modules that write a format, found by the format's name."""

import importlib
from pathlib import Path
from typing import Any

from leyden.errors import UserError
from leyden.models.sequence_model import SequenceModel
from leyden.stages.export.export_request import CannotWriteError, ExportRequest
from leyden.stages.export.tensor_module import TensorModule

# Known formats without a writer: their files could not be verified, and no file is published unverified.
UNSUPPORTED_FORMATS = {
    "coreml": "not tested: its files run on macOS only; convert model.pt2 with coremltools",
    "tensorrt": "not tested: it needs an NVIDIA GPU and TensorRT; convert model.onnx with trtexec",
}


def import_writer(name: str, request: ExportRequest) -> Any:
    """Import a format's module: `write(request)`, its files' `SUFFIX`, and the `PRECISIONS` that it can write.

    Optional are `SEQUENCE_PRECISIONS`, in which it writes models of sequences, and `BRANCHING_PRECISIONS`, in which
    files keep a network's branches; the default of both is none.

    Raises:
        UserError: if there is no such format, or not in this precision.
        CannotWriteError: if the format's files cannot be verified, or were never tested with models of sequences.
        ImportError: if a package that it needs is not installed.
    """
    known = sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if "\ndef write(" in path.read_text(encoding="utf-8")
    )
    if name in UNSUPPORTED_FORMATS:
        raise CannotWriteError(UNSUPPORTED_FORMATS[name])
    if name not in known:
        raise UserError(f"expected formats among {', '.join(known)}; got {name!r}; set them in configs/export.yaml")
    writer = importlib.import_module(f"leyden.stages.export.{name}")
    if request.precision not in writer.PRECISIONS:
        raise UserError(
            f"expected a precision of {name} among {', '.join(writer.PRECISIONS)}; got {request.precision!r}; "
            "set it in configs/export.yaml"
        )
    if isinstance(request.module, TensorModule) and request.precision != "fp32":
        raise CannotWriteError("supports a LightningModule of your own in fp32 only")
    tested = getattr(writer, "SEQUENCE_PRECISIONS", ())
    if isinstance(request.module, SequenceModel) and request.precision not in tested:
        supported = f"sequences in {' and '.join(tested)} only" if tested else "images only"
        raise CannotWriteError(f"supports models of {supported}")
    return writer
