"""Memory that grows from step to step."""

import gc
import statistics
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile

from leyden.stages.doctor.finding import Finding
from leyden.stages.doctor.trial import TrialRunner

NUM_WARM_UP_STEPS = 4  # the optimizer allocates its state in the first step
NUM_STEPS = 8
NOISE_BYTES = 1024
MAX_GROWTH_FRACTION = 0.05  # of a step's allocations; predictions that are kept for a metric take less


class MemoryMonitor(Callback):
    """Records each step's net allocation: bytes that were allocated for tensors, less those that were freed.

    On CPUs it sums up the allocator's own events, because the size of the process also depends on the allocator's
    behaviour.
    """

    def __init__(self) -> None:
        self.net_bytes: list[int] = []  # of each step
        self.num_graph_tensors: list[int] = []  # live tensors with an autograd graph, at the end of each step
        self.max_allocated = 0  # bytes that a step allocates
        self._profile: profile | None = None
        self._allocated = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            allocated = torch.cuda.memory_allocated()
            self._record(allocated - self._allocated, torch.cuda.max_memory_allocated())
            self._allocated = allocated
            return
        if self._profile:
            self._profile.stop()
            sizes = [event.self_cpu_memory_usage for event in self._profile.events() or ()]
            self._record(sum(sizes), sum(size for size in sizes if size > 0))
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)
        self._profile.start()

    def _record(self, net_bytes: int, allocated: int) -> None:
        self.net_bytes.append(net_bytes)
        self.num_graph_tensors.append(
            sum(issubclass(type(each), torch.Tensor) and each.grad_fn is not None for each in gc.get_objects())
        )
        self.max_allocated = max(allocated, self.max_allocated)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._profile:
            self._profile.stop()  # a profiler that still runs at exit causes a segmentation fault
            self._profile = None


def check_memory(runner: TrialRunner) -> Finding:
    memory = MemoryMonitor()
    if error := runner.run(NUM_WARM_UP_STEPS + NUM_STEPS, [memory]):
        return Finding("skip", f"the steps failed: {error}", "fix that first")
    growth = statistics.median(memory.net_bytes[NUM_WARM_UP_STEPS:])
    step_mb = f"{memory.max_allocated / 1e6:.3g} MB"
    observation = f"{growth / 1e6:.3g} MB more after each step; a step allocates {step_mb}"
    num_tensors = memory.num_graph_tensors[NUM_WARM_UP_STEPS:]
    num_kept = statistics.median(after - before for before, after in pairwise(num_tensors))
    if num_kept > 0:  # backward has freed most of the graph's memory, so that the growth may be few bytes
        observation = f"{num_kept:.0f} more tensors with an autograd graph after each step; {observation}"
        return Finding("fail", observation, "append loss.item() or loss.detach() to a list, not loss")
    if growth <= NOISE_BYTES:
        return Finding("ok", f"no growth over {NUM_STEPS} steps; a step allocates {step_mb}")
    if growth < MAX_GROWTH_FRACTION * memory.max_allocated:
        advice = "something is kept until the epoch ends: use a running metric (torchmetrics) instead of a list"
        return Finding("warn", observation, advice)
    return Finding("fail", observation, "tensors are kept from step to step: look for lists and dictionaries that grow")
