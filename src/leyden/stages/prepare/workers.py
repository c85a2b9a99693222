"""Work on chunks in several processes, in order, with a bounded number of them under way.

Processes and not threads: decoding a 32x32 JPEG holds Python's lock for most of its 70 us, and two threads were slower than one
(4,700 images/s against 7,400; two processes: 11,700; 2 cores).
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from leyden.errors import UserError

ITEMS_PER_CHUNK = 64
CHUNKS_PER_WORKER = 4  # under way at a time: this bounds the memory
POOL_STARTS_IN_S = 0.6  # measured; less work than twice that is done sooner without
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def run_chunks(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk], num_chunks: int, num_workers: int | None
) -> Iterator[Result]:
    """Apply a function to chunks, in order.

    Args:
        function: Picklable; for None as number of workers, its time for the first chunk decides whether processes pay.
        chunks: What it is applied to, taken as the work proceeds.
        num_chunks: How many there are.
        num_workers: Number of processes; 1 works in this one; None decides.

    Raises:
        UserError: if a process dies.
    """
    chunks = iter(chunks)
    if num_workers is None:
        start = time.perf_counter()
        yield from map(function, islice(chunks, 1))
        expected_s = (time.perf_counter() - start) * (num_chunks - 1)
        num_workers = len(available_cores()) if expected_s > 2 * POOL_STARTS_IN_S else 1
    if num_workers == 1:
        yield from map(function, chunks)
        return
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=follow_parent)
    try:
        yield from in_order(pool, function, chunks, num_workers * CHUNKS_PER_WORKER)
    except BrokenProcessPool as error:
        raise UserError(
            "expected the worker processes to live; one was killed, for want of memory perhaps; set num_workers to 1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ProcessPoolExecutor, function: Callable[[Chunk], Result], chunks: Iterator[Chunk], window: int
) -> Iterator[Result]:
    under_way: deque[Future[Result]] = deque()
    for chunk in chunks:
        under_way.append(pool.submit(function, chunk))
        if len(under_way) >= window:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def available_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends: a worker of a killed parent would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
