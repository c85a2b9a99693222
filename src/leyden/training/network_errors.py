"""Errors of the user's network, in one line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.utilities.memory import is_oom_error
from torch import nn

from leyden.errors import UserError, one_line

TORCH = str(Path(torch.__file__).parent)


class NetworkError(UserError):
    """What a network's code raised, which is the cause of this exception."""


@contextmanager
def network_errors(network: nn.Module) -> Iterator[None]:
    """Raise what a network's code raises as NetworkError, which names the line that fails.

    An error of exhausted memory passes: the finder of the batch size catches it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_oom_error(error):
            raise
        frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(TORCH)]
        raise NetworkError(
            f"expected a network that computes logits of a batch; {type(network).__name__} fails with "
            f"{type(error).__name__}: {one_line(error, 200)} ({Path(frames[-1].filename).name}, line "
            f"{frames[-1].lineno}); correct its code or its arguments (LEYDEN_DEBUG=1 shows the traceback)"
        ) from error
