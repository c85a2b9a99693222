"""In-place operations that break autograd: which line changes a tensor, and which line needed it."""

import re
import traceback
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from leyden.stages.doctor.bench import Bench, place, place_of
from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.numerics import parse_stack

ADVICE = "write x = x + y for x += y, relu(x) for relu_(x), torch.where or index_put for x[...] = y; clone() before"


class Changes(TorchDispatchMode):
    """Takes down where tensors are changed in place, by shape and by the version that the change made."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[tuple[tuple[int, ...], int], str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable and args and isinstance(args[0], Tensor) and not args[0].is_inference():
            self.places[tuple(args[0].shape), args[0]._version + 1] = place(traceback.extract_stack())
        return func(*args, **(kwargs or {}))


def is_inplace_error(error: Exception | None) -> bool:
    """Recognise torch's messages: of the backward pass ("inplace operation") and of the forward pass ("in-place", "modified inplace")."""
    return isinstance(error, RuntimeError) and bool(re.search(r"in-?place", str(error)))


def check_inplace(bench: Bench, error: Exception | None, steps: int) -> Finding:
    """Tell whether backward found what forward had saved; if not, repeat it with every change taken down."""
    check = "in-place operations"
    if error is None or not is_inplace_error(error):
        return Finding(check, "ok", "none that the backward pass stumbles over")
    changes = Changes()
    again = bench.run(steps, mode=changes, detect_anomaly=True) or error
    message = re.search(r"\[[\w.]+ \[([\d, ]*)\]\].*? is at version (\d+)", str(again))
    if not message:  # refused in the forward pass, in the line itself
        return Finding(check, "fail", f"{str(again).splitlines()[0]} ({place_of(again)})", ADVICE)
    shape = tuple(int(size) for size in message[1].split(",") if size.strip())
    changed = changes.places.get((shape, int(message[2])), "a line that could not be found")
    needed = next(
        (place(parse_stack(text)) for text in bench.warnings if "Traceback of forward call" in text),
        "the backward pass",
    )
    return Finding(
        check, "fail", f"{changed} changes a tensor {list(shape)} that the backward of {needed} needs", ADVICE
    )
