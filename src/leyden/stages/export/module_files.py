"""Files of a LightningModule of the user's, each run by its own runtime."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Run = Callable[[Sequence[Tensor]], list[Tensor]]


def open_file(path: Path) -> Run:
    """Return a function that runs a file: from its input tensors to its output tensors, in their order."""
    name = path.name
    if name.endswith(".aoti.pt2"):
        from torch._inductor import aoti_load_package

        return run_torch(aoti_load_package(str(path)))
    if path.suffix == ".pt2":
        return run_torch(torch.export.load(path).module())
    if path.suffix == ".torchscript":
        return run_torch(torch.jit.load(path))
    return {".onnx": open_onnx, ".xml": open_openvino, ".pte": open_executorch}[path.suffix](path)


def run_torch(function: Callable[..., Tensor | Sequence[Tensor]]) -> Run:
    @torch.no_grad()
    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        outputs = function(*inputs)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)

    return run


def open_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        feeds = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        return [torch.from_numpy(np.asarray(each)) for each in session.run(None, feeds)]

    return run


def open_openvino(path: Path) -> Run:
    import openvino

    # On processors with bfloat16, OpenVINO computes in it by default, whatever the file's precision.
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        outputs = compiled([each.numpy() for each in inputs])
        return [torch.from_numpy(outputs[index].copy()) for index in range(len(compiled.outputs))]

    return run


def open_executorch(path: Path) -> Run:
    from leyden.runtimes.executorch import Runtime, no_native_messages

    with no_native_messages():
        method = Runtime.get().load_program(path).load_method("forward")

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        with no_native_messages():
            return [each.clone() for each in method.execute(list(inputs))]  # it reuses the memory of its outputs

    return run
