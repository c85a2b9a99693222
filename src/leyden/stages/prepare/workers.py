"""Parallel work on chunks in several processes, in order, with a bounded number of chunks in flight.

Processes and not threads: decoding a 32x32 JPEG holds the GIL for most of its 70 us, and two threads were slower than
one (4,700 images/s against 7,400; two processes: 11,700; 2 cores).
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
BYTES_PER_CHUNK = 32 << 20  # of content that was already read
CHUNKS_PER_WORKER = 4  # in flight: this bounds the memory
POOL_START_S = 0.6  # measured; work that takes less than twice as long is faster without processes
Item = TypeVar("Item")
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


def split_into_chunks(items: Iterable[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield lists of items; each but the last has ITEMS_PER_CHUNK items, or at least BYTES_PER_CHUNK."""
    chunk: list[Item] = []
    num_bytes = 0
    for item in items:
        chunk.append(item)
        num_bytes += size_of(item)
        if len(chunk) == ITEMS_PER_CHUNK or num_bytes >= BYTES_PER_CHUNK:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def run_chunks(
    function: Callable[[Chunk], Result],
    chunks: Iterable[Chunk],
    num_chunks: int,
    num_workers: int | None,
    name: Callable[[Chunk], str],
) -> Iterator[Result]:
    """Apply a picklable function to chunks, in order; they are consumed as the work proceeds.

    `num_workers` processes do it; 1 is this process, and None decides by the time that the first chunk takes.

    Raises:
        UserError: if a process was killed, by the system or by a fault in a decoder; it names the chunks in question.
    """
    chunks = iter(chunks)
    if num_workers is None:
        start = time.perf_counter()
        yield from map(function, islice(chunks, 1))
        expected_s = (time.perf_counter() - start) * (num_chunks - 1)
        num_workers = count_cores() if expected_s > 2 * POOL_START_S else 1
    if num_workers == 1:
        yield from map(function, chunks)
        return
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=watch_parent)
    in_flight: deque[tuple[Chunk, Future[Result]]] = deque()
    try:
        for chunk in chunks:
            in_flight.append((chunk, pool.submit(function, chunk)))
            if len(in_flight) >= num_workers * CHUNKS_PER_WORKER:
                yield in_flight[0][1].result()
                in_flight.popleft()
        while in_flight:
            yield in_flight[0][1].result()
            in_flight.popleft()
    except BrokenProcessPool as error:
        unfinished = [chunk for chunk, future in in_flight if not future.done() or future.exception()]
        raise UserError(
            "expected all worker processes to finish; one was killed, possibly out of memory, or by a file that a "
            f"decoder cannot handle, among {name(unfinished[0])}; set num_workers to 1, or move that file away"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def watch_parent() -> None:
    """Leave Ctrl-C to the parent, and exit when it exits: a worker of a killed parent would wait forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, daemon=True).start()


def exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
