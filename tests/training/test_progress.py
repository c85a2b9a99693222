"""The progress bar, and the lines that a log has in its place."""

import math
import re
from itertools import count
from types import SimpleNamespace

import pytest
import torch

from leyden.cli import main
from leyden.training.progress import ProgressLines, Throughput

FIT = ("fit", "--network.init_args.width=4", "--trainer.precision=32-true", "--trainer.max_epochs=2")
LINES = "--trainer.callbacks+=leyden.training.progress.ProgressLines"


def make_trainer(max_epochs=2, max_steps=-1, batches_done=10, global_step=10, num_batches=20):
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=batches_done - 1))
    return SimpleNamespace(
        num_training_batches=num_batches,
        max_epochs=max_epochs,
        max_steps=max_steps,
        global_step=global_step,
        fit_loop=loop,
        is_global_zero=True,
        current_epoch=0,
        distributed_sampler_kwargs=None,
    )


def test_the_bar_shows_throughput_time_left_and_memory(workspace, capsys):
    args = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=true", "--trainer.enable_model_summary=false")
    assert main([*FIT, *args]) == 0
    bar = capsys.readouterr().out
    for metric in ("examples/s=", "left=0:00:", "memory=", "val/accuracy="):
        assert metric in bar
    assert float(bar.rsplit("examples/s=")[-1].split(",")[0]) > 1


def test_a_log_has_lines_within_an_epoch(workspace, capsys):
    assert main([*FIT, LINES, "--trainer.callbacks.interval_s=1e-9"]) == 0
    lines = re.findall(r"epoch +(\d)/2  +(\d+)%  [\d,]+ examples/s  0:00:\d\d left", capsys.readouterr().err)
    assert lines[0][0] == "1"
    assert lines[-1] == ("2", "100")


def test_short_epochs_have_none(workspace, capsys):
    assert main([*FIT, "--trainer.max_epochs=1"]) == 0
    assert "examples/s" not in capsys.readouterr().err


def test_a_line_comes_once_per_interval(capsys):
    seconds = count()
    lines = ProgressLines(interval_s=3.5, now=lambda: next(seconds) / 4)  # each step looks at the clock
    lines.on_train_epoch_start()
    trainer = make_trainer()
    steps = []
    for step in range(40):
        lines.on_train_batch_end(trainer, None, None, torch.zeros(8, 3), step)
        steps += [step] * capsys.readouterr().err.count("\n")
    assert len(steps) == len(set(steps)) >= 2
    assert len(steps) <= next(seconds) / 4 / 3.5


def measured(seconds: float, num_steps: int) -> Throughput:
    now = iter([0.0, *[seconds] * 9])
    throughput = Throughput(lambda: next(now))
    for _ in range(num_steps):
        throughput.count(torch.zeros(8, 3), world_size=2)
    return throughput


def test_throughput_counts_the_examples_of_all_processes():
    assert measured(seconds=4.0, num_steps=10).examples_per_second == 10 * 8 * 2 / 4.0


@pytest.mark.parametrize(
    ("trainer", "left"),
    [
        (make_trainer(), "0:00:30"),  # 30 of 40 batches are left, at one second each
        (make_trainer(max_epochs=-1, max_steps=25), "0:00:15"),
        (make_trainer(max_epochs=2, max_steps=25), "0:00:15"),
        (make_trainer(max_epochs=1, max_steps=25), "0:00:10"),
        (make_trainer(max_epochs=-1, max_steps=25, global_step=5), "0:00:40"),  # gradients of two batches accumulate
        (make_trainer(max_epochs=-1), None),
        (make_trainer(num_batches=math.inf), None),
        (make_trainer(batches_done=50), "0:00:00"),
    ],
)
def test_time_left(trainer, left):
    assert measured(seconds=10.0, num_steps=10).time_left(trainer) == left
