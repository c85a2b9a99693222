"""Memory and time of a training step: residual blocks that store no activations, and an operator that stores one fewer.

Each is compared with plain training of the same network, alternately, in a separate process for each run; batches and
networks are so large that activations are nearly all of the memory. Memory is the growth of the process's peak during
the steps. Both sides run with a fixed MALLOC_MMAP_THRESHOLD_: if glibc adapts it, the heap keeps freed activations
and hides most of the saving (4 blocks per stage and batches of 128: 0.74x the memory in 1.34x the time; with a fixed
one 0.38x, and page faults show in the time).
"""

import json
import statistics
import subprocess
import sys

from timing import REPO, Row, environment

REPEATS = 3
GOALS = {"checkpointing": ("at most 0.5x", "at most 1.7x"), "gelu_linear": ("at most 0.85x", "at most 1.1x")}
STEPS = """
import json, resource, sys, time
import torch
from leyden.models import PatchTransformer, ResNet
from leyden.training.activation_checkpointing import checkpoint_modules

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

case, saving = sys.argv[1], sys.argv[2] == "saving"
torch.manual_seed(0)
if case == "checkpointing":
    network, images = ResNet(3, 10, (32, 32), width=32, depths=(8, 8, 8)), torch.randn(64, 3, 32, 32)
    checkpoint_modules(network, ["leyden.models.resnet.ResidualBlock"] if saving else [])
else:
    network = PatchTransformer(3, 10, (32, 32), width=256, depth=8, save_memory=saving)
    images = torch.randn(128, 3, 32, 32)
network(images[:2]).sum().backward()  # load the kernels, allocate the gradients
before, seconds = peak_mb(), []
for _ in range(3):
    started = time.perf_counter()
    network(images).sum().backward()
    seconds.append(time.perf_counter() - started)
print(json.dumps([peak_mb() - before, min(seconds)]))
"""


def measure() -> list[Row]:
    return [row for case in GOALS for row in measure_case(case)]


def measure_case(case: str) -> list[Row]:
    env = {**environment(), "MALLOC_MMAP_THRESHOLD_": "1000000"}
    results: dict[str, list[tuple[float, float]]] = {"saving": [], "plain": []}
    for _ in range(REPEATS):
        for mode, runs in results.items():
            done = subprocess.run(
                [sys.executable, "-c", STEPS, case, mode], cwd=REPO, env=env, capture_output=True, text=True, check=True
            )
            memory_mb, seconds = json.loads(done.stdout)
            runs.append((memory_mb, seconds))
    rows = []
    for column, (what, unit, goal) in enumerate(zip(("memory", "time"), ("MB", "s"), GOALS[case], strict=True)):
        value, usual = (statistics.median(run[column] for run in runs) for runs in results.values())
        rows.append(
            Row(f"{case}_{what}", round(value, 3), unit, round(usual, 3), round(value / usual, 3), goal, REPEATS)
        )
    return rows
