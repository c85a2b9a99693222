"""Block network connections while a model is built from a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

CONNECTION_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
attempted_addresses: ContextVar[list[str] | None] = ContextVar("attempted_addresses", default=None)


@contextmanager
def offline() -> Iterator[list[str]]:
    """Refuse this thread's network connections, as on a machine without a network; other threads are not affected.

    Yields:
        The addresses that were refused, filled while the block runs.
    """
    install_hook()
    attempted: list[str] = []
    token = attempted_addresses.set(attempted)
    try:
        yield attempted
    finally:
        attempted_addresses.reset(token)


@cache
def install_hook() -> None:
    """Install an audit hook once: it sees every connection, whichever library makes it, and cannot be removed."""
    sys.addaudithook(refuse_connection)


def refuse_connection(event: str, args: tuple[Any, ...]) -> None:
    if event in CONNECTION_EVENTS and (attempted := attempted_addresses.get()) is not None:
        attempted.append(str(args[0] if event.startswith("socket.get") else args[1]))
        raise ConnectionRefusedError("a model is built from its file alone; nothing is downloaded for it")
