"""Memory that grows from step to step."""

import gc
import statistics
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile

from leyden.stages.doctor.bench import Bench
from leyden.stages.doctor.finding import Finding

WARM_UP, STEPS = 4, 8  # the optimizer makes its state in the first step
NOISE_BYTES = 1024
LARGEST_SHARE = 0.05  # of what a step takes in all; predictions kept for a score are less


class Memory(Callback):
    """Takes the balance of each step: bytes that tensors took, less those given back.

    On CPUs the allocator's own events are added up, since the process's size also follows malloc's moods.
    """

    def __init__(self) -> None:
        self.balances: list[int] = []
        self.graphs: list[int] = []  # tensors with a graph behind them that are alive at a step's end
        self.taken = 0
        self._profile: profile | None = None
        self._allocated = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cuda":
            now = torch.cuda.memory_allocated()
            self._note(now - self._allocated, torch.cuda.max_memory_allocated())
            self._allocated = now
        else:
            self._close()
            self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
            self._profile.start()

    def _close(self) -> None:
        if self._profile:
            self._profile.stop()
            bytes_ = [event.self_cpu_memory_usage for event in self._profile.events() or ()]
            self._note(sum(bytes_), sum(each for each in bytes_ if each > 0))

    def _note(self, balance: int, taken: int) -> None:
        self.balances.append(balance)
        self.graphs.append(
            sum(issubclass(type(each), torch.Tensor) and each.grad_fn is not None for each in gc.get_objects())
        )
        self.taken = max(taken, self.taken)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._profile:
            self._profile.stop()  # one left running at exit ends in a segmentation fault
            self._profile = None


def check_memory(bench: Bench) -> Finding:
    check, memory = "memory", Memory()
    if error := bench.run(WARM_UP + STEPS, [memory]):
        return Finding(check, "skip", f"the steps died: {error}", "mend that first")
    growth = statistics.median(memory.balances[WARM_UP:])
    seen = f"{growth / 1e6:.3g} MB more after each step, of {memory.taken / 1e6:.3g} MB that one takes"
    kept = statistics.median(after - before for before, after in pairwise(memory.graphs[WARM_UP:]))
    if kept > 0:  # backward has freed most of what the graph held, so that it may be few bytes
        advice = "append loss.item() or loss.detach() to a list, not loss"
        return Finding(check, "fail", f"{kept:.0f} more tensors with a graph after each step; {seen}", advice)
    if growth <= NOISE_BYTES:
        return Finding(check, "ok", f"as much after {STEPS} steps as before; a step takes {memory.taken / 1e6:.3g} MB")
    if growth < LARGEST_SHARE * memory.taken:
        return Finding(
            check, "warn", seen, "something is kept until the epoch ends: a running score (torchmetrics) needs no list"
        )
    return Finding(check, "fail", seen, "tensors are kept from step to step: look for lists and dictionaries that grow")
