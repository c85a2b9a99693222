"""In-place operations that break autograd: the line that changes a tensor, and the line that needs its old value."""

import re
import traceback
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.numerics import parse_stack
from leyden.stages.doctor.trial import TrialRunner, locate_error, locate_frame

ADVICE = "write x = x + y for x += y, relu(x) for relu_(x), torch.where or index_put for x[...] = y; or clone() before"


class InPlaceTracer(TorchDispatchMode):
    """Records where tensors are changed in place, by shape and by the version number after the change."""

    def __init__(self) -> None:
        super().__init__()
        self.locations: dict[tuple[tuple[int, ...], int], str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable and args and isinstance(args[0], Tensor) and not args[0].is_inference():
            self.locations[tuple(args[0].shape), args[0]._version + 1] = locate_frame(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


def is_inplace_error(error: BaseException | None) -> bool:
    """Return whether an exception is torch's about an in-place operation.

    Its message contains "inplace operation" in the backward pass, "in-place" or "modified inplace" in the forward pass.
    """
    return isinstance(error, RuntimeError) and bool(re.search(r"in-?place", str(error)))


def check_inplace(runner: TrialRunner, error: BaseException | None, num_steps: int) -> Finding:
    """Check for in-place operations that broke the backward pass; if there is one, repeat the steps to locate it."""
    if error is None or not is_inplace_error(error):
        return Finding("ok", "none that breaks the backward pass")
    tracer = InPlaceTracer()
    error = runner.run(num_steps, context=tracer, detect_anomaly=True) or error
    message = re.search(r"\[[\w.]+ \[([\d, ]*)\]\].*? is at version (\d+)", str(error))
    if not message:  # raised in the forward pass, by the line itself
        return Finding("fail", f"{str(error).splitlines()[0]} ({locate_error(error)})", ADVICE)
    shape = tuple(int(size) for size in message[1].split(",") if size.strip())
    changed_at = tracer.locations.get((shape, int(message[2])), "a line that could not be located")
    stacks = (parse_stack(text) for text in runner.warnings if "Traceback of forward call" in text)
    needed_at = next(map(locate_frame, stacks), "the backward pass")
    observation = f"{changed_at} changes a tensor {list(shape)} that the backward of {needed_at} needs"
    return Finding("fail", observation, ADVICE)
