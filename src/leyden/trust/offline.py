"""Keep code that builds a network from the internet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

CONNECTIONS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")  # audit events
refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)


@contextmanager
def offline() -> Iterator[list[str]]:
    """Refuse this thread's connections, as a machine without a network does; other threads keep theirs.

    Yields:
        The addresses that were asked for.
    """
    install_hook()
    asked: list[str] = []
    token = refused.set(asked)
    try:
        yield asked
    finally:
        refused.reset(token)


@cache
def install_hook() -> None:
    """Python's audit hooks see every connection, whichever library makes it; they stay until the process ends."""
    sys.addaudithook(refuse_connection)


def refuse_connection(event: str, args: tuple[Any, ...]) -> None:
    if event in CONNECTIONS and (asked := refused.get()) is not None:
        asked.append(str(args[0] if event.startswith("socket.get") else args[1]))
        raise ConnectionRefusedError("a model is read from its file; nothing is downloaded for it")
