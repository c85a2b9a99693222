"""Errors of the user's network, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.memory import is_oom_error
from torch import nn

from leyden.errors import INSTALLED, UserError, describe_error


class NetworkError(UserError):
    """What a network's code raised, which is the cause of this exception."""


@contextmanager
def network_errors(network: nn.Module) -> Iterator[None]:
    """Raise what a network's code raises as NetworkError, which names the line that fails.

    Networks of this package count as the user's, who may have changed them. An error of exhausted memory passes: the
    finder of the batch size catches it.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a network's code may raise anything
        if is_oom_error(error):
            raise
        raise NetworkError(
            f"expected a network that computes logits of a batch; {type(network).__name__} fails with "
            f"{describe_error(error, INSTALLED)}; correct its code or its arguments (LEYDEN_DEBUG=1 shows the "
            "traceback)"
        ) from error
